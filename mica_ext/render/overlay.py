"""Pictures that show a reconstruction: the mesh over the photo, and three views beside it."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder
from mica_ext.errors import UserError
from mica_ext.export.mesh_files import write_whole
from mica_ext.reconstruct import Reconstruction
from mica_ext.render.shading import PLAIN_COLOUR, View, render, three_views

SUFFIXES = (".png", ".jpg", ".jpeg")
FACE_OPACITY, HEAD_OPACITY = 0.88, 0.0  # of the mesh over the photo
FADING_STEPS = 6  # mesh edges over which the one fades into the other
SMALL_FACE = 0.25  # of the photo's height; around a smaller one the photo is cut
CONTEXT = 3.2  # sides of the cut, in sides of the face's box


def overlay_picture(
    image: UInt8[np.ndarray, "H W 3"], result: Reconstruction, height: int = 640
) -> UInt8[np.ndarray, "height width 3"]:
    """The mesh as the camera saw it over the photo, and three views of the mesh beside it."""
    photo, view = _framed(image, result, height)
    posed = HeadDecoder(result.head)(result.parameters.head).vertices[0].numpy()
    triangles, colours = result.head.triangles, result.head.colours
    if colours is None:
        colours = np.broadcast_to(np.array(PLAIN_COLOUR, np.float32), posed.shape)
    over = render(posed, triangles, view, photo, colours=colours, opacity=_opacity(result.head))
    views = three_views(result.mesh.vertices[0].numpy(), triangles, colours=colours, size=height)
    return np.concatenate([over, views], axis=1)


def _opacity(head: HeadModel) -> Float32[np.ndarray, " V"]:
    """Face and what is inside it nearly opaque, the rest not shown; by smoothing along the mesh.

    A head whose face is not marked (FLAME without its masks) is shown whole.
    """
    if "face" not in head.regions:
        return np.full(head.vertices_count, FACE_OPACITY, np.float32)
    face = [ids for name, ids in head.regions.items() if any(part in name for part in _SHOWN)]
    shown = np.zeros(head.vertices_count, np.float32)
    shown[np.concatenate(face)] = 1.0
    corners = head.triangles
    degree = np.bincount(corners.ravel(), minlength=len(shown)).clip(min=1)
    for _ in range(FADING_STEPS):
        mean = np.repeat(shown[corners].mean(axis=1), 3)
        shown = (np.bincount(corners.ravel(), mean, len(shown)) / degree).astype(np.float32)
    return HEAD_OPACITY + (FACE_OPACITY - HEAD_OPACITY) * shown


_SHOWN = ("face", "eyeball", "teeth", "tongue", "mouth", "lid", "lips", "nose")


def save_picture(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a PNG or JPEG, whole or not at all."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: expected a picture name ending in .png or .jpg")
    done, packed = cv2.imencode(suffix, picture[:, :, ::-1])
    if not done:
        raise UserError(f"{path}: the picture cannot be packed as {suffix}")
    write_whole(path, packed.tobytes())


def _framed(
    image: UInt8[np.ndarray, "H W 3"], result: Reconstruction, height: int
) -> tuple[UInt8[np.ndarray, "height width 3"], View]:
    """The photo, or its part around a small face, at `height` pixels, and its camera."""
    x0, y0, x1, y1 = result.face.box
    side = max(x1 - x0, y1 - y0)
    left, top, right, bottom = 0, 0, image.shape[1], image.shape[0]
    if side < SMALL_FACE * bottom or right > 1.6 * bottom:
        half = CONTEXT * side / 2
        middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
        left, right = max(0, int(middle_x - half)), min(right, int(middle_x + half) + 1)
        top, bottom = max(0, int(middle_y - half)), min(bottom, int(middle_y + half) + 1)
    part = image[top:bottom, left:right]
    scale = height / part.shape[0]
    width = max(1, round(part.shape[1] * scale))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    photo = cv2.resize(part, (width, height), interpolation=shrink)
    view = result.parameters.camera.view()
    centre = (view.centre_px - [left, top] + 0.5) * scale - 0.5
    return photo, view._replace(focal_px=view.focal_px * scale, centre_px=centre)
