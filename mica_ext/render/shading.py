"""Shading of rasterised meshes: wrapped diffuse and Blinn-Phong specular of directional lights,
hemispheric ambient light, smooth normals, supersampled edges.

Computed in linear light, once per pixel from the mean of its samples.
"""

from dataclasses import dataclass
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from eval_now.geometry.normals import vertex_normals
from eval_now.geometry.numba_jit import cached_njit, kernel_input
from eval_now.geometry.raster import Raster, rasterize
from mica_ext.render.rasterizers import Rasterizer
from mica_ext.render.views import View, camera_points, screen_points

INNER_BRIGHTNESS = np.float32(0.35)
"""Factor on the inner side of a surface, seen through an opening."""
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Luminance of linear RGB (Rec. 709)."""
PLAIN_COLOUR = (0.78, 0.62, 0.54)
"""SRGB of a head without colours."""


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """Directional lights and ambient light; linear RGB, in which 1 lights white paper to white."""

    directions: tuple[tuple[float, float, float], ...]
    """From the surface to the light, in the camera's frame."""
    intensities: tuple[tuple[float, float, float], ...]
    sky: tuple[float, float, float]
    """Ambient light on normals that point up."""
    ground: tuple[float, float, float]
    """Ambient light on normals that point down."""
    wrap: tuple[float, float, float] = (0.30, 0.17, 0.13)
    """Wrapped diffuse by channel: (n . l + wrap) / (1 + wrap), imitating skin."""
    specular: float = 0.05
    """Strength of the Blinn-Phong term, exponent 32."""


STUDIO = Lighting(
    directions=((-0.55, 0.55, 0.75), (0.85, 0.05, 0.55), (0.55, 0.45, -0.75), (-0.8, 0.2, -0.6)),
    intensities=((0.84, 0.80, 0.74), (0.17, 0.19, 0.23), (0.40, 0.42, 0.46), (0.20, 0.21, 0.23)),
    sky=(0.21, 0.22, 0.24),
    ground=(0.10, 0.085, 0.08),
)
"""Warm key light from the upper left, cool fill from the right, two rim lights."""


class RenderResult(NamedTuple):
    """A picture and the samples it was shaded from."""

    picture: UInt8[np.ndarray, "height width 3"]
    raster: Raster
    """`samples` times as wide and high as the picture."""


def render(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    view: View,
    background: UInt8[np.ndarray, "height width 3"],
    *,
    colours: Float[np.ndarray, "V 3"] | None = None,
    lighting: Lighting = STUDIO,
    opacity: float | Float[np.ndarray, " V"] = 1.0,
    samples: int = 2,
    rasterizer: Rasterizer = rasterize,
) -> RenderResult:
    """Draw a mesh over `background` (sRGB), averaging `samples` x `samples` samples per pixel.

    Args:
        vertices: [m].
        triangles: counter-clockwise seen from outside; inner sides are drawn darker.
        view: camera and pose.
        background: gives the picture its size.
        colours: sRGB in [0, 1] per vertex; `PLAIN_COLOUR` without them.
        lighting: lights in the camera's frame.
        opacity: of the mesh or per vertex; mixes mesh and background.
        samples: per pixel and axis.
        rasterizer: finds what each sample shows.
    """
    height, width = background.shape[:2]
    screen = sampled_points(view, vertices, samples)
    raster = rasterizer(screen, triangles, height * samples, width * samples)
    if colours is None:
        colours = np.broadcast_to(np.array(PLAIN_COLOUR, np.float32), vertices.shape)
    picture = np.empty_like(background)
    opacities = np.broadcast_to(np.asarray(opacity, np.float32), len(vertices))
    front = seen_from_outside(screen, triangles)
    samples_of = (raster.triangles, raster.barycentric, triangles, front)
    surface = _surface(vertices, triangles, view, colours)
    _shade_samples(samples_of, surface, lighting, opacities, background, picture)
    return RenderResult(picture, raster)


