"""Reading and writing of triangle meshes as OBJ and PLY."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.files import read_bytes, write_bytes_atomic
from eval_now.io.mesh_writers import obj_bytes, ply_bytes
from eval_now.io.obj import read_obj
from eval_now.io.ply import read_ply

MESH_SUFFIXES = (".obj", ".ply")
MIN_TRIANGLES = 4  # a tetrahedron


def load_mesh(path: Path) -> Mesh:
    """Read an OBJ or PLY mesh.

    Raises:
        UserError: unreadable, malformed, or fewer than 4 triangles.
    """
    mesh = Mesh(*_reader(path)(path, read_bytes(path)))
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


def save_ply(path: Path, mesh: Mesh) -> None:
    """Write a binary little-endian PLY with float32 vertices."""
    write_bytes_atomic(path, ply_bytes(mesh.vertices, mesh.triangles))


def save_obj(path: Path, mesh: Mesh, decimals: int = 4) -> None:
    """Write an OBJ of vertices and triangles only."""
    write_bytes_atomic(path, obj_bytes(mesh.vertices, mesh.triangles, decimals=decimals))
