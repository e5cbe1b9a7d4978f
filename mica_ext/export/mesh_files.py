"""Meshes as files: OBJ, PLY and STL in millimetres unless told otherwise.

Every file is written beside its place and moved there whole, so an interrupted run leaves the old
file or none.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int32

from mica_ext.errors import UserError
from pacofr.utils.files import write_atomic

Unit = Literal["mm", "cm", "m"]
PER_METRE: dict[Unit, float] = {"mm": 1000.0, "cm": 100.0, "m": 1.0}
_DECIMALS: dict[Unit, int] = {"mm": 4, "cm": 5, "m": 7}  # a tenth of a micrometre
SUFFIXES = (".obj", ".ply", ".stl", ".glb")


class Surface(NamedTuple):
    """A triangle mesh in metres, y up, z out of the face."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int32[np.ndarray, "F 3"]
    colours: Float[np.ndarray, "V 3"] | None = None  # sRGB in [0, 1]
    uv: Float[np.ndarray, "T 2"] | None = None
    uv_triangles: Int32[np.ndarray, "F 3"] | None = None


def write_surface(
    path: Path, surface: Surface, unit: Unit = "mm", comments: Sequence[str] = ()
) -> None:
    """Write `path` in the format its suffix names; `comments` and the unit go into its header."""
    notes = [*comments, f"unit: {unit}"]
    suffix = path.suffix.lower()
    if suffix == ".obj":
        write_whole(path, _obj(surface, unit, notes))
    elif suffix == ".ply":
        write_whole(path, _ply(surface, unit, notes))
    elif suffix == ".stl":
        write_whole(path, _stl(surface, unit))
    else:
        raise UserError(
            f"{path}: expected a mesh name ending in {', '.join(SUFFIXES)}, got {path.suffix!r}"
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either complete or not there."""
    try:
        write_atomic(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def _obj(surface: Surface, unit: Unit, notes: Sequence[str]) -> bytes:
    head = "".join(f"# {note}\n" for note in notes)
    number = f"%.{_DECIMALS[unit]}f"
    line = f"v {number} {number} {number}\n"
    points = np.asarray(surface.vertices, np.float64) * PER_METRE[unit]
    body = [head, (line * len(points)) % tuple(points.ravel().tolist())]
    if surface.uv is not None and surface.uv_triangles is not None:
        body.append(("vt %.5f %.5f\n" * len(surface.uv)) % tuple(surface.uv.ravel().tolist()))
        body.append(_obj_faces(surface.triangles.tobytes(), surface.uv_triangles.tobytes()))
    else:
        body.append(_obj_faces(surface.triangles.tobytes(), b""))
    return "".join(body).encode()


@lru_cache(maxsize=4)
def _obj_faces(triangles: bytes, uv_triangles: bytes) -> str:
    """The `f` lines; the same for every mesh of a head, and most of the writing."""
    corners = (np.frombuffer(triangles, np.int32) + 1).tolist()
    if not uv_triangles:
        return ("f %d %d %d\n" * (len(corners) // 3)) % tuple(corners)
    both = np.stack([corners, np.frombuffer(uv_triangles, np.int32) + 1], axis=1)
    return ("f %d/%d %d/%d %d/%d\n" * (len(corners) // 3)) % tuple(both.ravel().tolist())


def _ply(surface: Surface, unit: Unit, notes: Sequence[str]) -> bytes:
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    if surface.colours is not None:
        fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    vertices = np.zeros(len(surface.vertices), np.dtype(fields))
    points = np.asarray(surface.vertices, np.float64) * PER_METRE[unit]
    for axis, name in enumerate("xyz"):
        vertices[name] = points[:, axis]
    if surface.colours is not None:
        for channel, name in enumerate(("red", "green", "blue")):
            vertices[name] = np.rint(np.clip(surface.colours[:, channel], 0, 1) * 255)
    faces = np.zeros(len(surface.triangles), np.dtype([("n", "u1"), ("corners", "<i4", 3)]))
    faces["n"], faces["corners"] = 3, surface.triangles
    kinds = {"<f4": "float", "u1": "uchar"}
    head = ["ply", "format binary_little_endian 1.0", *(f"comment {note}" for note in notes)]
    head.append(f"element vertex {len(vertices)}")
    head += [f"property {kinds[kind]} {name}" for name, kind in fields]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    return ("\n".join(head) + "\n").encode() + vertices.tobytes() + faces.tobytes()


def _stl(surface: Surface, unit: Unit) -> bytes:
    points = np.asarray(surface.vertices, np.float64) * PER_METRE[unit]
    corners = points[surface.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.zeros(len(corners), kind)
    facets["normal"], facets["corners"] = normals, corners
    head = f"pacofr mesh, unit: {unit}".encode().ljust(80)  # 80 bytes that must not start "solid"
    return head + np.uint32(len(facets)).tobytes() + facets.tobytes()
