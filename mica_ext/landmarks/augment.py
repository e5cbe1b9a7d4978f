"""Random changes of the landmark network's inputs: local warps, light, blur, noise, occluders."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mica_ext.landmarks.annotated_photos import LabelledPhoto
from mica_ext.landmarks.view import VIEW
from pacofr.faces.landmarks68 import OUTER_LIPS

INPUT = VIEW.pixels
GRID = np.stack(np.meshgrid(np.arange(INPUT), np.arange(INPUT)), -1).astype(np.float32)
COARSE = cv2.resize(GRID, (INPUT // 4, INPUT // 4), interpolation=cv2.INTER_AREA)
"""Positions of every pixel, and of every fourth, where displacements are computed."""


def local_warp(
    view: UInt8[np.ndarray, "128 128 3"],
    points: Float[np.ndarray, "68 2"],
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "128 128 3"], Float[np.ndarray, "68 2"]]:
    """Scale the mouth and the surroundings of two random landmarks smoothly and anisotropically.

    The pixel at x is taken from x + d(x), so a landmark p moves to the y with y + d(y) = p, found
    by fixed-point iteration.
    """
    centres = np.stack([points[OUTER_LIPS].mean(0), *points[rng.integers(0, 68, 2)]])
    amplitudes = rng.normal(0, [[0.22, 0.22], [0.12, 0.12], [0.12, 0.12]]).clip(-0.4, 0.4)
    radii = np.array([rng.uniform(14, 22), *rng.uniform(10, 25, 2)])

    def displacement(x: np.ndarray) -> np.ndarray:
        offset = x[..., None, :] - centres
        weight = np.exp(-0.5 * np.square(offset).sum(-1) / radii**2)
        return (weight[..., None] * amplitudes * offset).sum(-2)

    displacements = cv2.resize(displacement(COARSE).astype(np.float32), (INPUT, INPUT))
    source = GRID + displacements
    warped = cv2.remap(
        view,
        source[..., 0],
        source[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    moved = points
    for _ in range(12):
        moved = points - displacement(moved)
    return warped, moved


def photometric_augment(
    view: UInt8[np.ndarray, "128 128 3"],
    photos: Sequence[LabelledPhoto],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "128 128 3"]:
    """Random occluder, resolution, blur, gamma, contrast, colour, noise and JPEG compression."""
    if rng.random() < 0.4:
        view = occlude(view, photos, rng)
    if rng.random() < 0.25:
        small = int(rng.integers(36, 100))
        view = cv2.resize(view, (small, small), interpolation=cv2.INTER_AREA)
        view = cv2.resize(view, (INPUT, INPUT), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.25:
        view = cv2.GaussianBlur(view, (0, 0), float(rng.uniform(0.4, 1.8)))
    ramp = np.arange(256) / 255.0
    ramp = ramp ** np.exp(rng.normal(0, 0.3))
    light = np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.06, 3))
    ramp = (ramp[:, None] - 0.5) * np.exp(rng.normal(0, 0.2)) * light + 0.5
    ramp = ramp + rng.normal(0, 0.08)
    view = cv2.LUT(view, np.clip(ramp * 255, 0, 255).astype(np.uint8).reshape(1, 256, 3))
    grey = rng.random() < 0.12
    if grey or rng.random() < 0.5:
        amount = 1.0 if grey else float(rng.uniform(-0.4, 0.7))
        tone = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)[:, :, None].repeat(3, 2)
        view = cv2.addWeighted(view, 1 - amount, tone, amount, 0)
    if rng.random() < 0.3:
        noise = rng.standard_normal(view.shape, np.float32) * rng.uniform(2, 14)
        view = np.clip(view + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = int(rng.integers(20, 80))
        _, packed = cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, quality])
        view = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    return view


def occlude(
    view: UInt8[np.ndarray, "128 128 3"],
    photos: Sequence[LabelledPhoto],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "128 128 3"]:
    """Cover a rectangle or ellipse with one colour or a part of another photo."""
    height, width = (int(v) for v in rng.integers(12, 56, 2))
    top, left = int(rng.integers(0, INPUT - height)), int(rng.integers(0, INPUT - width))
    patch = np.empty((height, width, 3), np.uint8)
    patch[:] = rng.integers(0, 256, 3)
    if rng.random() < 0.5:
        other = photos[int(rng.integers(len(photos)))].image
        if other.shape[0] > height and other.shape[1] > width:
            y = int(rng.integers(0, other.shape[0] - height))
            x = int(rng.integers(0, other.shape[1] - width))
            patch = other[y : y + height, x : x + width]
    view = view.copy()
    target = view[top : top + height, left : left + width]
    if rng.random() < 0.5:
        target[:] = patch
    else:
        shape = np.zeros((height, width), np.uint8)
        cv2.ellipse(shape, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 1, -1)
        target[shape > 0] = patch[shape > 0]
    return view
