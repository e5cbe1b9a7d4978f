"""Drawing with OpenCV on uint8 RGB pictures: backgrounds, textures, polygons, strokes, noise."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Picture = UInt8[np.ndarray, "height width 3"]
SHIFT = 4
"""Fractional bits of coordinates that OpenCV draws with: 1/16 pixel."""


def background(generator: np.random.Generator, height: int, width: int) -> Picture:
    """Smooth gradients, blurred colour noise, or rectangles over it."""
    kind = generator.random()
    cells = 2 if kind < 0.25 else int(generator.integers(3, 14))
    tone = generator.uniform(15, 245) + generator.normal(0, 18, 3)
    spread = generator.uniform(5, 60)
    grid = generator.normal(0, spread, (cells, cells, 1))
    grid = tone + grid + generator.normal(0, 0.4 * spread, (cells, cells, 3))
    sharp = generator.random() < 0.35
    small = (width, height) if sharp else ((width + 1) // 2, (height + 1) // 2)
    grid = np.clip(grid, 0, 255).astype(np.float32)
    wall = cv2.resize(grid, small, interpolation=cv2.INTER_CUBIC)
    wall = np.clip(wall, 0, 255).astype(np.uint8)
    for _ in range(int(generator.integers(0, 9)) if kind > 0.4 else 0):
        colour = (generator.uniform(0, 255) + generator.normal(0, 40, 3)).clip(0, 255).tolist()
        (left, top), (wide, high) = generator.uniform(-0.2, 1.0, 2), generator.exponential(0.25, 2)
        start = (int(left * small[0]), int(top * small[1]))
        end = (int((left + wide) * small[0]), int((top + high) * small[1]))
        cv2.rectangle(wall, start, end, colour, -1)
    if not sharp:
        wall = cv2.GaussianBlur(wall, (0, 0), generator.uniform(0.6, 4.5))
        wall = cv2.resize(wall, (width, height), interpolation=cv2.INTER_LINEAR)
    return wall


def hair_texture(
    generator: np.random.Generator, height: int, width: int, colour: Float[np.ndarray, "3"]
) -> Picture:
    """Vertical strands; `colour` sRGB in [0, 1]."""
    fine = generator.normal(1.0, 0.30, (6, max(width // 2, 2))).astype(np.float32)
    wide = generator.normal(1.0, 0.20, (3, 8)).astype(np.float32)
    strands = cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR)
    strands *= cv2.resize(wide, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(strands[:, :, None] * colour * 255, 0, 255).astype(np.uint8)


def fill_polygon(picture: Picture, outline: Float[np.ndarray, "n 2"], paint: Picture) -> Picture:
    """Fill a polygon [px] with another picture of the same size, its edge antialiased."""
    return blend(picture, paint, area_mask(picture.shape, [outline]))


def blend(picture: Picture, paint: Picture, mask: UInt8[np.ndarray, "height width"]) -> Picture:
    """`paint` over `picture` where `mask` is 255."""
    low, high = _extent(mask)
    if high[0] <= low[0]:
        return picture
    part = (slice(low[0], high[0]), slice(low[1], high[1]))
    weight = (mask[part].astype(np.uint16) + (mask[part] > 127))[:, :, None]
    mixed = picture[part] * (256 - weight) + paint[part] * weight
    picture = picture.copy()
    picture[part] = mixed >> 8
    return picture


def draw_strokes(
    picture: Picture,
    starts: Float[np.ndarray, "n 2"],
    ends: Float[np.ndarray, "n 2"],
    colour: Float[np.ndarray, "3"],
    width_px: float,
    opacity: float,
) -> Picture:
    """Lines from `starts` to `ends` [px]; those thinner than a pixel are fainter instead."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    lines = np.stack([_fixed(starts), _fixed(ends)], axis=1)
    thickness = max(1, round(width_px))
    cv2.polylines(mask, list(lines), False, 255, thickness, cv2.LINE_AA, SHIFT)
    mask = (mask * (opacity * min(1.0, width_px / thickness))).astype(np.uint8)
    paint = np.empty_like(picture)
    paint[:] = np.clip(colour * 255, 0, 255)
    return blend(picture, paint, mask)


