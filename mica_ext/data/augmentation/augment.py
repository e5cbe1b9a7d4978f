"""Random changes of crops: local warps of eyes and mouth, resolution, light, colour, noise."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from pacofr.faces.face_mesh.topology import LEFT_EYE_CENTRE, POINTS, RIGHT_EYE_CENTRE

Picture = UInt8[np.ndarray, "S S 3"]
MOUTH_POINTS = [61, 291, 0, 17]
REFERENCE = 128
"""Side of the crop in which the lengths below are given [px]."""
MAX_AMPLITUDE = 0.45


def local_warp(
    picture: Picture, points: Float[np.ndarray, "478 2"], rng: np.random.Generator
) -> tuple[Picture, Float[np.ndarray, "478 2"]]:
    """Scale mouth, eyes and a random place smoothly; eyes mostly in height, as lids move.

    The pixel at x is taken from x + d(x), so a point p moves to the y with y + d(y) = p, found by
    fixed-point iteration.
    """
    size, unit = picture.shape[0], picture.shape[0] / REFERENCE
    warps = [(points[rng.integers(POINTS)], rng.normal(0, 0.12, 2), rng.uniform(10, 25))]
    if rng.random() < 0.6:
        warps.append((points[MOUTH_POINTS].mean(0), rng.normal(0, 0.2, 2), rng.uniform(14, 22)))
    for eye in (RIGHT_EYE_CENTRE, LEFT_EYE_CENTRE):
        if rng.random() < 0.6:
            warps.append((points[eye].mean(0), rng.normal(0, [0.1, 0.3]), rng.uniform(7, 11)))
    centres, amplitudes, radii = (np.array(column) for column in zip(*warps, strict=True))
    amplitudes = amplitudes.clip(-MAX_AMPLITUDE, MAX_AMPLITUDE)

    def displacement(x: np.ndarray) -> np.ndarray:
        offset = x[..., None, :] - centres
        weight = np.exp(-0.5 * np.square(offset).sum(-1) / (radii * unit) ** 2)
        return (weight[..., None] * amplitudes * offset).sum(-2)

    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float32)
    coarse = cv2.resize(grid, (size // 4, size // 4), interpolation=cv2.INTER_AREA)
    source = grid + cv2.resize(displacement(coarse).astype(np.float32), (size, size))
    warped = cv2.remap(
        picture, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    moved = points
    for _ in range(12):
        moved = points - displacement(moved)
    return np.asarray(warped, np.uint8), moved


def photometric_augment(picture: Picture, rng: np.random.Generator) -> Picture:
    """Random resolution, blur, uneven light, gamma, contrast, colour, noise and JPEG artefacts."""
    size = picture.shape[0]
    picture = _degrade(picture, rng)
    if rng.random() < 0.25:
        light = rng.normal(0, 0.35, (3, 3)).astype(np.float32)
        light = np.exp(cv2.resize(light, (size, size), interpolation=cv2.INTER_CUBIC))
        picture = np.clip(picture * light[..., None], 0, 255).astype(np.uint8)
    ramp = (np.arange(256) / 255.0) ** np.exp(rng.normal(0, 0.3))
    gain = np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.06, 3))
    ramp = (ramp[:, None] - 0.5) * np.exp(rng.normal(0, 0.2)) * gain + 0.5 + rng.normal(0, 0.08)
    picture = cv2.LUT(picture, np.clip(ramp * 255, 0, 255).astype(np.uint8).reshape(1, 256, 3))
    grey = rng.random() < 0.12
    if grey or rng.random() < 0.4:
        amount = 1.0 if grey else float(rng.uniform(-0.4, 0.7))
        tone = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None].repeat(3, 2)
        picture = cv2.addWeighted(picture, 1 - amount, tone, amount, 0)
    if rng.random() < 0.3:
        noise = rng.standard_normal(picture.shape, np.float32) * rng.uniform(2, 14)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))]
        packed = cv2.imencode(".jpg", picture, quality)[1]
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(picture, np.uint8)


def _degrade(picture: Picture, rng: np.random.Generator) -> Picture:
    """Low resolution, lens blur, motion blur."""
    size = picture.shape[0]
    if rng.random() < 0.3:
        small = int(rng.uniform(0.22, 0.8) * size)
        picture = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.25:
        sigma = float(rng.uniform(0.4, 1.8) * size / REFERENCE)
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    if rng.random() < 0.06:
        length = int(rng.integers(3, 9))
        path = np.zeros((length, length), np.float32)
        start, end = (int(v) for v in rng.integers(0, length, 2))
        cv2.line(path, (0, start), (length - 1, end), 1.0)
        path = path if rng.random() < 0.5 else path.T
        picture = cv2.filter2D(picture, -1, path / path.sum())
    return np.asarray(picture, np.uint8)


def as_drawing(picture: Picture, rng: np.random.Generator) -> Picture:
    """A pencil sketch, line art or a poster of the picture: a face, but no photo of one."""
    size = picture.shape[0]
    small = int(size * rng.uniform(0.5, 1.0))
    reduced = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
    drawn = DRAWINGS[rng.integers(len(DRAWINGS))](np.asarray(reduced, np.uint8), rng)
    way = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(drawn, (size, size), interpolation=way), np.uint8)


def _sketch(picture: Picture, rng: np.random.Generator) -> Picture:
    """Colour dodge of the inverted, blurred picture."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    blurred = cv2.GaussianBlur(255 - grey, (0, 0), float(rng.uniform(2.5, 5.5)))
    strokes = cv2.divide(grey, 255 - blurred, scale=256)
    return (strokes[..., None] * rng.uniform(0.8, 1.0, 3)).astype(np.uint8)


