"""Meshes of a head's topology, read and checked."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

from eval_now.errors import UserError as MeshError
from eval_now.io.meshes import load_mesh
from flame_assets.model.head import HeadModel
from mica_ext.data.registrations.config import LengthUnit

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
SIZE_RATIO = 2.5
"""Between a mesh's extent and the head's, up to which both can be in the same unit."""

UNREADABLE = "unreadable mesh"
OTHER_TOPOLOGY = "mesh of another topology"
OTHER_UNIT = "mesh in another unit"


class RefusedMesh(NamedTuple):
    """Why a file is no registration of the head."""

    reason: str
    """One of the constants of this module."""
    text: str
    """A whole line: file, expected, got, what to do."""


class RegistrationReader:
    """Reads meshes of one head in one unit."""

    def __init__(self, head: HeadModel, unit: LengthUnit) -> None:
        self.head, self.unit = head, unit
        self.extent = float(np.ptp(head.template, axis=0).max())
        self.triangles = _canonical(head.triangles.astype(np.int64))

    def __call__(self, path: Path) -> Float64[np.ndarray, "V 3"] | RefusedMesh:
        """Vertices [m] in the head's order, or why not."""
        try:
            mesh = load_mesh(path)
        except MeshError as error:
            return RefusedMesh(UNREADABLE, str(error))
        expected = f"a mesh of {self.head.name}, {self.head.vertices_count} vertices"
        if len(mesh.vertices) != self.head.vertices_count:
            line = f"{path}: expected {expected}, got {len(mesh.vertices)}; give --head"
            return RefusedMesh(OTHER_TOPOLOGY, line)
        if not self._same_triangles(mesh.triangles):
            line = f"{path}: expected {expected}, got as many with other triangles; give --head"
            return RefusedMesh(OTHER_TOPOLOGY, line)
        vertices = mesh.vertices * METRES[self.unit]
        return self._other_unit(path, vertices) or vertices

    def _same_triangles(self, triangles: Int[np.ndarray, "F 3"]) -> bool:
        head = self.head.triangles
        if triangles.shape != head.shape:
            return False
        return bool((triangles == head).all()) or bool(
            (_canonical(triangles) == self.triangles).all()
        )

    def _other_unit(self, path: Path, vertices: Float[np.ndarray, "V 3"]) -> RefusedMesh | None:
        extent = float(np.ptp(vertices, axis=0).max())
        ratio = extent / self.extent
        if 1 / SIZE_RATIO < ratio < SIZE_RATIO:
            return None
        given = METRES[self.unit]
        fits = [
            unit
            for unit, metres in METRES.items()
            if 1 / SIZE_RATIO < ratio * metres / given < SIZE_RATIO
        ]
        remedy = f"give --unit {fits[0]}" if fits else "is it a head?"
        sizes = f"about {self.extent / given:.3g} across, got {extent / given:.3g}"
        line = f"{path}: expected a head in {self.unit}, {sizes}; {remedy}"
        return RefusedMesh(OTHER_UNIT, line)


def _canonical(triangles: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "F 3"]:
    """Triangles that begin with their smallest corner, sorted."""
    start = triangles.argmin(1)[:, None]
    turned = np.take_along_axis(triangles, (start + np.arange(3)) % 3, axis=1)
    return turned[np.lexsort(turned.T[::-1])]
