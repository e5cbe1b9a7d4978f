"""Textured meshes: the texture looked up at every sample."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from eval_now.geometry.raster import rasterize
from mica_ext.render.rasterizers import Rasterizer
from mica_ext.render.shading import Lighting, from_linear, render, to_linear
from mica_ext.render.views import View, screen_points

SAMPLES = 2
"""Per pixel and axis."""
WHITE = 0.8
SHADE_SHARE = 0.55
"""Of further light: the photo's own is partly in the texture."""


class TexturedMesh(NamedTuple):
    """A texture and how it lies on the triangles of a mesh."""

    picture: UInt8[np.ndarray, "size size 3"]
    """SRGB."""
    uv: Float[np.ndarray, "T 2"]
    """Texture coordinates in [0, 1], v up."""
    triangles: Int32[np.ndarray, "F 3"]
    """Indices into `uv`, one row per triangle of the mesh."""
    photo_light: Float32[np.ndarray, " V"] | None = None
    """Factors per vertex on linear RGB that bring back the light of the photo, of which the picture
    is evened; None: it is not."""


def texels(uv: Float[np.ndarray, "T 2"], size: int) -> Float[np.ndarray, "T 2"]:
    """Column and row in a square texture; the centre of the top left texel is (0, 0)."""
    return np.stack([uv[:, 0] * size - 0.5, (1.0 - uv[:, 1]) * size - 0.5], axis=1)


def render_textured(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    view: View,
    background: UInt8[np.ndarray, "height width 3"],
    texture: TexturedMesh,
    opacity: float | Float32[np.ndarray, " V"] = 1.0,
    lighting: Lighting | None = None,
    photo_light: bool = False,
    rasterizer: Rasterizer = rasterize,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a textured mesh over `background` (sRGB).

    Args:
        vertices: [m].
        triangles: of the mesh.
        view: camera and pose.
        background: gives the picture its size.
        texture: the mesh's.
        opacity: of the mesh or per vertex; mixes mesh and background.
        lighting: further light, mildly; without it the texture is shown as it is.
        photo_light: shows the texture in the light of its photo.
        rasterizer: finds what each sample shows.
    """
    height, width = background.shape[:2]
    screen = screen_points(view, vertices)
    screen[:, :2] = (screen[:, :2] + 0.5) * SAMPLES - 0.5
    raster = rasterizer(screen, triangles, height * SAMPLES, width * SAMPLES)
    hit = raster.triangles >= 0
    seen, weights = raster.triangles[hit], raster.barycentric[hit]
    places = texels(texture.uv, len(texture.picture)).astype(np.float32)
    place = np.einsum("pk,pkc->pc", weights, places[texture.triangles[seen]]).astype(np.float32)
    x, y = np.zeros(hit.shape, np.float32), np.zeros(hit.shape, np.float32)
    x[hit], y[hit] = place[:, 0], place[:, 1]
    colours = cv2.remap(texture.picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    per_vertex = np.broadcast_to(np.asarray(opacity, np.float32), len(vertices))
    cover = np.zeros(hit.shape, np.float32)
    cover[hit] = np.einsum("pk,pk->p", weights, per_vertex[triangles[seen]])
    light = to_linear(colours / np.float32(255.0))
    if photo_light and texture.photo_light is not None:
        factors = texture.photo_light[triangles[seen]]
        light[hit] *= np.einsum("pk,pk->p", weights, factors)[:, None]
    covered = np.maximum(_sample_means(hit[:, :, None].astype(np.float32)), 1e-6)
    surface = _sample_means(light * hit[:, :, None]) / covered
    if lighting is not None:
        surface *= _shade(vertices, triangles, view, background.shape, lighting, rasterizer)
    surface = from_linear(surface)
    mixed = background + (surface * 255.0 - background) * _sample_means(cover[:, :, None])
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _shade(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    view: View,
    shape: tuple[int, ...],
    lighting: Lighting,
    rasterizer: Rasterizer,
) -> Float32[np.ndarray, "height width 3"]:
    """Factors of a further light: its white clay's brightness over the median, softened."""
    dark = np.zeros(shape, np.uint8)
    white = np.full(vertices.shape, WHITE, np.float32)
    drawn = render(
        vertices,
        triangles,
        view,
        dark,
        colours=white,
        lighting=lighting,
        samples=1,
        rasterizer=rasterizer,
    )
    light = to_linear(drawn.picture / np.float32(255.0))
    seen = drawn.raster.triangles >= 0
    typical = np.median(light[seen]) if seen.any() else 1.0
    return (1 + SHADE_SHARE * (light / max(float(typical), 1e-6) - 1)).astype(np.float32)


def _sample_means(samples: Float32[np.ndarray, "rows columns C"]) -> Float32[np.ndarray, "h w C"]:
    """Means over the `SAMPLES` x `SAMPLES` samples of each pixel."""
    rows, columns, channels = samples.shape
    blocks = samples.reshape(rows // SAMPLES, SAMPLES, columns // SAMPLES, SAMPLES, channels)
    return blocks.mean(axis=(1, 3))