def _line_art(picture: Picture, rng: np.random.Generator) -> Picture:
    ink, paper = rng.uniform(0, 80, 3), rng.uniform(190, 255, 3)
    return np.where(_contours(picture, rng), ink, paper).astype(np.uint8)


def _poster(picture: Picture, rng: np.random.Generator) -> Picture:
    """Few levels of each channel."""
    levels = int(rng.integers(2, 6))
    flat = cv2.medianBlur(picture, _odd(rng, 1, 6)).astype(np.float32) / 256
    return _outlined((np.floor(flat * levels) + 0.5) / levels * 255, picture, rng)


def _few_tones(picture: Picture, rng: np.random.Generator) -> Picture:
    """The mean colour of each of a few equally frequent ranges of luma."""
    flat = cv2.medianBlur(picture, _odd(rng, 1, 6))
    luma = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)
    bounds = np.quantile(luma, np.linspace(0, 1, int(rng.integers(3, 8)))[1:-1])
    tone = np.digitize(luma, bounds)
    colours = [flat[tone == each].mean(0) for each in np.unique(tone)]
    return _outlined(np.array(colours)[np.unique(tone, return_inverse=True)[1]], picture, rng)


def _outlined(
    flat: Float[np.ndarray, "S S 3"], picture: Picture, rng: np.random.Generator
) -> Picture:
    """Half of them with dark contours."""
    if rng.random() < 0.5:
        flat = np.where(_contours(picture, rng), 0.2 * flat, flat)
    return flat.astype(np.uint8)


def _contours(picture: Picture, rng: np.random.Generator) -> Bool[np.ndarray, "S S 1"]:
    grey = cv2.medianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 3)
    method, offset = cv2.ADAPTIVE_THRESH_GAUSSIAN_C, float(rng.uniform(2, 7))
    drawn = cv2.adaptiveThreshold(grey, 255, method, cv2.THRESH_BINARY, _odd(rng, 2, 6), offset)
    return drawn[..., None] == 0


def _odd(rng: np.random.Generator, least: int, end: int) -> int:
    return 2 * int(rng.integers(least, end)) + 1


DRAWINGS = (_sketch, _line_art, _poster, _few_tones)
"""Kinds of drawings, equally often."""
