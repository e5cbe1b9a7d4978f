"""A triangle mesh and its normals."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Mesh(NamedTuple):
    """A triangle mesh in any length unit; vertices that no triangle uses are allowed."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "V 3"]:
    """Unit vertex normals: means of the adjacent triangles' normals, weighted by area."""
    corners = mesh.vertices[mesh.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack(
        [
            np.bincount(mesh.triangles.ravel(), np.repeat(faces[:, k], 3), len(mesh.vertices))
            for k in range(3)
        ],
        axis=1,
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
