"""Z-buffer rasteriser: which triangle each pixel shows, where in it, and its depth.

Pixels as in OpenCV: the centre of the top left pixel is (0, 0), x right, y down. Depth is the
distance along the viewing axis, positive in front of the camera, in the unit of the input.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int, Int32

from eval_now.geometry.numba_jit import cached_njit, kernel_input

MIN_DEPTH = 1e-4
"""Perspective triangles that reach nearer than this are not drawn."""


class Raster(NamedTuple):
    """What each pixel shows; arrays share the image's height and width."""

    triangles: Int32[np.ndarray, "height width"]
    """Index of the triangle; -1 for none."""
    barycentric: Float[np.ndarray, "height width 3"]
    """Weights of its corners, on the surface."""
    depth: Float[np.ndarray, "height width"]
    """inf for none."""


def rasterize(
    screen: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    height: int,
    width: int,
    *,
    perspective: bool = True,
    dtype: type[np.floating] = np.float32,
) -> Raster:
    """Find the nearest triangle at each pixel centre. Both sides of a triangle are visible.

    Args:
        screen: x [px], y [px] and depth of the projected vertices.
        triangles: vertex indices.
        height: of the image [px].
        width: of the image [px].
        perspective: weights and depth of the 3D surface point (1/depth is linear on the screen);
            False (orthographic): both are linear on the screen.
        dtype: of weights and depth.
    """
    visible = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3), dtype)
    depth = np.full((height, width), np.inf, dtype)
    points, corners = kernel_input(screen, np.float64), kernel_input(triangles, np.int32)
    _rasterize(points, corners, perspective, visible, barycentric, depth)
    return Raster(visible, barycentric, depth)


@cached_njit(nogil=True, error_model="numpy")
@no_type_check  # numba needs the bare function
def _rasterize(points, triangles, perspective, visible, barycentric, depth):  # noqa: ANN001, ANN202
    height, width = visible.shape
    for triangle in range(triangles.shape[0]):
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        if perspective and min(az, bz, cz) < MIN_DEPTH:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not 1e-12 < abs(area) < 1e15:  # a sliver seen edge-on, or not finite
            continue
        first_row = max(0, int(np.ceil(min(ay, by, cy))))
        last_row = min(height - 1, int(np.floor(max(ay, by, cy))))
        if first_row > last_row or np.ceil(min(ax, bx, cx)) > np.floor(max(ax, bx, cx)):
            continue  # between pixel centres
        # corner weights w = w0 + wx * x + wy * y on the screen
        wax, way = (by - cy) / area, (cx - bx) / area
        wbx, wby = (cy - ay) / area, (ax - cx) / area
        wa0 = (bx * cy - by * cx) / area
        wb0 = (cx * ay - cy * ax) / area
        if perspective:
            az, bz, cz = 1.0 / az, 1.0 / bz, 1.0 / cz
        for row in range(first_row, last_row + 1):
            # the triangle's span in this row: where its edges cross it
            left, right = np.inf, -np.inf
            for edge in range(3):
                if edge == 0:
                    px, py, qx, qy = ax, ay, bx, by
                elif edge == 1:
                    px, py, qx, qy = bx, by, cx, cy
                else:
                    px, py, qx, qy = cx, cy, ax, ay
                if py > qy:  # the same order from both neighbours: no cracks along the edge
                    px, py, qx, qy = qx, qy, px, py
                if py <= row <= qy:
                    if qy > py:
                        cross = px + (row - py) * ((qx - px) / (qy - py))
                        left, right = min(left, cross), max(right, cross)
                    else:
                        left, right = min(left, px, qx), max(right, px, qx)
            if left > right:
                continue
            first = max(0, int(np.ceil(max(left, -1.0))))
            last = min(width - 1, int(np.floor(min(right, width + 1.0))))
            for column in range(first, last + 1):
                wa = min(max(wa0 + wax * column + way * row, 0.0), 1.0)
                wb = min(max(wb0 + wbx * column + wby * row, 0.0), 1.0 - wa)
                wc = 1.0 - wa - wb
                z = wa * az + wb * bz + wc * cz
                if perspective:
                    z = 1.0 / z
                if z < depth[row, column]:
                    depth[row, column] = z
                    visible[row, column] = triangle
                    if perspective:
                        wa, wb, wc = wa * az * z, wb * bz * z, wc * cz * z
                    barycentric[row, column, 0] = wa
                    barycentric[row, column, 1] = wb
                    barycentric[row, column, 2] = wc
