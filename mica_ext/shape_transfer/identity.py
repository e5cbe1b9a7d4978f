"""A person of one head model as identity coefficients of another.

The target's skin vertices correspond to spots on the source's skin by `map_surfaces`. The target's
identity is the most probable one, its coefficients unit normal, whose skin lies on the source
person's at those spots up to a rigid motion; slack along the surface is cheap, as the map is.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from flame_assets.fitting.rigid_motion import rigid_alignment
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.shape_transfer.face_surface import SKIN, FaceSurface
from mica_ext.shape_transfer.surface_map import map_surfaces

MIN_CONFIDENCE = 0.3
"""Of the triangles around a vertex, below which it is left out: sockets, the cut of the neck."""
MAX_VERTICES = 3000
"""Vertices of finer meshes are thinned out to as many."""
TANGENTIAL = 0.1
"""Weight of squared distances along the surface; 1 is that of distances across it."""
RIDGE = 1e-2
"""Of each squared coefficient [mm^2]: errors of 1 mm in about a hundred independent places."""
STEPS = 6
"""Of alignment and coefficients in turns."""


class RigidMotion(NamedTuple):
    """moved = rotation @ point + translation [m]."""

    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, "3"]

    def __call__(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """The points moved."""
        return points @ self.rotation.T + self.translation


class CarriedIdentity(NamedTuple):
    """Identity coefficients of the target, and how far its skin lies from the source person's."""

    shape: Float32[Tensor, " S"]
    distance_mm: float
    """Root mean square across the surface."""


class IdentityTransfer:
    """Carries people from one head model to another; build once for a pair.

    Raises:
        UserError: the landmarks of a head are not those of a face.
    """

    def __init__(self, source: HeadDecoder, target: HeadDecoder) -> None:
        own, other = FaceSurface.of_head(source), FaceSurface.of_head(target)
        found = map_surfaces(own, other)
        corners = other.vertices[other.triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(normals, axis=1)
        flat = other.triangles.ravel()
        count = len(other.vertices)
        mass = np.bincount(flat, np.repeat(area, 3), count)
        trusted = np.bincount(flat, np.repeat(area * found.confidence, 3), count)
        confidence = trusted / np.maximum(mass, 1e-30)
        held = np.flatnonzero((other.parts == SKIN) & (confidence > MIN_CONFIDENCE))
        held = held[:: -(-len(held) // MAX_VERTICES)]
        summed = np.stack([np.bincount(flat, np.repeat(n, 3), count) for n in normals.T], 1)[held]
        self.source, self.target = source, target
        self.held: Int64[np.ndarray, " n"] = held
        self.normals = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        self.weights = trusted[held] / trusted[held].sum()
        self.corners = own.triangles[found.vertex_triangles[held]]
        self.corner_weights = found.vertex_weights[held]

    @torch.no_grad()
    def __call__(self, shape: Float32[Tensor, " S"]) -> CarriedIdentity:
        """The person with these identity coefficients of the source."""
        still = HeadParameters.zeros(self.source.head)._replace(shape=shape[None])
        wanted = self.on_source(self.source(still).vertices[0].double().numpy())
        head = self.target.head
        template = head.template[self.held].astype(np.float64)
        modes = head.shape_basis[self.held].transpose(2, 0, 1).astype(np.float64)
        # rows of the metric: the normal, and all three axes at the weight of the tangents
        axes = np.sqrt(TANGENTIAL) * np.eye(3)
        scale = 1000 * np.sqrt(self.weights)[:, None]
        across = np.sqrt(1 - TANGENTIAL) * self.normals

        def rows(offsets: Float64[np.ndarray, "*m n 3"]) -> Float64[np.ndarray, "*m r"]:
            normal = (offsets * across).sum(-1, keepdims=True)
            stacked = np.concatenate([normal, offsets @ axes], -1) * scale
            return stacked.reshape(*stacked.shape[:-2], -1)

        A = rows(modes)
        inverse = np.linalg.inv(A @ A.T + RIDGE * np.eye(len(A)))
        found = np.zeros(len(A))
        goal = wanted
        for _ in range(STEPS):
            now = template + np.einsum("snx,s->nx", modes, found)
            goal = self._aligned(wanted, now)(wanted)
            found = inverse @ (A @ rows(goal - template))
        left = goal - template - np.einsum("snx,s->nx", modes, found)
        distance = np.sqrt(self.weights @ np.square((left * self.normals).sum(1)))
        return CarriedIdentity(torch.from_numpy(found).float(), 1000 * float(distance))

    def on_source(self, vertices: Float64[np.ndarray, "Vs 3"]) -> Float64[np.ndarray, "n 3"]:
        """The spots that correspond to the held vertices, on a mesh of the source."""
        return np.einsum("nc,ncx->nx", self.corner_weights, vertices[self.corners])

    def placement(
        self, target: Float64[np.ndarray, "Vt 3"], source: Float64[np.ndarray, "Vs 3"]
    ) -> RigidMotion:
        """The rigid motion of a mesh of the target to where a mesh of the source is."""
        return self._aligned(target[self.held], self.on_source(source))

    def _aligned(
        self, points: Float64[np.ndarray, "n 3"], goals: Float64[np.ndarray, "n 3"]
    ) -> RigidMotion:
        rotation, translation = rigid_alignment(points, goals[None])
        return RigidMotion(rotation[0], translation[0])
