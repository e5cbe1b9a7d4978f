"""Cuts: jumps of the picture are, motion, noise and fades are not."""

import numpy as np
import pytest

from mica_ext.clip.cuts import CutDetector


def textured(seed):
    coarse = np.random.default_rng(seed).integers(20, 235, (9, 16, 3))
    return np.kron(coarse, np.ones((20, 20, 1), int)).astype(np.uint8)


def cuts_of(frames):
    detector = CutDetector()
    return [number for number, frame in enumerate(frames) if detector.is_cut(frame)]


def noisy(image, seed):
    noise = np.random.default_rng([seed, 9]).normal(0, 8, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def test_two_scenes_have_one_cut():
    frames = [noisy(textured(0 if k < 12 else 1), k) for k in range(24)]
    assert cuts_of(frames) == [12]


def test_a_cut_back_after_a_few_frames_is_found_too():
    frames = [noisy(textured(1 if 8 <= k < 11 else 0), k) for k in range(20)]
    assert cuts_of(frames) == [8, 11]


@pytest.mark.parametrize("shift", [1, 6])
def test_a_pan_is_no_cut(shift):
    wide = np.tile(textured(2), (1, 3, 1))
    assert cuts_of([wide[:, k * shift : k * shift + 320] for k in range(30)]) == []


def test_a_fade_is_no_cut():
    first, second = textured(3).astype(float), textured(4).astype(float)
    steps = np.linspace(0, 1, 25)
    assert cuts_of([((1 - s) * first + s * second).astype(np.uint8) for s in steps]) == []
