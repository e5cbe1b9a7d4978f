"""Faces whose place is known beforehand: a box, five points, or a photo that is a crop already."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from mica_ext.errors import UserError
from pacofr.faces.align import ARCFACE_POINTS_112, ARCFACE_PX
from pacofr.faces.detect import Face

POINTS_IN_BOX = np.array([[0.31, 0.36], [0.69, 0.36], [0.5, 0.57], [0.35, 0.76], [0.65, 0.76]])
"""Where a frontal face's eyes, nose and mouth corners lie in its box, as a share of its sides."""
BOX_MARGIN = (0.45, 0.6)
"""Of the box around five points beyond them, to each side and up and down, in their extents."""
MAX_PX = 1e6
"""Coordinates beyond it are no place in a photo."""


class GivenFace(NamedTuple):
    """A face that is not detected."""

    face: Face
    exact_points: bool
    """Whether its five points are known; else they are a guess."""


def face_in_box(edges: Sequence[float | int]) -> GivenFace:
    """A frontal face that fills a box (x0, y0, x1, y1) [px].

    Raises:
        UserError: the box is empty or not finite.
    """
    box = _coordinates(edges)
    if not _finite(box) or not (box[2:] > box[:2]).all():
        raise UserError(f"--bbox: expected x0 y0 x1 y1 with x0 < x1 and y0 < y1, got {edges}")
    points = box[:2] + POINTS_IN_BOX * (box[2:] - box[:2])
    return GivenFace(Face(box, 1.0, points.astype(np.float32)), exact_points=False)


def face_at_points(coordinates: Sequence[float | int]) -> GivenFace:
    """A face with five known points [px], x and y of each, in ArcFace's order.

    Raises:
        UserError: they are not finite, not apart, or in another order.
    """
    points = _coordinates(coordinates).reshape(5, 2)
    extent = np.ptp(points, axis=0)
    left_eye, right_eye, _, left_mouth, right_mouth = points
    down = left_mouth + right_mouth - left_eye - right_eye
    across = right_eye - left_eye
    if (
        not _finite(points)
        or extent.min() < 2
        or across[0] * down[1] - across[1] * down[0] <= 0  # mirrored, or all on a line
    ):
        raise UserError(
            "--landmarks5: expected x y of left eye, right eye, nose tip, left and right mouth "
            f"corner as seen in the photo [px], got {list(coordinates)}"
        )
    margin = np.array(BOX_MARGIN, np.float32) * extent
    box = np.concatenate([points.min(0) - margin, points.max(0) + margin])
    return GivenFace(Face(box, 1.0, points), exact_points=True)


def aligned_face(image: UInt8[np.ndarray, "H W 3"]) -> GivenFace:
    """The face of a photo that is an ArcFace crop (insightface's norm_crop), whatever its size.

    Raises:
        UserError: the photo is not square, or smaller than ArcFace's crops.
    """
    height, width = image.shape[:2]
    if height != width or width < ARCFACE_PX:
        raise UserError(
            f"--aligned: expected a square ArcFace crop of {ARCFACE_PX} x {ARCFACE_PX} pixels or "
            f"more, got {width} x {height}; leave --aligned out for other photos"
        )
    points: Shaped[np.ndarray, "5 2"] = ARCFACE_POINTS_112 * (width / ARCFACE_PX)
    box = np.array([0, 0, width, height], np.float32)
    return GivenFace(Face(box, 1.0, points.astype(np.float32)), exact_points=True)


def require_in_photo(given: GivenFace, image: UInt8[np.ndarray, "H W 3"], flag: str) -> None:
    """Refuse a face whose middle lies outside the photo.

    Raises:
        UserError: it does.
    """
    height, width = image.shape[:2]
    x, y = (given.face.box[:2] + given.face.box[2:]) / 2
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(
            f"{flag}: expected a face in the photo of {width} x {height} pixels, its middle is at "
            f"{x:.0f}, {y:.0f}"
        )


def _coordinates(numbers: Sequence[float | int]) -> Float32[np.ndarray, " n"]:
    """The numbers; NaN for those that are no place in a photo."""
    return np.array([x if abs(x) < MAX_PX else np.nan for x in numbers], np.float32)


def _finite(values: Shaped[np.ndarray, "*n"]) -> bool:
    return bool((np.abs(values) < MAX_PX).all())
