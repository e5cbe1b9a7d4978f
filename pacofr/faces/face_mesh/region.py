"""The square of a photo that a dense landmark network looks at.

Photo and crop pixels count from the centre of the first pixel, as OpenCV's; a region's centre and
side are in photo pixels.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from pacofr.faces.face_mesh.topology import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from pacofr.faces.warp import warp_face

SIDE_PER_BOX = 1.5
"""Side of Face Mesh's square over the longer side of the points' box (MediaPipe)."""
BOX_PER_FIVE = 3.7 / 1.5
"""That box' longer side over the larger of eye distance and eye-to-mouth distance."""
MIDDLE_PER_FIVE = 0.55
"""Where the box' middle lies on the way from the eyes to the mouth."""
SUPERSAMPLED_ABOVE = 1.5
"""From this many photo pixels per crop pixel on, the photo is reduced by area first."""
MOUTH_CORNERS = [61, 291]
SIDE_MIN_PX = 4.0
"""Points that coincide still give a region."""


class Region(NamedTuple):
    """A square in a photo."""

    centre: Float[np.ndarray, "2"]
    """[px]"""
    side: float
    """[px]"""
    roll: float
    """Clockwise angle in the photo by which the face is turned [rad]."""

    def to_crop(self, size: int) -> Float[np.ndarray, "2 3"]:
        """Photo pixels to pixels of the square reduced to `size`."""
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        linear = size / self.side * np.array([[cos, sin], [-sin, cos]])
        return np.column_stack([linear, (size - 1) / 2 - linear @ self.centre])

    def to_photo(self, size: int) -> Float[np.ndarray, "2 3"]:
        """The inverse of `to_crop`."""
        return cv2.invertAffineTransform(self.to_crop(size))


def region_of_points(
    points: Shaped[np.ndarray, "478 2"],
    side_per_box: float = SIDE_PER_BOX,
    *,
    roll_from_mouth: bool = False,
) -> Region:
    """The square around 478 points [px], upright along the line of the eyes' outer corners.

    In profile that line says nothing: with `roll_from_mouth` the line from the eyes to the mouth
    counts as well. Face Mesh is used without it.
    """
    points = np.asarray(points, np.float64)
    eyes = points[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER]]
    down = points[MOUTH_CORNERS].mean(0) - eyes.mean(0)
    roll = _roll(eyes[1] - eyes[0], down if roll_from_mouth else np.zeros(2))
    cos, sin = np.cos(roll), np.sin(roll)
    turned = points @ np.array([[cos, -sin], [sin, cos]])
    low, high = turned.min(0), turned.max(0)
    centre = np.array([[cos, -sin], [sin, cos]]) @ ((low + high) / 2)
    return Region(centre, side_per_box * max(float((high - low).max()), SIDE_MIN_PX), roll)


def region_of_five(
    five: Shaped[np.ndarray, "5 2"],
    side_per_box: float = SIDE_PER_BOX,
    *,
    roll_from_mouth: bool = False,
) -> Region:
    """The same square guessed from a detector's five points [px], in its order."""
    left_eye, right_eye, _, left_mouth, right_mouth = np.asarray(five, np.float64)
    across, eyes = right_eye - left_eye, (left_eye + right_eye) / 2
    down = (left_mouth + right_mouth) / 2 - eyes
    box = BOX_PER_FIVE * max(float(np.hypot(*across)), float(np.hypot(*down)))
    roll = _roll(across, down if roll_from_mouth else np.zeros(2))
    return Region(eyes + MIDDLE_PER_FIVE * down, side_per_box * max(box, SIDE_MIN_PX), roll)


def _roll(across: Float[np.ndarray, "2"], down: Float[np.ndarray, "2"]) -> float:
    """Angle of the sum of the vector across the eyes and of that to the mouth, turned up to it."""
    x, y = across + np.array([down[1], -down[0]])
    return float(np.arctan2(y, x))


def crop_region(
    image: UInt8[np.ndarray, "H W 3"], region: Region, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The region of a photo as a square of `size` pixels; the photo's edge goes on outside it."""
    return warp_face(
        image,
        region.to_crop(size),
        size,
        supersampled_above=SUPERSAMPLED_ABOVE,
        border=cv2.BORDER_REPLICATE,
    )
