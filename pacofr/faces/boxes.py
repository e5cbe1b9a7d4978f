"""Axis-aligned boxes (x0, y0, x1, y1) in pixels."""

import numpy as np
from jaxtyping import Float, Shaped


def area(boxes: Shaped[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Areas [px^2]; 0 for a box whose corners are exchanged."""
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None)
    return sides.prod(axis=-1, dtype=np.float64)


def iou(box: Shaped[np.ndarray, "4"], boxes: Shaped[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Intersection over union of one box with each of several; 0 where both are empty."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = area(np.concatenate([low, high], axis=1))
    union = area(box[None]) + area(boxes) - shared
    return shared / np.maximum(union, np.finfo(np.float64).tiny)
