"""Face alignment: the ArcFace crop, the FFHQ crop, and the geometry of what networks see.

The encoders' crop is PaCo-FR's (section 4.1): the FFHQ-aligned face of FACE_PX pixels in the middle
of a uniform canvas of CANVAS_PX, which is resized to CROP_PX. Whatever follows from these three
sizes is computed here.

Pixel coordinates are (x, y) with pixel centres at whole numbers, as OpenCV has them. "Left" and
"right" of the five points are those of the image, the order is ArcFace's and MTCNN's: left eye,
right eye, nose tip, left mouth corner, right mouth corner.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float64, Shaped, UInt8

from pacofr.faces import landmarks68
from pacofr.faces.warp import warp_face

FACE_PX, CANVAS_PX, CROP_PX = 200, 256, 224
"""Sides of the aligned face, of the canvas around it, and of the crop that encoders see."""

ARCFACE_PX = 112
ARCFACE_POINTS_112 = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Where ArcFace's training put the five points in its 112-pixel crop (insightface)."""

IMAGENET_MEAN_COLOUR = (124, 116, 104)
"""Background of the FFHQ crop, RGB."""


class Interval(NamedTuple):
    """A range along both axes of a square image [px], from edge to edge: pixel i is [i, i + 1]."""

    start: float
    end: float


CROP_CONTENT = Interval(
    (CANVAS_PX - FACE_PX) / 2 * CROP_PX / CANVAS_PX, (CANVAS_PX + FACE_PX) / 2 * CROP_PX / CANVAS_PX
)
"""Where the crop shows photo and not the uniform border: 24.5 to 199.5 px."""


class CropWindow(NamedTuple):
    """A square in the middle of the crop, resampled to a network's input."""

    start: int
    """First row and column of the crop inside it."""
    side: int
    """[crop px]"""
    pixels: int
    """Side after resampling."""

    @property
    def scale(self) -> float:
        """Crop pixels per window pixel."""
        return self.side / self.pixels

    @property
    def content(self) -> Interval:
        """Where the window shows photo [window px]."""
        start, end = ((edge - self.start) / self.scale for edge in CROP_CONTENT)
        return Interval(start, end)

    @property
    def from_crop(self) -> Float64[np.ndarray, "2 3"]:
        """Crop pixels -> window pixels."""
        offset = (0.5 - self.start) / self.scale - 0.5
        return np.array([[1 / self.scale, 0, offset], [0, 1 / self.scale, offset]])

    @property
    def to_crop(self) -> Float64[np.ndarray, "2 3"]:
        """Window pixels -> crop pixels."""
        offset = self.start + 0.5 * self.scale - 0.5
        return np.array([[self.scale, 0, offset], [0, self.scale, offset]])