def lit_vertices(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    view: View,
    colours: Float[np.ndarray, "V 3"],
    lighting: Lighting,
) -> UInt8[np.ndarray, "V 3"]:
    """SRGB of the vertices seen from outside, as `render` would shade them."""
    count = len(vertices)
    seen = np.zeros((1, count), np.int32)  # one pixel per vertex, at a corner of a triangle of it
    barycentric = np.zeros((1, count, 3), np.float32)
    for corner in range(3):
        seen[0, triangles[:, corner]] = np.arange(len(triangles))
    barycentric[0] = triangles[seen[0]] == np.arange(count)[:, None]
    picture = np.zeros((1, count, 3), np.uint8)
    samples_of = (seen, barycentric, triangles, np.ones(len(triangles), bool))
    surface = _surface(vertices, triangles, view, colours)
    opaque = np.ones(count, np.float32)
    _shade_samples(samples_of, surface, lighting, opaque, picture.copy(), picture)
    return picture[0]


def _shade_samples(
    samples_of: tuple[np.ndarray, ...],
    surface: tuple[np.ndarray, ...],
    lighting: Lighting,
    opacities: Float32[np.ndarray, " V"],
    background: UInt8[np.ndarray, "height width 3"],
    picture: UInt8[np.ndarray, "height width 3"],
) -> None:
    """Call `_shade`, which fills `picture`."""
    *lights, specular = _lights(lighting)
    arrays = (kernel_input(array) for array in (*samples_of, *surface, *lights))
    others = (kernel_input(array) for array in (opacities, _ENCODE, background))
    _shade(*arrays, specular, *others, picture)


def sampled_points(
    view: View, vertices: Float[np.ndarray, "V 3"], samples: int
) -> Float[np.ndarray, "V 3"]:
    """Screen points of a picture with so many samples per pixel and axis."""
    screen = screen_points(view, vertices)
    screen[:, :2] = (screen[:, :2] + 0.5) * samples - 0.5
    return screen


def seen_from_outside(
    screen: Float[np.ndarray, "V 3"], triangles: Int32[np.ndarray, "F 3"]
) -> Bool[np.ndarray, " F"]:
    """Whether triangles turn their outer side to the camera."""
    corner_x, corner_y = screen[triangles, 0], screen[triangles, 1]
    winding = (corner_x[:, 1] - corner_x[:, 0]) * (corner_y[:, 2] - corner_y[:, 0]) - (
        corner_x[:, 2] - corner_x[:, 0]
    ) * (corner_y[:, 1] - corner_y[:, 0])
    return winding < 0  # y points down on the screen


def _surface(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    view: View,
    colours: Float[np.ndarray, "V 3"],
) -> tuple[Float32[np.ndarray, "V 3"], Float32[np.ndarray, "V 3"], Float32[np.ndarray, "V 3"]]:
    """Points and normals in the camera's frame, and linear colours."""
    normals = vertex_normals(vertices, triangles).astype(np.float32)
    normals = np.ascontiguousarray(normals @ view.rotation.T.astype(np.float32))
    return camera_points(view, vertices).astype(np.float32), normals, to_linear(colours)


def _lights(
    lighting: Lighting,
) -> tuple[
    Float32[np.ndarray, "L 3"], Float32[np.ndarray, "L 3"], Float32[np.ndarray, "3 3"], np.float32
]:
    """What `_shade` takes of the lighting."""
    lights = np.array(lighting.directions, np.float32)
    return (
        lights / np.linalg.norm(lights, axis=1, keepdims=True),
        np.array(lighting.intensities, np.float32),
        np.array([lighting.sky, lighting.ground, lighting.wrap], np.float32),
        np.float32(lighting.specular),
    )


def to_linear(colours: Float[np.ndarray, "*shape 3"]) -> Float32[np.ndarray, "*shape 3"]:
    """SRGB in [0, 1] to linear light."""
    values = np.clip(np.asarray(colours, np.float32), 0.0, 1.0)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def from_linear(light: Float[np.ndarray, "*shape 3"]) -> Float32[np.ndarray, "*shape 3"]:
    """Linear light in [0, 1] to sRGB."""
    values = np.clip(np.asarray(light, np.float32), 0.0, 1.0)
    powers = 1.055 * values ** np.float32(1 / 2.4) - 0.055
    return np.where(values <= 0.0031308, values * 12.92, powers).astype(np.float32)


