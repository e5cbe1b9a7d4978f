"""Mesh files by suffix: OBJ, PLY and STL written here, further formats by trimesh."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int32

from eval_now.io.mesh_writers import Material, obj_bytes, ply_bytes
from mica_ext.errors import UserError
from mica_ext.export.surface import Surface, material_path, texture_path
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


TEXTURED = (".obj", ".ply", ".glb")
"""Formats that hold a texture, or name its file."""
SOLID = tuple(suffix for suffix in SUFFIXES if suffix != ".glb")
"""Formats in which a closed head can be written: a GLB is for animation."""
MATERIAL = "head"


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


def check_extras(path: Path | None, *, texture: bool, solid: bool) -> None:
    """Refuse a mesh file that cannot be textured or closed as asked.

    Raises:
        UserError: with what to do.
    """
    if texture and solid:
        raise UserError("--texture and --solid exclude each other: a closed mesh has no texture")
    suffix = "" if path is None else path.suffix.lower()
    for flag, asked, formats in (("--texture", texture, TEXTURED), ("--solid", solid, SOLID)):
        if asked and path is None:
            raise UserError(f"{flag}: expected a mesh to write; give --out mesh.obj")
        if asked and suffix not in formats:
            raise UserError(f"{path}: {flag} goes with {' '.join(formats)}; choose one of them")


def unit_of(path: Path, unit: Unit | None) -> Unit:
    """The unit of a mesh file: its format's, else `unit`, else mm."""
    return FIXED_UNITS.get(path.suffix.lower()) or unit or "mm"


def write_surface(
    path: Path, surface: Surface, unit: Unit = "mm", comments: Sequence[str] = ()
) -> None:
    """Write `path` in the format of its suffix; OBJ and PLY headers hold `comments` and the unit.

    A texture goes into a file of its own beside the mesh, for OBJ with a material file.

    Raises:
        UserError: for a format that is not written here (GLB: see `gltf`), or a full disk.
    """
    from eval_now.geometry.normals import vertex_normals
    from mica_ext.render.pictures import picture_bytes

    check_format(path, None)
    notes = [*comments, f"unit: {unit}"]
    suffix = path.suffix.lower()
    points = np.asarray(surface.vertices, np.float64) * PER_METRE[unit]
    textured = surface.texture is not None and suffix in TEXTURED
    if surface.texture is not None and textured:
        write_bytes_atomic(texture_path(path), picture_bytes(surface.texture, ".png"))
    if suffix == ".obj":
        material = Material(material_path(path).name, MATERIAL) if textured else None
        if material is not None:
            write_bytes_atomic(material_path(path), _material_bytes(texture_path(path).name))
        content = obj_bytes(
            points,
            surface.triangles,
            decimals=_DECIMALS[unit],
            normals=vertex_normals(surface.vertices, surface.triangles),
            uv=surface.uv,
            uv_triangles=surface.uv_triangles,
            groups=surface.groups,
            material=material,
            comments=notes,
        )
    elif suffix == ".ply":
        if textured:
            notes.append(f"TextureFile {texture_path(path).name}")
        content = ply_bytes(
            points,
            surface.triangles,
            colours=surface.colours,
            normals=vertex_normals(surface.vertices, surface.triangles),
            uv=surface.uv if textured else None,  # readers prefer them to the colours
            uv_triangles=surface.uv_triangles,
            comments=notes,
        )
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


def _material_bytes(texture: str) -> bytes:
    """An MTL file whose one material shows the picture `texture`."""
    lines = [f"newmtl {MATERIAL}", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1"]
    return "".join(f"{line}\n" for line in [*lines, f"map_Kd {texture}"]).encode()


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
