"""Hair, clothes and glasses drawn around a rendered head, placed by its 68 projected landmarks."""

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from mica_ext.data.synthetic.appearance.painting import (
    area_mask,
    blend,
    hair_texture,
    outline_mask,
)
from mica_ext.render.views import View, screen_points


def shaded_hair(
    generator: np.random.Generator, size: int, colour: Float[np.ndarray, "3"]
) -> UInt8[np.ndarray, "size size 3"]:
    """A hair texture under smoothly varying light; `colour` sRGB in [0, 1]."""
    paint = hair_texture(generator, size, size, colour)
    grid = generator.uniform(0.45, 1.15, (3, 3)).astype(np.float32)
    light = cv2.resize(grid, paint.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(paint * light[:, :, None], 0, 255).astype(np.uint8)


def back_hair_outline(
    generator: np.random.Generator, points: Float32[np.ndarray, "68 2"], eyes_px: float
) -> Float[np.ndarray, "n 2"]:
    """Polygon [px] of long hair behind the head. `eyes_px`: distance of the outer eye corners."""
    up = points[27] - points[8]
    up /= np.linalg.norm(up)
    centre = (points[0] + points[16]) / 2
    angle = np.linspace(-0.2, np.pi + 0.2, 14)
    width = eyes_px * generator.uniform(0.95, 1.25)
    height = eyes_px * generator.uniform(1.15, 1.45)
    across = np.array([-up[1], up[0]])
    arc = centre + np.cos(angle)[:, None] * width * across + np.sin(angle)[:, None] * height * up
    low = eyes_px * generator.uniform(0.8, 2.6)
    ends = np.stack([arc[-1] + [0, low], arc[0] + [0, low]])
    return np.concatenate([arc, ends]) + generator.normal(0, 0.03, (16, 2)) * eyes_px


def side_hair_outline(
    generator: np.random.Generator,
    side: Float32[np.ndarray, "6 2"],
    points: Float32[np.ndarray, "68 2"],
    eyes_px: float,
) -> Float[np.ndarray, "n 2"]:
    """Polygon [px] of hair over one side of the face; `side` runs down the contour."""
    inward = points[30] - side.mean(axis=0)
    inward /= max(float(np.linalg.norm(inward)), 1e-6)
    up = points[27] - points[8]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    cover = generator.normal(0.02, 0.10) * eyes_px
    top = side[0] + up * eyes_px * generator.uniform(0.5, 0.9) + inward * eyes_px * 0.35
    inner = side + inward * cover + generator.normal(0, 0.015, side.shape) * eyes_px
    outer = side[::-1] - inward * eyes_px * generator.uniform(0.12, 0.35)
    low = (inner[-1] + outer[0]) / 2 + [0, eyes_px * generator.uniform(0.2, 1.4)]
    return np.concatenate(
        [top[None], inner, low[None], outer, (top - inward * eyes_px * 0.3)[None]]
    )


def clothes_outline(
    generator: np.random.Generator,
    vertices: Float32[np.ndarray, "V 3"],
    view: View,
    eyes_px: float,
) -> Float[np.ndarray, "8 2"]:
    """Polygon [px] of shoulders below the lower end of the neck."""
    low = vertices[:, 1] < vertices[:, 1].min() + 0.02
    neck = screen_points(view, vertices[low])[:, :2].mean(axis=0)
    width = eyes_px * generator.uniform(2.0, 2.9)
    drop = generator.uniform(0.3, 0.9) * eyes_px
    collar = eyes_px * generator.uniform(0.55, 0.8)
    return neck + np.array(
        [
            [-collar, -0.35 * eyes_px],
            [collar, -0.35 * eyes_px],
            [0.6 * width, drop * 0.5],
            [width, drop],
            [width, 6 * eyes_px],
            [-width, 6 * eyes_px],
            [-width, drop],
            [-0.6 * width, drop * 0.5],
        ]
    )


def draw_glasses(
    generator: np.random.Generator,
    picture: UInt8[np.ndarray, "h w 3"],
    points: Float32[np.ndarray, "68 2"],
    eyes_px: float,
) -> UInt8[np.ndarray, "h w 3"]:
    """Spectacle frames, bridge and temples; a quarter are sunglasses."""
    thickness = max(1, round(eyes_px * generator.uniform(0.01, 0.05)))
    squareness = generator.uniform(2.0, 5.0)
    angle = np.linspace(0, 2 * np.pi, 28)
    ring = np.stack([_power(f(angle), 2 / squareness) for f in (np.cos, np.sin)], axis=1)
    height = eyes_px * generator.uniform(0.13, 0.24)
    rims, temples = [], []
    for eye, ear in ((points[36:42], points[0]), (points[42:48], points[16])):
        across = (eye[3] - eye[0]) * generator.uniform(0.75, 0.95)
        down = np.array([-across[1], across[0]]) / max(float(np.linalg.norm(across)), 1.0) * height
        rim = eye.mean(axis=0) + ring[:, :1] * across + ring[:, 1:] * down + down * 0.15
        rims.append(rim)
        temples.append(np.stack([rim[np.argmin(np.linalg.norm(rim - ear, axis=1))], ear]))
    gaps = np.linalg.norm(rims[0][:, None] - rims[1][None], axis=2)
    near, other = np.unravel_index(gaps.argmin(), gaps.shape)
    bridge = np.stack([rims[0][near], rims[1][other]])
    mask = outline_mask(picture.shape, [*rims, bridge, *temples], thickness)
    glass = area_mask(picture.shape, rims)
    frame = np.empty_like(picture)
    frame[:] = generator.uniform(0, 255, 3) * generator.uniform(0.1, 1.0)
    tint = generator.uniform(0.8, 1.0) if generator.random() < 0.25 else generator.uniform(0, 0.15)
    dark = np.empty_like(picture)
    dark[:] = generator.uniform(0, 60, 3)
    picture = blend(picture, dark, (glass * tint).astype(np.uint8))
    return blend(picture, frame, mask)


def _power(values: Float[np.ndarray, " n"], exponent: float) -> Float[np.ndarray, " n"]:
    return np.sign(values) * np.abs(values) ** exponent
