"""Mesh files by suffix: OBJ, PLY and STL written here, further formats by trimesh."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int32

from eval_now.io.mesh_writers import obj_bytes, ply_bytes
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic

if TYPE_CHECKING:
    from trimesh import Trimesh

Unit = Literal["mm", "cm", "m"]
PER_METRE: dict[Unit, float] = {"mm": 1000.0, "cm": 100.0, "m": 1.0}
UNIT_WORDS: dict[Unit, str] = {"mm": "millimetres", "cm": "centimetres", "m": "metres"}
_DECIMALS: dict[Unit, int] = {"mm": 4, "cm": 5, "m": 7}  # a tenth of a micrometre

TRIMESH_FORMATS: dict[str, tuple[str, str] | None] = {
    ".off": None,
    ".3mf": ("lxml", "lxml"),
    ".dae": ("collada", "pycollada"),
}
"""Formats that trimesh writes, with the module and the package that it needs for them."""
SUFFIXES = (".obj", ".ply", ".stl", ".glb", *TRIMESH_FORMATS)
FIXED_UNITS: dict[str, Unit] = {".glb": "m", ".dae": "m", ".3mf": "mm"}
"""Units that a format defines, or that its writer states in the file."""


class Surface(NamedTuple):
    """A triangle mesh in metres, y up, z out of the face."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int32[np.ndarray, "F 3"]
    colours: Float[np.ndarray, "V 3"] | None = None  # sRGB in [0, 1]
    uv: Float[np.ndarray, "T 2"] | None = None
    uv_triangles: Int32[np.ndarray, "F 3"] | None = None


def check_format(path: Path, unit: Unit | None) -> None:
    """Refuse a mesh file that cannot be written, before anything is computed.

    Raises:
        UserError: for an unknown suffix, a missing package, or a unit that the format excludes.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path}: expected a mesh name ending in {', '.join(SUFFIXES)}, got {path.suffix!r}"
        )
    fixed = FIXED_UNITS.get(suffix)
    if fixed and unit not in (None, fixed):
        raise UserError(
            f"{path}: {suffix[1:].upper()} files are in {UNIT_WORDS[fixed]} by definition; "
            "leave --unit out"
        )
    needed = TRIMESH_FORMATS.get(suffix)
    if needed and importlib.util.find_spec(needed[0]) is None:
        raise UserError(f"{path}: {suffix} needs one more package; run: pip install {needed[1]}")


def unit_of(path: Path, unit: Unit | None) -> Unit:
    """The unit of a mesh file: its format's, else `unit`, else mm."""
    return FIXED_UNITS.get(path.suffix.lower()) or unit or "mm"


def write_surface(
    path: Path, surface: Surface, unit: Unit = "mm", comments: Sequence[str] = ()
) -> None:
    """Write `path` in the format of its suffix; OBJ and PLY headers hold `comments` and the unit.

    Raises:
        UserError: for a format that is not written here (GLB: see `gltf`), or a full disk.
    """
    check_format(path, None)
    notes = [*comments, f"unit: {unit}"]
    suffix = path.suffix.lower()
    points = np.asarray(surface.vertices, np.float64) * PER_METRE[unit]
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
        content = _stl_bytes(points, surface.triangles, unit)
    elif suffix in TRIMESH_FORMATS:
        exported: Any = to_trimesh(surface, unit).export(file_type=suffix[1:])
        content = exported.encode() if isinstance(exported, str) else exported
    else:
        raise ValueError(f"{path}: meshes of this format are not written by write_surface")
    write_bytes_atomic(path, content)


def to_trimesh(surface: Surface, unit: Unit = "m") -> "Trimesh":
    """The surface for trimesh, vertices in their order; its `units` tell the unit."""
    import trimesh

    mesh = trimesh.Trimesh(
        vertices=np.asarray(surface.vertices, np.float64) * PER_METRE[unit],
        faces=surface.triangles,
        vertex_colors=None if surface.colours is None else _rgba(surface.colours),
        process=False,
    )
    mesh.units = UNIT_WORDS[unit].replace("metres", "meters")
    return mesh


def _rgba(colours: Float[np.ndarray, "V 3"]) -> np.ndarray:
    rgb = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
    return np.concatenate([rgb, np.full((len(rgb), 1), 255, np.uint8)], axis=1)


def _stl_bytes(
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
