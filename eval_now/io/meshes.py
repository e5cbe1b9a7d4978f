"""Mesh files in and out: OBJ and PLY, every fault as one line that names the file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval_now.errors import UserError
from eval_now.io.files import read_bytes, write_atomically
from eval_now.io.mesh_writers import obj_bytes, ply_bytes
from eval_now.io.obj import read_obj
from eval_now.io.ply import read_ply

MESH_SUFFIXES = (".obj", ".ply")
FEWEST_TRIANGLES = 4  # of the smallest solid


class Mesh(NamedTuple):
    """A triangle mesh in whatever unit its owner uses; vertices without a triangle are allowed."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]


def load_mesh(path: Path) -> Mesh:
    """A mesh with a surface."""
    mesh = Mesh(*_reader(path)(path, read_bytes(path)))
    if not len(mesh.vertices):
        raise UserError(f"{path}: expected a mesh, found no vertices")
    if not len(mesh.triangles):
        raise UserError(f"{path}: expected a surface, found no faces (a point cloud?)")
    if len(mesh.triangles) < FEWEST_TRIANGLES:
        raise UserError(
            f"{path}: expected {FEWEST_TRIANGLES} or more triangles, found {len(mesh.triangles)}"
        )
    return mesh


def load_vertices(path: Path) -> Float[np.ndarray, "V 3"]:
    """Vertices of a scan; its faces play no part in the benchmark."""
    data = read_bytes(path)
    if path.suffix.lower() == ".obj":
        vertices, _ = read_obj(path, data, with_faces=False)
    else:
        vertices, _ = _reader(path)(path, data)
    if not len(vertices):
        raise UserError(f"{path}: expected a scan, found no vertices")
    return vertices


def _reader(path: Path):  # noqa: ANN202
    if path.suffix.lower() == ".obj":
        return read_obj
    if path.suffix.lower() == ".ply":
        return read_ply
    raise UserError(f"{path}: expected a mesh file .obj or .ply")


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "V 3"]:
    """Area-weighted unit normals."""
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


def save_ply(path: Path, mesh: Mesh) -> None:
    """Binary little-endian PLY with float32 vertices."""
    write_atomically(path, ply_bytes(mesh.vertices, mesh.triangles))


def save_obj(path: Path, mesh: Mesh, decimals: int = 4) -> None:
    """Plain OBJ: vertices, then triangles."""
    write_atomically(path, obj_bytes(mesh.vertices, mesh.triangles, decimals=decimals))