def outline_mask(
    shape: tuple[int, ...],
    lines: list[Float[np.ndarray, "_ 2"]],
    width_px: int,
    *,
    closed: bool = False,
) -> UInt8[np.ndarray, "height width"]:
    """Lines [px] as a mask."""
    mask = np.zeros(shape[:2], np.uint8)
    fixed = [_fixed(line) for line in lines]
    cv2.polylines(mask, fixed, closed, 255, width_px, cv2.LINE_AA, SHIFT)
    return mask


def area_mask(
    shape: tuple[int, ...], outlines: list[Float[np.ndarray, "_ 2"]]
) -> UInt8[np.ndarray, "height width"]:
    """Polygons [px] as a mask."""
    mask = np.zeros(shape[:2], np.uint8)
    for outline in outlines:
        cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, SHIFT)
    return mask


def draw_occluder(
    generator: np.random.Generator, picture: Picture, centre: Float[np.ndarray, "2"], size: float
) -> Picture:
    """A random polygon of radius up to `size` [px] in a background or skin-like texture."""
    outline = occluder_outline(generator, centre, size)
    return fill_polygon(picture, outline, occluder_texture(generator, *picture.shape[:2]))


def occluder_outline(
    generator: np.random.Generator, centre: Float[np.ndarray, "2"], size: float
) -> Float[np.ndarray, "n 2"]:
    """A random polygon of radius up to `size` [px]."""
    corners = int(generator.integers(4, 12))
    angles = np.sort(generator.uniform(0, 2 * np.pi, corners))
    radius = size * generator.uniform(0.5, 1.0, corners) * generator.uniform(0.4, 1.0)
    stretch = np.exp(generator.normal(0, 0.3))
    outline = np.stack([np.cos(angles) * stretch, np.sin(angles) / stretch], axis=1)
    return centre + outline * radius[:, None]


def occluder_texture(generator: np.random.Generator, height: int, width: int) -> Picture:
    """A background, or something like skin."""
    paint = background(generator, height, width)
    if generator.random() < 0.4:
        tone = np.array([0.85, 0.65, 0.55]) * generator.uniform(0.35, 1.1)
        skin = hair_texture(generator, height, width, tone)
        paint = cv2.addWeighted(paint, 0.15, skin, 0.85, 0.0)
    return paint


def photograph(generator: np.random.Generator, picture: Picture) -> Picture:
    """Lens blur, exposure and contrast, sensor noise, JPEG compression."""
    if generator.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), generator.uniform(0.3, 1.6))
    ramp = (np.arange(256) / 255.0)[:, None] ** np.exp(generator.normal(0, 0.22))
    ramp = (ramp - 0.45) * np.exp(generator.normal(0, 0.15)) + 0.45
    ramp = ramp * np.exp(generator.normal(0, 0.05, 3)) + generator.normal(0, 0.03)
    picture = cv2.LUT(picture, np.clip(ramp * 255, 0, 255).astype(np.uint8)[None])
    sigma = generator.exponential(4.0)
    if sigma > 1:
        noise = generator.standard_normal(picture.shape, np.float32) * np.float32(sigma)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if generator.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(30, 92))]
        packed = cv2.imencode(".jpg", picture, quality)[1]
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return picture


def _fixed(points: Float[np.ndarray, "n 2"]) -> np.ndarray:
    return np.clip(np.round(points * (1 << SHIFT)), -(2**24), 2**24).astype(np.int32)


def _extent(mask: UInt8[np.ndarray, "height width"]) -> tuple[tuple[int, int], tuple[int, int]]:
    x, y, width, height = cv2.boundingRect(mask)
    return (y, x), (y + height, x + width)
