"""Faces whose place is known beforehand: a box, five points, or a photo that is a crop already."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped, UInt8

from mica_ext.errors import UserError
from pacofr.faces.align import ARCFACE_POINTS_112, ARCFACE_PX
from pacofr.faces.detect import Face

POINTS_IN_BOX = np.array([[0.31, 0.36], [0.69, 0.36], [0.5, 0.57], [0.35, 0.76], [0.65, 0.76]])
"""Where a frontal face's eyes, nose and mouth corners lie in its box, as a share of its sides."""
BOX_MARGIN = (0.45, 0.6)
"""Of the box around five points beyond them, to each side and up and down, in their extents."""


def face_in_box(edges: Sequence[float | int]) -> Face:
    """A frontal face that fills a box (x0, y0, x1, y1) [px].

    Raises:
        UserError: the box is empty or not finite.
    """
    box = np.array(edges, np.float32)
    if not np.isfinite(box).all() or not (box[2:] > box[:2]).all():
        raise UserError(f"--bbox: expected x0 y0 x1 y1 with x0 < x1 and y0 < y1, got {edges}")
    points = box[:2] + POINTS_IN_BOX * (box[2:] - box[:2])
    return Face(box, 1.0, points.astype(np.float32))


def face_at_points(coordinates: Sequence[float | int]) -> Face:
    """A face with five known points [px], x and y of each, in ArcFace's order.

    Raises:
        UserError: they are not finite, or not apart.
    """
    points = np.array(coordinates, np.float32).reshape(5, 2)
    extent = np.ptp(points, axis=0)
    if not np.isfinite(points).all() or extent.min() < 2:
        raise UserError(
            "--landmarks5: expected x y of left eye, right eye, nose tip, left and right mouth "
            f"corner as seen in the photo [px], got {list(coordinates)}"
        )
    margin = np.array(BOX_MARGIN, np.float32) * extent
    box = np.concatenate([points.min(0) - margin, points.max(0) + margin])
    return Face(box, 1.0, points)


def aligned_face(image: UInt8[np.ndarray, "H W 3"]) -> Face:
    """The face of a photo that is an ArcFace crop (insightface's norm_crop) of any size.

    Raises:
        UserError: the photo is not square.
    """
    height, width = image.shape[:2]
    if height != width:
        raise UserError(
            f"--aligned: expected a square ArcFace crop (112 x 112), got {width} x {height}; leave "
            "--aligned out for other photos"
        )
    points: Shaped[np.ndarray, "5 2"] = ARCFACE_POINTS_112 * (width / ARCFACE_PX)
    box = np.array([0, 0, width, height], np.float32)
    return Face(box, 1.0, points.astype(np.float32))
