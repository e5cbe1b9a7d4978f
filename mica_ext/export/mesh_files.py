"""Meshes as files: OBJ, PLY and STL in millimetres unless told otherwise.

Every file is written beside its place and moved there whole, so an interrupted run leaves the old
file or none.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int32

from eval_now.io.mesh_writers import obj_bytes, ply_bytes
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
    points = np.asarray(surface.vertices, np.float64) * PER_METRE[unit]
    suffix = path.suffix.lower()
    if suffix == ".obj":
        content = obj_bytes(
            points,
            surface.triangles,
            decimals=_DECIMALS[unit],
            uv=surface.uv,
            uv_triangles=surface.uv_triangles,
            comments=notes,
        )
    elif suffix == ".ply":
        content = ply_bytes(points, surface.triangles, colours=surface.colours, comments=notes)
    elif suffix == ".stl":
        content = _stl(points, surface.triangles, unit)
    else:
        raise UserError(
            f"{path}: expected a mesh name ending in {', '.join(SUFFIXES)}, got {path.suffix!r}"
        )
    write_whole(path, content)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either complete or not there."""
    try:
        write_atomic(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def _stl(
    points: Float[np.ndarray, "V 3"], triangles: Int32[np.ndarray, "F 3"], unit: Unit
) -> bytes:
    """Binary STL: a facet normal, three corners and an empty attribute per triangle."""
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.zeros(len(corners), kind)
    facets["normal"], facets["corners"] = normals, corners
    head = f"pacofr mesh, unit: {unit}".encode().ljust(80)  # 80 bytes that must not start "solid"
    return head + np.uint32(len(facets)).tobytes() + facets.tobytes()
