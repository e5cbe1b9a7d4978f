"""The overlay picture: the photo, the posed mesh over it, and the mesh from three sides."""

from typing import Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from eval_now.geometry.raster import rasterize
from flame_assets.model.head import HeadModel
from mica_ext.models.types import Camera
from mica_ext.render.clay import SOFT_LIGHT, clay_colours, neighbour_means
from mica_ext.render.rasterizers import Rasterizer
from mica_ext.render.shading import RenderResult, render
from mica_ext.render.textured import TexturedMesh, render_textured
from mica_ext.render.views import View, portrait_view
from mica_ext.render.wireframe import draw_wireframe

OverlayStyle = Literal["clay", "wire", "textured"]

HEIGHT_PX = 640
CLAY_OPACITY, TEXTURED_OPACITY = 0.60, 1.0
"""Of the face over the photo; the rest of the head is left out there."""
FACE_REGIONS = ("face", "eyeball", "teeth", "tongue", "mouth", "lid", "lips", "nose")
"""Regions whose name contains one of these belong to the face."""
SMOOTHING_STEPS = 6
"""Neighbourhood averages between face and head: about the width of the transition in edges."""
MIN_FACE_FRACTION = 0.35
"""Of the photo's height; the photo is cropped around a smaller face."""
CROP_SCALE = 2.3
"""Side of that crop, in sides of the face box."""
MAX_ASPECT = 1.3
"""Width over height of a photo above which it is cropped, too."""
THREE_YAWS = (0.0, np.deg2rad(40.0), np.deg2rad(90.0))
"""Front, three-quarter, profile [rad]."""
SAMPLES = 3
"""Per pixel and axis."""
POINT_COLOUR = (64, 255, 96)
"""Of the detected points, RGB."""


