"""Mesh files in and out: OBJ and PLY, every fault as one line that names the file."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval_now.errors import UserError
from eval_now.objfile import read_obj
from eval_now.plyfile import read_ply

MESH_SUFFIXES = (".obj", ".ply")
FEWEST_TRIANGLES = 4  # of the smallest solid
LARGEST_FILE = 2**30
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Mesh(NamedTuple):
    """A triangle mesh in whatever unit its owner uses; vertices without a triangle are allowed."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]


def read_bytes(path: Path) -> bytes:
    """Content of a file that must be readable, not empty and not absurdly large.

    The byte-order mark that Windows editors put before text is taken off: no reader expects it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) > LARGEST_FILE:
        raise UserError(f"{path}: expected at most {LARGEST_FILE >> 20} MiB")
    data = data.removeprefix(BYTE_ORDER_MARK)
    if not data:
        raise UserError(f"{path}: the file is empty")
    return data


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


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its place only when the block has ended well."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or nothing."""
    with whole_file(path) as file:
        file.write(data)


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
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(mesh.triangles)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(mesh.triangles), [("length", "u1"), ("corners", "<i4", (3,))])
    faces["length"], faces["corners"] = 3, mesh.triangles
    body = np.ascontiguousarray(mesh.vertices, "<f4").tobytes() + faces.tobytes()
    write_atomically(path, header.encode() + body)


def save_obj(path: Path, mesh: Mesh, decimals: int = 4) -> None:
    """Plain OBJ: vertices, then triangles."""
    vertices = "".join(
        f"v {x:.{decimals}f} {y:.{decimals}f} {z:.{decimals}f}\n"
        for x, y, z in mesh.vertices.tolist()
    )
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in (mesh.triangles + 1).tolist())
    write_atomically(path, (vertices + faces).encode())
