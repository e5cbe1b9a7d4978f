"""Choose among the detected faces of a photo, and say why there is none to choose."""

from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from pacofr.errors import UserError
from pacofr.faces.detect import Face, smallest_searched

MIN_FACE_PX = 32.0
"""Smallest face worth reconstructing: from here on the 68 landmarks of Helen photos reduced to that
face size, saved as JPEG of quality 75, are at most an eighth worse than those of large faces."""
DARK_LUMA = 60
"""A photo whose 95th percentile of luma is lower is dark: of 1,066 photos of Helen and LFW none is
below 110, and below 50 the detector begins to miss faces."""

FaceChoice = Literal["largest", "center", "all"] | int


def choose_face(
    faces: list[Face],
    image: UInt8[np.ndarray, "H W 3"],
    choice: FaceChoice = "largest",
    *,
    min_face: float = MIN_FACE_PX,
) -> list[Face]:
    """The faces asked for, out of `detect`'s list for this photo (largest first).

    Args:
        faces: what `detect` found.
        image: the photo.
        choice: "center" is the box nearest to the photo's centre (as MICA chooses), a number N the
            N-th largest counted from 0, "all" every face.
        min_face: faces smaller than this do not count [px].

    Raises:
        UserError: there is no face, none is large enough, or fewer than asked for.
    """
    large = [face for face in faces if face.size >= min_face]
    if not large:
        raise UserError(_no_face(faces, image, min_face))
    if choice == "all":
        return large
    if choice == "largest":
        return large[:1]
    if choice == "center":
        centre = np.array([image.shape[1], image.shape[0]]) / 2
        return [min(large, key=lambda f: np.hypot(*((f.box[:2] + f.box[2:]) / 2 - centre)))]
    if not 0 <= choice < len(large):
        last = len(large) - 1
        raise UserError(f"face {choice} asked for, but {len(large)} found: give 0 to {last}")
    return [large[choice]]


def is_dark(image: UInt8[np.ndarray, "H W 3"]) -> bool:
    """Whether a photo, or the part of it that matters, is too dark for detection to be trusted."""
    step = max(max(image.shape[:2]) // 512, 1)
    luma = cv2.cvtColor(np.ascontiguousarray(image[::step, ::step]), cv2.COLOR_RGB2GRAY)
    return float(np.percentile(luma, 95)) < DARK_LUMA


def _no_face(faces: list[Face], image: np.ndarray, min_face: float) -> str:
    if faces:
        return (
            f"no face found of at least {min_face:g} pixels, the largest of {len(faces)} has "
            f"{faces[0].size:.0f}: use a larger photo, or lower the smallest face"
        )
    if is_dark(image):
        return "no face found, and the photo is dark: brighten it, or use another one"
    size = max(smallest_searched(image.shape), min_face)
    return (
        f"no face found: expected a photo with a face at least {size:.0f} pixels wide; crop nearer "
        "to the face or use a sharper photo"
    )
