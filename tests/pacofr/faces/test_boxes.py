"""Overlap of boxes, in closed form and against counting pixels."""

import numpy as np
import pytest

from pacofr.faces.boxes import area, iou


def test_known_overlaps():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4], [9, 9, 1, 1]])
    assert iou(boxes[0], boxes) == pytest.approx([1, 1 / 3, 0, 0.04, 0])
    assert area(boxes).tolist() == [100, 100, 100, 4, 0]
    assert iou(np.zeros(4), np.zeros((1, 4))).tolist() == [0]


def test_overlaps_are_shares_of_pixels():
    random = np.random.default_rng(0)
    low = random.integers(0, 20, (40, 2))
    boxes = np.concatenate([low, low + random.integers(1, 20, (40, 2))], axis=1)
    masks = np.zeros((40, 40, 40), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    counted = (masks & masks[0]).sum((1, 2)) / (masks | masks[0]).sum((1, 2))
    np.testing.assert_allclose(iou(boxes[0].astype(np.float32), boxes), counted)
