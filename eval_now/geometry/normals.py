"""Vertex normals of triangle meshes."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Float64, Int

from eval_now.geometry.numba_jit import cached_njit, kernel_input


def vertex_normals(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Float64[np.ndarray, "V 3"]:
    """Unit normals: sums of the adjacent triangles' normals, weighted by area.

    Vertices without one (of no triangle, or of triangles without area) get (0, 0, 1).
    """
    return _vertex_normals(kernel_input(vertices, np.float64), kernel_input(triangles, np.int32))


@cached_njit(nogil=True, error_model="numpy")
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
    normals = np.zeros((points.shape[0], 3), np.float64)
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