class _Photo(NamedTuple):
    """The part of the photo that is shown, its view, and how its pixels come from the photo's."""

    picture: UInt8[np.ndarray, "height width 3"]
    view: View
    offset_px: tuple[int, int]
    scale: float

    def pixels(self, points_px: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
        """Pixels of the photo as pixels of the picture."""
        return (points_px - self.offset_px + 0.5) * self.scale - 0.5


def overlay_picture(
    image: UInt8[np.ndarray, "H W 3"],
    *,
    head: HeadModel,
    camera: Camera,
    box: Float[np.ndarray, "4"],
    posed_vertices: Float[np.ndarray, "V 3"],
    vertices: Float[np.ndarray, "V 3"],
    style: OverlayStyle = "clay",
    texture: TexturedMesh | None = None,
    points_px: Float[np.ndarray, "N 2"] | None = None,
    height: int = HEIGHT_PX,
    rasterizer: Rasterizer = rasterize,
) -> UInt8[np.ndarray, "height width 3"]:
    """An RGB photo, the posed mesh over it, and three views of the mesh, side by side.

    Args:
        image: the photo.
        head: gives triangles and regions.
        camera: of the photo, a batch of one.
        box: face box x0, y0, x1, y1 [px].
        posed_vertices: as in the photo [m], drawn over it.
        vertices: the mesh that the three views show [m].
        style: clay; wire: the triangles' edges, and clay beside; textured: `texture`, which that
            style needs.
        points_px: detected points of the photo, drawn on it.
        height: of the picture [px].
        rasterizer: finds what each sample shows.
    """
    photo = _crop_photo(image, box, View.from_camera(camera), height)
    drawn = _draw_mesh(photo, head, posed_vertices, style, texture, rasterizer)
    views = three_views(
        head,
        vertices,
        size=height,
        texture=texture if style == "textured" else None,
        rasterizer=rasterizer,
    )
    left = photo.picture
    if points_px is not None:
        left = draw_points(left, photo.pixels(points_px))
    return np.concatenate([left, drawn, views], axis=1)


def face_weights(head: HeadModel) -> Float32[np.ndarray, " V"]:
    """1 on the face and the parts inside it, smoothly down to 0 on the rest of the head.

    A head without a marked face (FLAME without its masks) is all face.
    """
    if "face" not in head.regions:
        return np.ones(head.vertices_count, np.float32)
    face = [ids for name, ids in head.regions.items() if any(part in name for part in FACE_REGIONS)]
    mask = np.zeros((head.vertices_count, 1))
    mask[np.concatenate(face)] = 1.0
    for _ in range(SMOOTHING_STEPS):
        mask = neighbour_means(mask, head.triangles)
    return mask[:, 0].astype(np.float32)


def three_views(
    head: HeadModel,
    vertices: Float[np.ndarray, "V 3"],
    *,
    size: int = 512,
    texture: TexturedMesh | None = None,
    rasterizer: Rasterizer = rasterize,
) -> UInt8[np.ndarray, "size width 3"]:
    """Front, three-quarter view and profile side by side, at one scale; clay without a texture."""
    width = portrait_width(size)
    views = [portrait_view(vertices, yaw, size, width) for yaw in THREE_YAWS]
    focal_px = min(view.focal_px for view in views)
    pictures = [
        portrait(
            head,
            vertices,
            view._replace(focal_px=focal_px),
            size=size,
            texture=texture,
            rasterizer=rasterizer,
        )
        for view in views
    ]
    return np.concatenate(pictures, axis=1)


def portrait_width(size: int) -> int:
    """Width of a portrait of this height [px]."""
    return int(round(size * 0.86))


def portrait(
    head: HeadModel,
    vertices: Float[np.ndarray, "V 3"],
    view: View,
    *,
    size: int,
    texture: TexturedMesh | None = None,
    rasterizer: Rasterizer = rasterize,
) -> UInt8[np.ndarray, "size width 3"]:
    """The head before a grey backdrop; clay without a texture."""
    wall = backdrop(size, portrait_width(size))
    if texture is None:
        return _render_clay(head, vertices, view, wall, 1.0, rasterizer).picture
    return render_textured(
        vertices,
        head.triangles,
        view,
        wall,
        texture,
        lighting=SOFT_LIGHT,
        rasterizer=rasterizer,
    )


def backdrop(height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """A grey vignette, lightest behind the head."""
    y = np.linspace(-1.0, 1.0, height)[:, None]
    x = np.linspace(-1.0, 1.0, width)[None, :]
    level = 236.0 - 26.0 * np.clip(0.6 * x * x + (y + 0.1) ** 2, 0.0, 1.6)
    return np.repeat(level[:, :, None], 3, axis=2).astype(np.uint8)


def draw_points(
    picture: UInt8[np.ndarray, "H W 3"], points_px: Float[np.ndarray, "N 2"]
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of the picture with a dot on each point."""
    marked = picture.copy()
    radius = 2.4 if len(points_px) <= 100 else 1.3
    for x, y in np.rint(points_px * 16):
        if np.abs([x, y]).max() < 2**20:  # far outside, drawing overflows
            centre = (int(x), int(y))
            cv2.circle(marked, centre, int(radius * 16 + 12), (20, 20, 20), -1, cv2.LINE_AA, 4)
            cv2.circle(marked, centre, int(radius * 16), POINT_COLOUR, -1, cv2.LINE_AA, 4)
    return marked


def _draw_mesh(
    photo: _Photo,
    head: HeadModel,
    vertices: Float[np.ndarray, "V 3"],
    style: OverlayStyle,
    texture: TexturedMesh | None,
    rasterizer: Rasterizer,
) -> UInt8[np.ndarray, "height width 3"]:
    """The posed mesh over the photo."""
    face = face_weights(head)
    if style == "textured":
        if texture is None:
            raise ValueError("overlay_picture: the style textured needs a texture")
        opacity = TEXTURED_OPACITY * face
        return render_textured(
            vertices,
            head.triangles,
            photo.view,
            photo.picture,
            texture,
            opacity,
            photo_light=True,
            rasterizer=rasterizer,
        )
    if style == "wire":
        return draw_wireframe(vertices, head.triangles, photo.view, photo.picture, face, rasterizer)
    opacity = CLAY_OPACITY * face
    return _render_clay(head, vertices, photo.view, photo.picture, opacity, rasterizer).picture


def _render_clay(
    head: HeadModel,
    vertices: Float[np.ndarray, "V 3"],
    view: View,
    background: UInt8[np.ndarray, "height width 3"],
    opacity: float | Float32[np.ndarray, " V"],
    rasterizer: Rasterizer,
) -> RenderResult:
    return render(
        vertices,
        head.triangles,
        view,
        background,
        colours=clay_colours(head, vertices),
        lighting=SOFT_LIGHT,
        opacity=opacity,
        samples=SAMPLES,
        rasterizer=rasterizer,
    )


def _crop_photo(
    image: UInt8[np.ndarray, "H W 3"], box: Float[np.ndarray, "4"], view: View, height: int
) -> _Photo:
    """The photo, or its part around a small face, resized to `height` pixels."""
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0)
    left, top, right, bottom = 0, 0, image.shape[1], image.shape[0]
    if side < MIN_FACE_FRACTION * bottom or right > MAX_ASPECT * bottom:
        half = CROP_SCALE * side / 2
        centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
        left, right = max(0, int(centre_x - half)), min(right, int(centre_x + half) + 1)
        top, bottom = max(0, int(centre_y - half)), min(bottom, int(centre_y + half) + 1)
    part = image[top:bottom, left:right]
    scale = height / part.shape[0]
    width = max(1, round(part.shape[1] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(part, (width, height), interpolation=interpolation)
    centre_px = (view.centre_px - [left, top] + 0.5) * scale - 0.5
    view = view._replace(focal_px=view.focal_px * scale, centre_px=centre_px)
    return _Photo(picture, view, (left, top), scale)