def _encoding_table(steps: int = 4096) -> Float32[np.ndarray, " steps"]:
    """SRGB byte values of linear light 0 to 1 in even steps of its square root."""
    light = np.linspace(0.0, 1.0, steps) ** 2
    return (from_linear(np.repeat(light[:, None], 3, axis=1))[:, 0] * 255.0).astype(np.float32)


_ENCODE = _encoding_table()


@cached_njit(nogil=True, error_model="numpy", fastmath=True)
@no_type_check  # numba needs the bare function
def _shade(  # noqa: ANN202
    seen,  # noqa: ANN001
    barycentric,  # noqa: ANN001
    triangles,  # noqa: ANN001
    front,  # noqa: ANN001
    points,  # noqa: ANN001
    normals,  # noqa: ANN001
    colours,  # noqa: ANN001
    directions,  # noqa: ANN001
    intensities,  # noqa: ANN001
    surround,  # noqa: ANN001
    specular,  # noqa: ANN001
    opacity,  # noqa: ANN001
    encode,  # noqa: ANN001
    background,  # noqa: ANN001
    picture,  # noqa: ANN001
):
    height, width = picture.shape[:2]
    samples = seen.shape[0] // height
    one, half, zero = np.float32(1.0), np.float32(0.5), np.float32(0.0)
    tiny = np.float32(1e-20)
    light = np.zeros(3, np.float32)
    colour = np.zeros(3, np.float32)
    for row in range(height):
        for column in range(width):
            # mean normal, position and colour of the samples that hit; shaded once per pixel
            hits = zero
            bright = zero
            cover = zero
            nx, ny, nz = zero, zero, zero
            vx, vy, vz = zero, zero, zero
            colour[:] = zero
            for y in range(row * samples, (row + 1) * samples):
                for x in range(column * samples, (column + 1) * samples):
                    triangle = seen[y, x]
                    if triangle < 0:
                        continue
                    outside = one if front[triangle] else -one
                    bright += one if front[triangle] else INNER_BRIGHTNESS
                    hits += one
                    for corner in range(3):
                        vertex = triangles[triangle, corner]
                        weight = barycentric[y, x, corner]
                        turned = weight * outside
                        cover += weight * opacity[vertex]
                        nx += turned * normals[vertex, 0]
                        ny += turned * normals[vertex, 1]
                        nz += turned * normals[vertex, 2]
                        vx -= weight * points[vertex, 0]
                        vy -= weight * points[vertex, 1]
                        vz -= weight * points[vertex, 2]
                        colour[0] += weight * colours[vertex, 0]
                        colour[1] += weight * colours[vertex, 1]
                        colour[2] += weight * colours[vertex, 2]
            if hits == zero:
                for k in range(3):
                    picture[row, column, k] = background[row, column, k]
                continue
            scale = one / np.sqrt(nx * nx + ny * ny + nz * nz + tiny)
            nx, ny, nz = nx * scale, ny * scale, nz * scale
            scale = one / np.sqrt(vx * vx + vy * vy + vz * vz + tiny)
            vx, vy, vz = vx * scale, vy * scale, vz * scale
            up = half + half * ny
            for k in range(3):
                light[k] = surround[1, k] + (surround[0, k] - surround[1, k]) * up
            highlight = zero
            for i in range(directions.shape[0]):
                lx, ly, lz = directions[i, 0], directions[i, 1], directions[i, 2]
                facing = nx * lx + ny * ly + nz * lz
                for k in range(3):
                    lit = (facing + surround[2, k]) / (one + surround[2, k])
                    light[k] += intensities[i, k] * max(lit, zero)
                if facing > zero:
                    hx, hy, hz = lx + vx, ly + vy, lz + vz
                    cosine = max(nx * hx + ny * hy + nz * hz, zero)
                    power = cosine * cosine / (hx * hx + hy * hy + hz * hz + tiny)
                    for _ in range(4):  # cosine to the 32nd
                        power *= power
                    highlight += intensities[i, 1] * power
            share = one / hits
            cover /= np.float32(samples * samples)
            for k in range(3):
                linear = share * bright * (share * colour[k] * light[k] + specular * highlight)
                step = int(np.sqrt(min(linear, one)) * np.float32(encode.shape[0] - 1) + half)
                value = np.float32(background[row, column, k])
                picture[row, column, k] = np.uint8(value + (encode[step] - value) * cover + half)
