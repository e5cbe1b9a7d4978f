"""Pictures of heads: smooth shading under three lights, over a photo or from three sides.

Frames: the camera looks along -z, x right, y up [m]; pixels follow `raster` (centres at integers,
y down). Light directions point from the surface to the light, in the camera's frame.
"""

from dataclasses import dataclass
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from mica_ext.render.raster import Raster, compiled, rasterize, vertex_normals

INNER_BRIGHTNESS = np.float32(0.35)  # the inner side of a surface, seen through an opening
PLAIN_COLOUR = (0.78, 0.62, 0.54)  # sRGB, for a head without colours of its own
THREE_YAWS = (0.0, np.deg2rad(40.0), np.deg2rad(90.0))  # front, three-quarter, profile


class View(NamedTuple):
    """Where a picture is taken from: camera point = rotation @ point + translation."""

    focal_px: float
    centre_px: Float[np.ndarray, "2"]  # x right, y down
    translation: Float[np.ndarray, "3"]  # [m]; z is negative in front of the camera
    rotation: Float[np.ndarray, "3 3"]


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """Directional lights and a sky; intensities are linear RGB, 1 lights white paper to white."""

    directions: tuple[tuple[float, float, float], ...]
    intensities: tuple[tuple[float, float, float], ...]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    softness: tuple[float, float, float] = (0.30, 0.17, 0.13)  # light bleeding round, by channel
    gloss: float = 0.05


STUDIO = Lighting(
    directions=((-0.55, 0.55, 0.75), (0.85, 0.05, 0.55), (0.55, 0.45, -0.75), (-0.8, 0.2, -0.6)),
    intensities=((0.84, 0.80, 0.74), (0.17, 0.19, 0.23), (0.40, 0.42, 0.46), (0.20, 0.21, 0.23)),
    sky=(0.21, 0.22, 0.24),
    ground=(0.10, 0.085, 0.08),
)
"""Warm key from the upper left, cool fill from the right, rims from behind."""


