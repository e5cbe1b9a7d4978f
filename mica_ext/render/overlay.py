"""The overlay picture: the posed mesh over the photo, and the mesh from three sides."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from flame_assets.model.head import HeadModel
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from mica_ext.models.types import Camera
from mica_ext.render.shading import PLAIN_COLOUR, render
from mica_ext.render.views import View, portrait_view

SUFFIXES = (".png", ".jpg", ".jpeg")
HEIGHT_PX = 640
FACE_OPACITY, HEAD_OPACITY = 0.88, 0.0
"""Of the face and of the rest of the head over the photo."""
FACE_REGIONS = ("face", "eyeball", "teeth", "tongue", "mouth", "lid", "lips", "nose")
"""Regions whose name contains one of these are drawn with `FACE_OPACITY`."""
SMOOTHING_STEPS = 6
"""Neighbourhood averages between face and head: about the width of the transition in edges."""
MIN_FACE_FRACTION = 0.25
"""Of the photo's height; the photo is cropped around a smaller face."""
CROP_SCALE = 3.2
"""Side of that crop, in sides of the face box."""
MAX_ASPECT = 1.6
"""Width over height of a photo above which it is cropped, too."""
THREE_YAWS = (0.0, np.deg2rad(40.0), np.deg2rad(90.0))
"""Front, three-quarter, profile [rad]."""


def overlay_picture(
    image: UInt8[np.ndarray, "H W 3"],
    *,
    head: HeadModel,
    camera: Camera,
    box: Float[np.ndarray, "4"],
    posed_vertices: Float[np.ndarray, "V 3"],
    vertices: Float[np.ndarray, "V 3"],
    height: int = HEIGHT_PX,
) -> UInt8[np.ndarray, "height width 3"]:
    """The posed mesh over an RGB photo, with three views of the mesh beside it.

    Args:
        image: the photo.
        head: gives triangles, colours and regions.
        camera: of the photo, a batch of one.
        box: face box x0, y0, x1, y1 [px].
        posed_vertices: as in the photo [m], drawn over it.
        vertices: the mesh that the three views show [m].
        height: of the picture [px].
    """
    photo, view = _crop_photo(image, box, View.from_camera(camera), height)
    colours = head.colours
    if colours is None:
        colours = np.broadcast_to(np.array(PLAIN_COLOUR, np.float32), posed_vertices.shape)
    opacity = face_opacity(head)
    over = render(posed_vertices, head.triangles, view, photo, colours=colours, opacity=opacity)
    views = three_views(vertices, head.triangles, colours=colours, size=height)
    return np.concatenate([over.picture, views], axis=1)


def face_opacity(head: HeadModel) -> Float32[np.ndarray, " V"]:
    """Opacity per vertex: `FACE_OPACITY` on face and inner parts, smoothly down to the rest's.

    A head without a marked face (FLAME without its masks) is opaque as a whole.
    """
    if "face" not in head.regions:
        return np.full(head.vertices_count, FACE_OPACITY, np.float32)
    face = [ids for name, ids in head.regions.items() if any(part in name for part in FACE_REGIONS)]
    mask = np.zeros(head.vertices_count, np.float32)
    mask[np.concatenate(face)] = 1.0
    corners = head.triangles
    degree = np.bincount(corners.ravel(), minlength=len(mask)).clip(min=1)
    for _ in range(SMOOTHING_STEPS):
        mean = np.repeat(mask[corners].mean(axis=1), 3)
        mask = (np.bincount(corners.ravel(), mean, len(mask)) / degree).astype(np.float32)
    return HEAD_OPACITY + (FACE_OPACITY - HEAD_OPACITY) * mask


def three_views(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    *,
    colours: Float[np.ndarray, "V 3"] | None = None,
    size: int = 512,
) -> UInt8[np.ndarray, "size width 3"]:
    """Front, three-quarter view and profile side by side, at one scale."""
    width = int(round(size * 0.86))
    views = [portrait_view(vertices, yaw, size, width) for yaw in THREE_YAWS]
    focal_px = min(view.focal_px for view in views)
    wall = backdrop(size, width)
    results = [
        render(vertices, triangles, view._replace(focal_px=focal_px), wall, colours=colours)
        for view in views
    ]
    return np.concatenate([result.picture for result in results], axis=1)


def backdrop(height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """A grey vignette, lightest behind the head."""
    y = np.linspace(-1.0, 1.0, height)[:, None]
    x = np.linspace(-1.0, 1.0, width)[None, :]
    level = 236.0 - 26.0 * np.clip(0.6 * x * x + (y + 0.1) ** 2, 0.0, 1.6)
    return np.repeat(level[:, :, None], 3, axis=2).astype(np.uint8)


def save_picture(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write an RGB picture as PNG or JPEG, atomically.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: expected a picture name ending in .png or .jpg")
    done, packed = cv2.imencode(suffix, picture[:, :, ::-1])
    if not done:
        raise UserError(f"{path}: the picture cannot be packed as {suffix}")
    write_bytes_atomic(path, packed.tobytes())


def _crop_photo(
    image: UInt8[np.ndarray, "H W 3"], box: Float[np.ndarray, "4"], view: View, height: int
) -> tuple[UInt8[np.ndarray, "height width 3"], View]:
    """The photo, or its part around a small face, resized to `height` pixels, and its view."""
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
    photo = cv2.resize(part, (width, height), interpolation=interpolation)
    centre_px = (view.centre_px - [left, top] + 0.5) * scale - 0.5
    return photo, view._replace(focal_px=view.focal_px * scale, centre_px=centre_px)
