"""Frames of a video of one mesh: lit per vertex, in about a quarter of the time of `shading`.

Gouraud shading: on meshes whose triangles are pixels wide under soft light, as heads in clay are,
it differs from shading per pixel by less than what a video's compression changes.
"""

from functools import partial
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int32, UInt8

from eval_now.geometry.numba_jit import cached_njit
from eval_now.geometry.raster import rasterize
from mica_ext.render.rasterizers import Rasterizer
from mica_ext.render.shading import (
    INNER_BRIGHTNESS,
    Lighting,
    lit_vertices,
    sampled_points,
    seen_from_outside,
)
from mica_ext.render.views import View

SAMPLES = 2
"""Per pixel and axis."""
INNER_FACTOR = INNER_BRIGHTNESS ** np.float32(1 / 2.2)
"""`INNER_BRIGHTNESS` for sRGB."""


class MeshFrames:
    """Draws a mesh whose vertices move."""

    def __init__(
        self,
        triangles: Int32[np.ndarray, "F 3"],
        colours: Float[np.ndarray, "V 3"],
        lighting: Lighting,
        opacity: float | Float[np.ndarray, " V"] = 1.0,
        rasterizer: Rasterizer = rasterize,
        closed: bool = False,
    ) -> None:
        """Set up what stays the same.

        Args:
            triangles: counter-clockwise seen from outside; those without opacity are left out.
            colours: sRGB in [0, 1] per vertex.
            lighting: lights in the camera's frame.
            opacity: of the mesh or per vertex; mixes mesh and background.
            rasterizer: finds what each sample shows.
            closed: no inner side can be seen; triangles turned away are left out.
        """
        self.triangles, self.colours, self.lighting = triangles, colours, lighting
        self.opacity = np.array(np.broadcast_to(opacity, len(colours)), np.float32)
        self.drawn = np.ascontiguousarray(triangles[self.opacity[triangles].any(1)])
        self.closed = closed
        self.corners = np.unique(self.drawn)
        # triangles are pixels wide: perspective within them does not show
        flat = partial(rasterize, perspective=False)
        self.rasterizer: Rasterizer = flat if rasterizer is rasterize else rasterizer

    def __call__(
        self,
        vertices: Float[np.ndarray, "V 3"],
        view: View,
        background: UInt8[np.ndarray, "height width 3"],
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The mesh over the background; only the part of the picture that it covers is drawn."""
        picture = background.copy()
        screen = sampled_points(view, vertices, SAMPLES)
        height, width = background.shape[:2]
        places = screen[self.corners, :2] / SAMPLES
        places = places[np.isfinite(places).all(1)]  # in front of the camera
        if not len(places):
            return picture
        low = np.floor(places.min(0)).clip(0, [width, height]).astype(int)
        high = np.ceil(places.max(0) + 1).clip(0, [width, height]).astype(int)
        if not (high > low).all():
            return picture
        screen[:, :2] -= low * SAMPLES
        across, down = (high - low) * SAMPLES
        drawn, front = self.drawn, seen_from_outside(screen, self.drawn)
        if self.closed:
            drawn, front = drawn[front], front[front]
        raster = self.rasterizer(screen, drawn, int(down), int(across))
        part = picture[low[1] : high[1], low[0] : high[0]]
        _blend(
            raster.triangles,
            raster.barycentric,
            drawn,
            front,
            lit_vertices(vertices, self.triangles, view, self.colours, self.lighting),
            self.opacity,
            INNER_FACTOR,
            part,
        )
        return picture


@cached_njit(nogil=True, error_model="numpy", fastmath=True)
@no_type_check  # numba needs the bare function
def _blend(seen, barycentric, triangles, front, lit, opacity, inner, picture):  # noqa: ANN001, ANN202
    """Mean colours of the samples over the picture, in place."""
    height, width = picture.shape[:2]
    samples = seen.shape[0] // height
    one, half, zero = np.float32(1.0), np.float32(0.5), np.float32(0.0)
    for row in range(height):
        for column in range(width):
            hits, cover = zero, zero
            red, green, blue = zero, zero, zero
            for y in range(row * samples, (row + 1) * samples):
                for x in range(column * samples, (column + 1) * samples):
                    triangle = seen[y, x]
                    if triangle < 0:
                        continue
                    hits += one
                    bright = one if front[triangle] else inner
                    for corner in range(3):
                        vertex = triangles[triangle, corner]
                        weight = barycentric[y, x, corner]
                        cover += weight * opacity[vertex]
                        weight *= bright
                        red += weight * lit[vertex, 0]
                        green += weight * lit[vertex, 1]
                        blue += weight * lit[vertex, 2]
            if hits == zero:
                continue
            cover /= np.float32(samples * samples)
            share, rest = cover / hits, one - cover
            picture[row, column, 0] = np.uint8(rest * picture[row, column, 0] + share * red + half)
            picture[row, column, 1] = np.uint8(
                rest * picture[row, column, 1] + share * green + half
            )
            picture[row, column, 2] = np.uint8(rest * picture[row, column, 2] + share * blue + half)