def camera_points(view: View, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """Points [m] in the camera's frame."""
    return vertices @ view.rotation.T + view.translation


def screen_points(view: View, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """x [px], y [px], depth [m] of points [m]; depth is the distance along the viewing axis."""
    points = camera_points(view, vertices)
    depth = -points[:, 2]
    safe = np.where(depth > 0, depth, np.nan)
    x = view.centre_px[0] + view.focal_px * points[:, 0] / safe
    y = view.centre_px[1] - view.focal_px * points[:, 1] / safe
    return np.stack([x, y, depth], axis=1)


class Drawing(NamedTuple):
    """A picture and the samples it was shaded from."""

    picture: UInt8[np.ndarray, "height width 3"]
    raster: Raster  # `samples` times as wide and high


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
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the mesh over `background` (sRGB), averaging `samples` x `samples` rays per pixel.

    `vertices` [m]; `colours` are sRGB in [0, 1] per vertex. `opacity`, of the whole or
    per vertex, mixes mesh and background.
    """
    return draw(
        vertices,
        triangles,
        view,
        background,
        colours=colours,
        lighting=lighting,
        opacity=opacity,
        samples=samples,
    ).picture


def draw(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    view: View,
    background: UInt8[np.ndarray, "height width 3"],
    *,
    colours: Float[np.ndarray, "V 3"] | None = None,
    lighting: Lighting = STUDIO,
    opacity: float | Float[np.ndarray, " V"] = 1.0,
    samples: int = 2,
) -> Drawing:
    """`render`, with what each sample saw."""
    height, width = background.shape[:2]
    screen = screen_points(view, vertices)
    screen[:, :2] = (screen[:, :2] + 0.5) * samples - 0.5
    raster = rasterize(screen, triangles, height * samples, width * samples)
    normals = vertex_normals(vertices, triangles) @ view.rotation.T.astype(np.float32)
    corner_x, corner_y = screen[triangles, 0], screen[triangles, 1]
    turn = (corner_x[:, 1] - corner_x[:, 0]) * (corner_y[:, 2] - corner_y[:, 0]) - (
        corner_x[:, 2] - corner_x[:, 0]
    ) * (corner_y[:, 1] - corner_y[:, 0])
    if colours is None:
        colours = np.broadcast_to(np.array(PLAIN_COLOUR, np.float32), vertices.shape)
    lights = np.array(lighting.directions, np.float32)
    picture = np.empty_like(background)
    _shade(
        raster.triangles,
        raster.barycentric,
        triangles,
        turn < 0,  # corners run counter-clockwise seen from outside; y points down on the screen
        camera_points(view, vertices).astype(np.float32),
        np.ascontiguousarray(normals, dtype=np.float32),
        to_linear(colours),
        lights / np.linalg.norm(lights, axis=1, keepdims=True),
        np.array(lighting.intensities, np.float32),
        np.array([lighting.sky, lighting.ground, lighting.softness], np.float32),
        np.float32(lighting.gloss),
        np.broadcast_to(np.asarray(opacity, np.float32), len(vertices)),
        _ENCODE,
        np.ascontiguousarray(background),
        picture,
    )
    return Drawing(picture, raster)


def to_linear(colours: Float[np.ndarray, "*shape 3"]) -> Float32[np.ndarray, "*shape 3"]:
    """SRGB in [0, 1] to linear light."""
    values = np.clip(np.asarray(colours, np.float32), 0.0, 1.0)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def _encoding_table(steps: int = 4096) -> Float32[np.ndarray, " steps"]:
    """SRGB byte values of linear light 0 to 1 in even steps of its square root."""
    light = np.linspace(0.0, 1.0, steps) ** 2
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return (encoded * 255.0).astype(np.float32)


_ENCODE = _encoding_table()


@compiled(fastmath=True)
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
    gloss,  # noqa: ANN001
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
            shine = zero
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
                    shine += intensities[i, 1] * power
            share = one / hits
            cover /= np.float32(samples * samples)
            for k in range(3):
                linear = share * bright * (share * colour[k] * light[k] + gloss * shine)
                step = int(np.sqrt(min(linear, one)) * np.float32(encode.shape[0] - 1) + half)
                value = np.float32(background[row, column, k])
                picture[row, column, k] = np.uint8(value + (encode[step] - value) * cover + half)


def portrait_view(
    vertices: Float[np.ndarray, "V 3"], yaw: float, height: int, width: int, fill: float = 0.92
) -> View:
    """A long lens 1.6 m away that fits the whole head, turned by `yaw` [rad] about the y axis.

    Positive yaw turns the subject towards its left, the picture's right.
    """
    cosine, sine = np.cos(yaw), np.sin(yaw)
    rotation = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    turned = vertices @ rotation.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    middle = (low + high) / 2
    distance = 1.6
    extent = max((high[1] - low[1]) / height, (high[0] - low[0]) / width)
    focal = fill * (distance - (high[2] - low[2]) / 2) / extent
    translation = np.array([-middle[0], -middle[1], -distance - middle[2]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    return View(float(focal), centre, translation, rotation)


def backdrop(height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """A plain studio wall, lighter behind the head."""
    y = np.linspace(-1.0, 1.0, height)[:, None]
    x = np.linspace(-1.0, 1.0, width)[None, :]
    level = 236.0 - 26.0 * np.clip(0.6 * x * x + (y + 0.1) ** 2, 0.0, 1.6)
    return np.repeat(level[:, :, None], 3, axis=2).astype(np.uint8)


def three_views(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    *,
    colours: Float[np.ndarray, "V 3"] | None = None,
    size: int = 512,
    lighting: Lighting = STUDIO,
) -> UInt8[np.ndarray, "size width 3"]:
    """Front, three-quarter and profile side by side, all at one scale."""
    width = int(round(size * 0.86))
    views = [portrait_view(vertices, yaw, size, width) for yaw in THREE_YAWS]
    focal_px = min(view.focal_px for view in views)
    wall = backdrop(size, width)
    pictures = [
        render(
            vertices,
            triangles,
            view._replace(focal_px=focal_px),
            wall,
            colours=colours,
            lighting=lighting,
        )
        for view in views
    ]
    return np.concatenate(pictures, axis=1)
