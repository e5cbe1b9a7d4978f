"""The photo at the texels of an atlas: colours, and how far each can be relied on."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from eval_now.geometry.normals import vertex_normals
from eval_now.geometry.raster import rasterize
from flame_assets.model.head import HeadModel
from mica_ext.render.sampling import look_up, smoothstep
from mica_ext.render.shading import to_linear
from mica_ext.render.texture.atlas import Atlas
from mica_ext.render.views import View, camera_points, screen_points

MIN_SIDE_PX, MAX_SIDE_PX = 640, 1280
"""Longer side of the part of the photo around the head, resized."""
FACING_LIMITS = (0.12, 0.5)
"""Cosines between surface and line of sight at which a texel counts nothing and fully."""
DEPTH_TOLERANCE = 0.0025
"""A texel this far behind the nearest surface is still visible [m]."""
DEPTH_EDGE = 0.02
"""Step in depth at which the photo's border between two surfaces is not relied on [m]."""
EDGE_MARGIN, EDGE_FADE = 0.003, 0.010
"""Widths beside such a border that count nothing, for what lies behind may show there, and over
which colours are faded in [m]."""


class PhotoSamples(NamedTuple):
    """The photo at the N covered texels."""

    colours: Float32[np.ndarray, "N 3"]
    """Linear RGB."""
    weights: Float32[np.ndarray, " N"]
    """0 (hidden or oblique) to 1."""
    normals: Float32[np.ndarray, "N 3"]
    """In the camera's frame."""
    visible: Bool[np.ndarray, " N"]
    """In front of everything else of the head, within the photo."""
    pixels: Float32[np.ndarray, "N 2"]
    """Column and row in the photo."""


def sample_photo(
    image: UInt8[np.ndarray, "H W 3"],
    head: HeadModel,
    view: View,
    vertices: Float[np.ndarray, "V 3"],
    atlas: Atlas,
    inner: Bool[np.ndarray, " F"],
) -> PhotoSamples:
    """Look the texels of a posed head up in its photo.

    Args:
        image: the photo, RGB.
        head: gives the triangles.
        view: of the photo.
        vertices: the head as in the photo [m].
        atlas: whose texels are looked up.
        inner: triangles of eyes and of the mouth's inside.
    """
    screen = screen_points(view, vertices)
    part, offset, scale = _resized_part(image, screen)
    places = screen.copy()
    places[:, :2] = (screen[:, :2] - offset + 0.5) * scale - 0.5
    height, width = part.shape[:2]
    raster = rasterize(places, head.triangles, height, width)
    depth = raster.depth

    normals = vertex_normals(vertices, head.triangles) @ view.rotation.T
    toward = -camera_points(view, vertices)
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    per_vertex = np.concatenate([np.nan_to_num(places), normals, toward], axis=1)
    texel = atlas.interpolate(head, per_vertex)
    normal = texel[:, 3:6] / np.maximum(np.linalg.norm(texel[:, 3:6], axis=1, keepdims=True), 1e-9)
    facing = np.einsum("ni,ni->n", normal, texel[:, 6:9])
    weights = smoothstep(facing, *FACING_LIMITS)

    pixels = texel[:, :2]
    nearest = look_up(depth, pixels, cv2.INTER_NEAREST, np.inf)[:, 0]
    visible = (texel[:, 2] < nearest + DEPTH_TOLERANCE) & np.isfinite(nearest)
    weights[~visible] = 0.0
    pixels_per_metre = view.focal_px * scale / float(np.median(screen[:, 2]))
    edges = _depth_edges(depth, (raster.triangles >= 0) & inner[raster.triangles])
    reach = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 5)
    distance = look_up(reach, pixels)[:, 0] / pixels_per_metre
    weights *= smoothstep(distance, EDGE_MARGIN, EDGE_MARGIN + EDGE_FADE)
    colours = look_up(to_linear(part / np.float32(255.0)), pixels)
    places = ((pixels + 0.5) / scale + offset - 0.5).astype(np.float32)
    return PhotoSamples(colours, weights, normal, visible, places)


def _resized_part(
    image: UInt8[np.ndarray, "H W 3"], screen: Float[np.ndarray, "V 3"]
) -> tuple[UInt8[np.ndarray, "h w 3"], Int[np.ndarray, "2"], float]:
    """The photo around the head at a size that suits a texture, its corner, its scale."""
    size = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(np.nanmin(screen[:, :2], axis=0)) - 2, 0, size - 1).astype(int)
    high = np.clip(np.ceil(np.nanmax(screen[:, :2], axis=0)) + 3, low + 1, size).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    longer = max(part.shape[:2])
    scale = np.clip(longer, MIN_SIDE_PX, MAX_SIDE_PX) / longer
    width, height = np.maximum(np.rint((high - low) * scale), 1).astype(int)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return (
        cv2.resize(part, (int(width), int(height)), interpolation=interpolation),
        low,
        float(scale),
    )


def _depth_edges(
    depth: Float32[np.ndarray, "h w"], inner: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Pixels beside a step in depth or the picture's border; steps into the mouth do not count."""
    finite = np.where(np.isfinite(depth), depth, 1e3).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    farthest = cv2.dilate(np.where(inner, np.float32(-1e6), finite), kernel)
    nearest = cv2.erode(np.where(inner, np.float32(1e6), finite), kernel)
    edges = np.asarray(farthest - nearest > DEPTH_EDGE)
    edges[[0, -1]] = True
    edges[:, [0, -1]] = True
    return edges
