"""Reading and writing of triangle meshes as OBJ and PLY."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.budgets import MAX_MESH_BYTES
from eval_now.io.files import read_bytes, write_bytes_atomic
from eval_now.io.mesh_writers import obj_bytes, ply_bytes
from eval_now.io.obj import read_obj
from eval_now.io.ply.reader import read_ply

MESH_SUFFIXES = (".obj", ".ply")
MIN_TRIANGLES = 4  # a tetrahedron


def load_mesh(path: Path) -> Mesh:
    """Read an OBJ or PLY mesh.

    Raises:
        UserError: unreadable, malformed, or fewer than 4 triangles.
    """
    mesh = _read(path, with_faces=True)
    if not len(mesh.vertices):
        raise UserError(f"{path}: expected a mesh, found no vertices")
    if not len(mesh.triangles):
        raise UserError(f"{path}: expected a surface, found no faces (a point cloud?)")
    if len(mesh.triangles) < MIN_TRIANGLES:
        raise UserError(
            f"{path}: expected {MIN_TRIANGLES} or more triangles, found {len(mesh.triangles)}"
        )
    return mesh


def load_vertices(path: Path) -> Float[np.ndarray, "V 3"]:
    """Read the vertices of a scan; the benchmark does not use its faces."""
    vertices = _read(path, with_faces=False).vertices
    if not len(vertices):
        raise UserError(f"{path}: expected a scan, found no vertices")
    return vertices


def _read(path: Path, with_faces: bool) -> Mesh:
    """Read a mesh by the suffix of its file; a PLY's faces are read in any case."""
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise UserError(f"{path}: expected a mesh file .obj or .ply")
    data = read_bytes(path, MAX_MESH_BYTES)
    return read_obj(path, data, with_faces) if suffix == ".obj" else read_ply(path, data)


def save_ply(path: Path, mesh: Mesh) -> None:
    """Write a binary little-endian PLY with float32 vertices."""
    write_bytes_atomic(path, ply_bytes(mesh.vertices, mesh.triangles))


def save_obj(path: Path, mesh: Mesh, decimals: int = 4) -> None:
    """Write an OBJ of vertices and triangles only."""
    write_bytes_atomic(path, obj_bytes(mesh.vertices, mesh.triangles, decimals=decimals))
