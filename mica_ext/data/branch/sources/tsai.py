"""Camera calibrations of 3dMD systems in Tsai's model: files .tka, as FaMoS has them.

    %M
    r11 r12 r13            rotation, world -> camera
    r21 r22 r23
    r31 r32 r33
    %X, %Y, %Z   camera's place in the world [mm]
    %f           focal length [mm]
    %K, %K2      radial distortion [1/mm^2, 1/mm^4]: undistorted = distorted (1 + K r^2 + K2 r^4)
    %S           skew
    %x, %y       size of a pixel [mm]
    %a, %b       principal point [px]
    %is          width and height of the picture [px]
    %c           unused

R. Y. Tsai, "A versatile camera calibration technique ..." (1987).
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float64, UInt8

from flame_assets.inert.files import ReadError, read_regular
from mica_ext.errors import UserError

MAX_BYTES = 1 << 16
NUMBERS = {"X": 1, "Y": 1, "Z": 1, "f": 1, "K": 1, "K2": 1, "x": 1, "y": 1, "a": 1, "b": 1, "is": 2}
MAX_NUMBER, MIN_PIXEL_MM = 1e5, 1e-6
ROTATION_ERROR = 1e-2
SHAPE_ERROR_PX = 1.0
"""Of a picture's height, given its width and the calibration's size."""
NEWTON_STEPS = 8


class Calibration(NamedTuple):
    """A pinhole camera with radial distortion; camera frame x right, y down, z forward."""

    rotation: Float64[np.ndarray, "3 3"]
    """World -> camera."""
    translation: Float64[np.ndarray, "3"]
    """[m]; camera point = rotation @ world point + translation."""
    focal_px: Float64[np.ndarray, "2"]
    """Along x and y."""
    centre_px: Float64[np.ndarray, "2"]
    distortion: Float64[np.ndarray, "2"]
    """K and K2 for radii in units of the focal length."""
    size_px: tuple[int, int]
    """Width, height."""

    def scaled(self, width: int, height: int) -> "Calibration | None":
        """The calibration for pictures of another resolution; None if it is for another camera."""
        own_width, own_height = self.size_px
        scale = width / own_width
        if abs(own_height * scale - height) > SHAPE_ERROR_PX:
            return None
        # 4x downsampled pictures divide coordinates by 4, as the data's own tools do
        focal, centre = self.focal_px * scale, self.centre_px * scale
        return self._replace(focal_px=focal, centre_px=centre, size_px=(width, height))

    def project(self, points: Float[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 2"]:
        """World points [m] to pixels of the picture without distortion; NaN behind the camera."""
        camera = points @ self.rotation.T + self.translation
        depth = np.where(camera[:, 2] > 0, camera[:, 2], np.nan)
        return self.focal_px * camera[:, :2] / depth[:, None] + self.centre_px

    def undistort(self, picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """The picture that the pinhole camera would take."""
        if not self.distortion.any():
            return picture
        height, width = picture.shape[:2]
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float64)
        ideal = (grid - self.centre_px) / self.focal_px
        radius = np.linalg.norm(ideal, axis=-1)
        distorted = radius.copy()  # solves distorted (1 + K d^2 + K2 d^4) = radius by Newton
        k, k2 = self.distortion
        for _ in range(NEWTON_STEPS):
            square = distorted**2
            value = distorted * (1 + k * square + k2 * square**2) - radius
            distorted -= value / (1 + 3 * k * square + 5 * k2 * square**2)
        ratio = np.where(radius > 1e-12, distorted / np.maximum(radius, 1e-12), 1.0)
        at = (ideal * ratio[..., None] * self.focal_px + self.centre_px).astype(np.float32)
        return np.asarray(cv2.remap(picture, at[..., 0], at[..., 1], cv2.INTER_LINEAR), np.uint8)


def read_tka(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        UserError: it cannot be read or is none.
    """
    try:
        text = read_regular(path, MAX_BYTES).decode("ascii", "replace")
    except ReadError as error:
        raise UserError(f"{error}; expected a camera calibration .tka") from error
    rotation, numbers = _parse(path, text)
    missing = sorted(NUMBERS.keys() - numbers.keys())
    if rotation is None or missing:
        lacking = "the rotation %M" if rotation is None else f"%{missing[0]}"
        raise UserError(f"{path}: expected a camera calibration .tka, it lacks {lacking}")
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > ROTATION_ERROR:
        raise UserError(f"{path}: expected a rotation under %M, got another matrix")
    focal, pixel = numbers["f"][0], np.array([numbers["x"][0], numbers["y"][0]])
    if focal <= 0 or (pixel < MIN_PIXEL_MM).any() or min(numbers["is"]) < 1:
        raise UserError(f"{path}: expected a focal length, pixel and picture sizes above 0")
    place_mm = np.array([numbers[axis][0] for axis in "XYZ"])
    return Calibration(
        rotation,
        -rotation @ place_mm / 1000,
        focal / pixel,
        np.array([numbers["a"][0], numbers["b"][0]]),
        np.array([numbers["K"][0] * focal**2, numbers["K2"][0] * focal**4]),
        (int(numbers["is"][0]), int(numbers["is"][1])),
    )


def _parse(
    path: Path, text: str
) -> tuple[Float64[np.ndarray, "3 3"] | None, dict[str, list[float]]]:
    rotation, numbers = None, {}
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for index, words in enumerate(lines):
        key = words[0].removeprefix("%")
        try:
            if key == "M" and rotation is None:
                rows = [words[1:], *lines[index + 1 :]] if len(words) > 1 else lines[index + 1 :]
                rotation = np.array([[float(word) for word in row] for row in rows[:3]])
                if rotation.shape != (3, 3) or not np.isfinite(rotation).all():
                    raise ValueError("no 3 x 3 matrix")
            elif words[0][0] == "%" and key in NUMBERS:
                numbers[key] = [float(word) for word in words[1 : 1 + NUMBERS[key]]]
                if len(numbers[key]) != NUMBERS[key]:
                    raise ValueError(f"no number of %{key}")
                if not (np.abs(numbers[key]) < MAX_NUMBER).all():
                    raise ValueError(f"no number of %{key} below {MAX_NUMBER:g}")
        except ValueError as error:
            raise UserError(f"{path}: expected a camera calibration .tka ({error})") from error
    return rotation, numbers
