"""Z-buffer rasteriser on the CPU: which triangle each pixel sees, where in it, how far away.

Convention of pixels (OpenCV's): the centre of the top left pixel is (0, 0), x right, y down.
Depth is the distance [m] along the viewing axis, positive in front of the camera.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Float32, Int32
from numba import njit

NEAREST_DEPTH = 1e-4  # [m] a triangle that reaches behind this plane is not drawn


def compiled(*, fastmath: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`numba.njit` cached on disk, or anew in each process where no folder can be written."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(cache=True, nogil=True, error_model="numpy", fastmath=fastmath)(function)
        except RuntimeError:  # "no locator available": read-only installation and home
            return njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)

    return wrap


class Raster(NamedTuple):
    """What each pixel sees; arrays share the image's height and width."""

    triangles: Int32[np.ndarray, "height width"]  # index of the triangle, -1 for none
    barycentric: Float32[np.ndarray, "height width 3"]  # weights of its corners, on the surface
    depth: Float32[np.ndarray, "height width"]  # [m], inf for none


def rasterize(
    screen: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    height: int,
    width: int,
    *,
    perspective: bool = True,
) -> Raster:
    """Find the nearest triangle at each pixel centre.

    `screen` holds x [px], y [px], depth [m] per vertex, already projected. With `perspective`
    depth and barycentric weights are those of the 3D surface point (1/depth is linear on the
    screen); without it (orthographic) both are linear on the screen. Both sides of a triangle show.
    """
    seen = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    points = np.ascontiguousarray(screen, dtype=np.float64)
    corners = np.ascontiguousarray(triangles)
    _rasterize(points, corners, perspective, seen, barycentric, depth)
    return Raster(seen, barycentric, depth)


@compiled()
@no_type_check  # numba needs the bare function
def _rasterize(points, triangles, perspective, seen, barycentric, depth):  # noqa: ANN001, ANN202
    height, width = seen.shape
    for triangle in range(triangles.shape[0]):
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        if perspective and min(az, bz, cz) < NEAREST_DEPTH:
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
                    seen[row, column] = triangle
                    if perspective:
                        wa, wb, wc = wa * az * z, wb * bz * z, wc * cz * z
                    barycentric[row, column, 0] = wa
                    barycentric[row, column, 1] = wb
                    barycentric[row, column, 2] = wc


def vertex_normals(
    vertices: Float[np.ndarray, "V 3"], triangles: Int32[np.ndarray, "F 3"]
) -> Float32[np.ndarray, "V 3"]:
    """Unit normals, each the area-weighted mean of the triangles around its vertex."""
    points = np.ascontiguousarray(vertices, dtype=np.float64)
    return _vertex_normals(points, np.ascontiguousarray(triangles))


@compiled()
@no_type_check
def _vertex_normals(points, triangles):  # noqa: ANN001, ANN202
    sums = np.zeros((points.shape[0], 3), np.float64)
    for triangle in range(triangles.shape[0]):
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        ux, uy, uz = (
            points[b, 0] - points[a, 0],
            points[b, 1] - points[a, 1],
            points[b, 2] - points[a, 2],
        )
        vx, vy, vz = (
            points[c, 0] - points[a, 0],
            points[c, 1] - points[a, 1],
            points[c, 2] - points[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for vertex in (a, b, c):
            sums[vertex, 0] += nx
            sums[vertex, 1] += ny
            sums[vertex, 2] += nz
    normals = np.zeros((points.shape[0], 3), np.float32)
    for vertex in range(points.shape[0]):
        x, y, z = sums[vertex, 0], sums[vertex, 1], sums[vertex, 2]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            normals[vertex, 0] = x / length
            normals[vertex, 1] = y / length
            normals[vertex, 2] = z / length
        else:
            normals[vertex, 2] = 1.0
    return normals