def move_points(
    matrix: Shaped[np.ndarray, "2 3"], points: Shaped[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n 2"]:
    """Apply an affine matrix to pixel coordinates."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def compose(
    second: Shaped[np.ndarray, "2 3"], first: Shaped[np.ndarray, "2 3"]
) -> Float[np.ndarray, "2 3"]:
    """The affine matrix that applies `first`, then `second`."""
    return np.column_stack([second[:, :2] @ first[:, :2], move_points(second, first[:, 2])])


def similarity(
    source: Shaped[np.ndarray, "n 2"], target: Shaped[np.ndarray, "n 2"]
) -> Float[np.ndarray, "2 3"]:
    """Least-squares similarity source -> target [px] (Umeyama 1991; never a reflection).

    In float32, as scikit-image computes it for insightface: OpenCV rounds warps to 1/32 pixel,
    so that the last bits of the matrix show as grey levels in the crop.
    """
    source, target = source.astype(np.float32), target.astype(np.float32)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    from_mean, to_mean = source - source_mean, target - target_mean
    u, s, v = np.linalg.svd(to_mean.T @ from_mean / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(u @ v)) or 1.0])
    rotation = u @ np.diag(signs) @ v
    scale = 1 / max(from_mean.var(axis=0).sum(), np.float32(1e-12)) * (s @ signs)
    return np.column_stack([scale * rotation, target_mean - scale * (rotation @ source_mean)])


def arcface_matrix(
    points: Shaped[np.ndarray, "5 2"], size: int = ARCFACE_PX
) -> Float[np.ndarray, "2 3"]:
    """Photo -> ArcFace crop of `size` pixels (a multiple of 112), as insightface's norm_crop."""
    return similarity(points, ARCFACE_POINTS_112 * (size / ARCFACE_PX))


def arcface_crop(
    image: UInt8[np.ndarray, "H W 3"], points: Shaped[np.ndarray, "5 2"], size: int = ARCFACE_PX
) -> UInt8[np.ndarray, "size size 3"]:
    """RGB crop by plain bilinear sampling, black outside the photo: what ArcFace was trained on."""
    return cv2.warpAffine(image, arcface_matrix(points, size), (size, size), borderValue=0.0)


def ffhq_quad(points: Shaped[np.ndarray, "n 2"]) -> Float64[np.ndarray, "4 2"]:
    """Corners TL, BL, BR, TR of the FFHQ crop in photo pixels, from 5 or from 68 points.

    The construction of FFHQ's `align` (Karras et al. 2019). It does not use the nose; the scale
    depends on the eyes' distance and on the distance from the eyes to the mouth.
    """
    if len(points) not in (5, landmarks68.COUNT):
        raise ValueError(f"expected 5 or 68 points, got {len(points)}")
    five = np.asarray(points, np.float64) if len(points) == 5 else landmarks68.five_points(points)
    left_eye, right_eye, _, left_mouth, right_mouth = five
    eyes = (left_eye + right_eye) / 2
    across, down = right_eye - left_eye, (left_mouth + right_mouth) / 2 - eyes
    x = across - np.array([-down[1], down[0]])
    x *= max(2 * np.hypot(*across), 1.8 * np.hypot(*down)) / max(np.hypot(*x), 1e-12)
    return square_quad(eyes + 0.1 * down, x)


def square_quad(
    centre: Float64[np.ndarray, "2"], x: Float64[np.ndarray, "2"]
) -> Float64[np.ndarray, "4 2"]:
    """Corners TL, BL, BR, TR of a square; `x` leads from its centre to the middle of its right."""
    y = np.array([-x[1], x[0]])
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def quad_matrix(
    quad: Float64[np.ndarray, "4 2"],
    face: int = FACE_PX,
    canvas: int = CANVAS_PX,
    output: int = CROP_PX,
) -> Float64[np.ndarray, "2 3"]:
    """Photo -> pixels of the canvas resized to `output`, for the square `quad` of the photo.

    The square fills the middle `face` of `canvas` pixels. Pixel centres are whole numbers on both
    sides, while the quad's corners are corners of pixels.
    """
    top_left, bottom_left, _, top_right = quad
    side = np.hypot(*(top_right - top_left))
    along_x, along_y = (top_right - top_left) / side, (bottom_left - top_left) / side
    scale = face / side * output / canvas
    linear = np.stack([along_x, along_y]) * scale
    border = (canvas - face) / 2 * output / canvas
    return np.column_stack([linear, border - 0.5 - linear @ top_left])


def ffhq_matrix(
    points: Shaped[np.ndarray, "n 2"],
    face: int = FACE_PX,
    canvas: int = CANVAS_PX,
    output: int = CROP_PX,
) -> Float64[np.ndarray, "2 3"]:
    """Photo -> FFHQ crop of a face with these 5 or 68 points; see `quad_matrix`."""
    return quad_matrix(ffhq_quad(points), face, canvas, output)


def ffhq_crop(
    image: UInt8[np.ndarray, "H W 3"],
    points: Shaped[np.ndarray, "n 2"],
    face: int = FACE_PX,
    canvas: int = CANVAS_PX,
) -> UInt8[np.ndarray, "canvas canvas 3"]:
    """FFHQ-aligned face of `face` pixels in the middle of a uniform `canvas` (PaCo-FR, 4.1).

    Where the quad leaves the photo the photo is mirrored. The uniform background is the
    ImageNet mean colour, zero after normalisation.
    """
    aligned = warp_face(image, ffhq_matrix(points, face, face, face), face)
    before = (canvas - face) // 2
    after = canvas - face - before
    sides = (before, after, before, after)
    return cv2.copyMakeBorder(aligned, *sides, cv2.BORDER_CONSTANT, value=IMAGENET_MEAN_COLOUR)


def encoder_crop(
    image: UInt8[np.ndarray, "H W 3"], points: Shaped[np.ndarray, "n 2"]
) -> UInt8[np.ndarray, "224 224 3"]:
    """What the face encoders and the landmark networks see: the FFHQ canvas at CROP_PX.

    `ffhq_matrix(points)` leads from the photo to its pixels.
    """
    canvas = ffhq_crop(image, points)
    return cv2.resize(canvas, (CROP_PX, CROP_PX), interpolation=cv2.INTER_AREA)
