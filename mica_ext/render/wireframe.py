"""The visible edges of a mesh over a picture."""

import cv2
import numpy as np
from jaxtyping import Float, Int32, UInt8

from eval_now.geometry.raster import rasterize
from mica_ext.render.rasterizers import Rasterizer
from mica_ext.render.views import View, screen_points

LINE_COLOUR = (235, 240, 255)
OPACITY = 0.45
SCALE = 2
"""Lines are drawn on a picture this much larger, then averaged."""
DEPTH_TOLERANCE = 0.003
"""A vertex this far behind the nearest surface still counts as visible [m]."""
MIN_WEIGHT = 0.5
"""Edges between vertices of a lower weight are left out."""


def draw_wireframe(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    view: View,
    background: UInt8[np.ndarray, "height width 3"],
    weights: Float[np.ndarray, " V"],
    rasterizer: Rasterizer = rasterize,
) -> UInt8[np.ndarray, "height width 3"]:
    """`background` with the edges of triangles that face the camera and are not hidden.

    Args:
        vertices: [m].
        triangles: counter-clockwise seen from outside.
        view: camera and pose.
        background: gives the picture its size.
        weights: of the vertices; edges of the face only are drawn.
        rasterizer: finds what is hidden.
    """
    height, width = background.shape[:2]
    screen = screen_points(view, vertices)
    raster = rasterizer(screen, triangles, height, width)
    columns, rows = (
        np.nan_to_num(np.rint(screen[:, 0]), nan=-1),
        np.nan_to_num(screen[:, 1], nan=-1),
    )
    columns, rows = columns.astype(int), np.rint(rows).astype(int)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    nearest = np.full(len(vertices), -np.inf)
    nearest[inside] = raster.depth[rows[inside], columns[inside]]
    visible = (screen[:, 2] < nearest + DEPTH_TOLERANCE) & (weights >= MIN_WEIGHT)

    corners = screen[triangles][:, :, :2]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    front = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0  # y points down
    edges = np.concatenate([triangles[front][:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    edges = np.unique(np.sort(edges[visible[edges].all(axis=1)], axis=1), axis=0)
    large = np.zeros((height * SCALE, width * SCALE), np.uint8)
    ends = np.rint(((screen[edges][:, :, :2] + 0.5) * SCALE - 0.5) * 16).astype(np.int32)
    cv2.polylines(large, list(ends), False, 255, 1, cv2.LINE_AA, 4)
    cover = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    cover = cover.astype(np.float32)[:, :, None] * (OPACITY * SCALE / 255)
    cover = np.minimum(cover, 0.9)
    mixed = background + (np.array(LINE_COLOUR, np.float32) - background) * cover
    return np.rint(mixed).astype(np.uint8)
