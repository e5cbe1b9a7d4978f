"""Deformation transfer between meshes of different topology (Sumner and Popovic, SIGGRAPH 2004).

Each target triangle takes the deformation gradient of its source triangle; the vertices follow by
least squares over area-weighted gradients, a Poisson equation (Botsch et al. 2006) whose matrix is
factored once. A weak pull to the source's own displacements fixes what gradients leave open.
"""

import numpy as np
from jaxtyping import Float64, Int64
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.linalg import splu

from mica_ext.shape_transfer.face_surface import FaceSurface
from mica_ext.shape_transfer.surface_map import SurfaceMap

PULL_LENGTH = 0.5
"""Distances of the outer eye corners over which gradients outweigh displacements."""
MIN_AREA = 1e-14
"""Of a triangle that has a gradient [m^2]."""


class DeformationTransfer:
    """Carries deformed shapes of the source to the target; build once, call for each shape."""

    def __init__(self, source: FaceSurface, target: FaceSurface, surface_map: SurfaceMap) -> None:
        """Factor the target's matrix."""
        area = _double_areas(target.vertices, target.triangles) / 2
        area_of_source = _double_areas(source.vertices, source.triangles)[surface_map.triangles] / 2
        kept = (area > MIN_AREA) & (area_of_source > MIN_AREA)
        self.source, self.target, self.map = source, target, surface_map
        self.used, rows = np.unique(target.triangles, return_inverse=True)
        """Ids of the target vertices that move."""
        self.triangles = rows.reshape(-1, 3)[kept]
        self.confidence = surface_map.confidence[kept]
        self.area = area[kept] * self.confidence
        """Of each triangle, times how well it is matched [m^2]."""
        self.source_corners = source.triangles[surface_map.triangles[kept]]
        self.source_inverse = np.linalg.inv(_frames(source.vertices[self.source_corners]))
        vertices = target.vertices[self.used]
        self.gradient = _gradient_operator(vertices, self.triangles)
        self.neutral_gradient = (self.gradient @ vertices).reshape(-1, 3, 3)
        laplacian = self.gradient.T @ diags_array(np.repeat(self.area, 3)) @ self.gradient
        mass = np.bincount(self.triangles.ravel(), np.repeat(self.area / 3, 3), len(self.used))
        mass = np.maximum(mass, 1e-6 * mass.mean())
        self.pull = mass / (PULL_LENGTH * target.unit) ** 2
        self.laplacian, self.mass = csc_array(laplacian), mass
        self.solver = splu(csc_array(laplacian + diags_array(self.pull)), "MMD_AT_PLUS_A",
                           options={"SymmetricMode": True})  # fmt: skip

    def __call__(self, moved: Float64[np.ndarray, "E Vs 3"]) -> Float64[np.ndarray, "E Vt 3"]:
        """Displacements [m] of the target for deformed shapes of the source; eyeballs stay."""
        rotation = self.map.similarity.rotation
        hands = []
        for shape in moved:
            frames = _frames(shape[self.source_corners])
            change = frames @ self.source_inverse - np.eye(3)
            change = rotation @ change @ rotation.T
            wanted = self.neutral_gradient @ change.transpose(0, 2, 1) * self.area[:, None, None]
            right = self.gradient.T @ wanted.reshape(-1, 3)
            hands.append(right + self.pull[:, None] * self.carried(shape)[self.used])
        solved = self.solver.solve(np.concatenate(hands, 1))
        displacements = np.zeros((len(moved), len(self.target.vertices), 3))
        displacements[:, self.used] = solved.reshape(len(self.used), -1, 3).transpose(1, 0, 2)
        return displacements

    def carried(self, shape: Float64[np.ndarray, "Vs 3"]) -> Float64[np.ndarray, "Vt 3"]:
        """Displacements of the source at the spots that the target's vertices correspond to."""
        corners = self.source.triangles[self.map.vertex_triangles]
        offsets = (shape - self.source.vertices)[corners]
        offsets = np.einsum("vc,vcx->vx", self.map.vertex_weights, offsets)
        return self.map.similarity.scale * offsets @ self.map.similarity.rotation.T


def _double_areas(
    vertices: Float64[np.ndarray, "V 3"], triangles: Int64[np.ndarray, "F 3"]
) -> Float64[np.ndarray, " F"]:
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1)


def _frames(corners: Float64[np.ndarray, "F 3 3"]) -> Float64[np.ndarray, "F 3 3"]:
    """Columns: two edges and a normal as long as the root of its cross product (the paper's v4)."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    cross = np.cross(u, v)
    length = np.sqrt(np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-18))
    return np.stack([u, v, cross / length], 2)


def _gradient_operator(
    vertices: Float64[np.ndarray, "V 3"], triangles: Int64[np.ndarray, "F 3"]
) -> csc_array:
    """Sparse [3F, V]: the gradient of a function on the vertices, in each triangle."""
    corners = vertices[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    square = np.square(normal).sum(1, keepdims=True)
    values = np.stack(
        [
            np.cross(normal, corners[:, (k + 2) % 3] - corners[:, (k + 1) % 3]) / square
            for k in range(3)
        ],
        2,
    )  # [F, xyz, corner]
    rows = np.broadcast_to(np.arange(3 * len(triangles)).reshape(-1, 3, 1), values.shape)
    columns = np.broadcast_to(triangles[:, None, :], values.shape)
    shape = (3 * len(triangles), len(vertices))
    return coo_array((values.ravel(), (rows.ravel(), columns.ravel())), shape).tocsc()
