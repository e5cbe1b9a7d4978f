"""Frames of the 2D tasks against the official ones; what goes in comes out again."""

from pathlib import Path

import numpy as np
import parity_compare
import parity_weights
import pytest

from pacofr.tasks.augment.matrices import about_centre, aligned_matrix, crop_matrix, invert
from pacofr.tasks.augment.photometric import add_noise, occlude, vary_colour
from pacofr.tasks.augment.tanh_warp import (
    frame_map,
    photo_map,
    points_from_frame,
    points_to_frame,
    warp_image,
)

WANT = parity_compare.load(Path(parity_compare.__file__).parent, "warps")[1]


def test_the_aligned_frame_is_the_official_one():
    points = parity_weights.lapa_landmarks(1)[:, [104, 105, 54, 84, 90]]
    for five, want in zip(points, WANT["lapa_align_matrix"], strict=True):
        np.testing.assert_allclose(aligned_matrix(five), want[:2], atol=5e-4)


@pytest.mark.parametrize(("scale", "name"), [(0.8, "_scale0.8"), (1.0, "_scale1.0"), (1.0, "")])
def test_crops_are_the_official_ones(scale, name):
    boxes = parity_weights.crop_boxes(1)[:, [1, 0, 3, 2]]
    for box, want in zip(boxes, WANT[f"crop_matrix{name}"], strict=True):
        np.testing.assert_allclose(crop_matrix(box, 512, scale), want[:2], atol=5e-4)


@pytest.mark.parametrize("warp", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("number", range(3))
def test_maps_and_points_are_the_official_ones(warp, number):
    matrix = parity_weights.warp_matrices(1)[number][:2]
    key = f"w{warp}/m{number}"
    forward = frame_map(matrix, 512, warp)[3::31, 5::29]
    np.testing.assert_allclose(forward, WANT[f"map/{key}"], atol=0.02)
    inverse = photo_map(matrix, 512, warp, 300, 420)[2::19, 1::23]
    np.testing.assert_allclose(inverse, WANT[f"inverse_map/{key}"], atol=0.02)
    points = parity_weights.uniform01("warp/points", 1, (50, 2)) * 900 - 200
    moved = points_to_frame(points, matrix, 512, warp)
    np.testing.assert_allclose(moved, WANT[f"points_to_warped/{key}"], atol=0.02)
    points = parity_weights.uniform01("warp/points512", 1, (50, 2)) * 512
    moved = points_from_frame(points, matrix, 512, warp)
    np.testing.assert_allclose(moved, WANT[f"points_from_warped/{key}"], atol=0.02)


def test_a_warped_image_is_the_official_one():
    image = parity_weights.image01("warp", 1, 320)[0].transpose(1, 2, 0)
    matrix = WANT["lapa_align_matrix"][0][:2]
    warped = warp_image(np.ascontiguousarray(image, np.float32), matrix, 512, 0.8)
    expected = WANT["warped_image_lapa0/stride31"]
    np.testing.assert_allclose(warped[::31, ::31], expected, atol=0.002)


def test_a_turned_frame_keeps_its_centre():
    matrix = about_centre(100, scale=1.3, angle=0.4, shift=np.array([3.0, -2.0]))
    np.testing.assert_allclose(matrix @ [49.5, 49.5, 1], [52.5, 47.5])
    assert np.linalg.det(matrix[:, :2]) == pytest.approx(1.3**2)
    np.testing.assert_allclose(invert(invert(matrix)), matrix)


def test_labels_keep_their_values_and_are_0_outside():
    labels = np.full((20, 30), 7, np.uint8)
    warped = warp_image(labels, np.eye(2, 3), 64, 0.0, nearest=True)
    assert set(np.unique(warped)) == {0, 7}
    assert (warped[:20, :30] == 7).all()


def test_augmentations_are_functions_of_their_generator():
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    original = frame.copy()
    for function in (vary_colour, occlude, add_noise):
        changed = 0
        for seed in range(12):
            first = function(frame, np.random.default_rng(seed))
            np.testing.assert_array_equal(first, function(frame, np.random.default_rng(seed)))
            changed += not np.array_equal(first, frame)
        assert changed >= 3
        np.testing.assert_array_equal(frame, original)
    black = (occlude(frame, np.random.default_rng(5)) == 0).all(axis=2)
    assert 0.01 <= black.mean() <= 0.16
