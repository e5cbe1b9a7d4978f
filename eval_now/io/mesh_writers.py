"""Triangle meshes as OBJ and PLY bytes, the only encoders of these formats in the project."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval_now.io.decimal_text import decimal_lines


class Group(NamedTuple):
    """A run of triangles with a name, up to the next group's first one."""

    name: str
    first_triangle: int


class Material(NamedTuple):
    """A material of an OBJ file."""

    library: str
    """Name of the .mtl file beside it."""
    name: str


def ply_bytes(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    *,
    colours: Float[np.ndarray, "V 3"] | None = None,
    normals: Float[np.ndarray, "V 3"] | None = None,
    uv: Float[np.ndarray, "T 2"] | None = None,
    uv_triangles: Int[np.ndarray, "F 3"] | None = None,
    comments: Sequence[str] = (),
) -> bytes:
    """Binary little-endian PLY: float32 vertices, 8-bit `colours` from [0, 1], int32 triangles.

    Texture coordinates are a list `texcoord` of six numbers per triangle, so that vertices stay
    whole at seams. `comments` are single lines for the header.
    """
    properties = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    if normals is not None:
        properties += [("nx", "<f4"), ("ny", "<f4"), ("nz", "<f4")]
    if colours is not None:
        properties += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    rows = np.zeros(len(vertices), np.dtype(properties))
    for axis, name in enumerate("xyz"):
        rows[name] = vertices[:, axis]
        if normals is not None:
            rows[f"n{name}"] = normals[:, axis]
    if colours is not None:
        for channel, name in enumerate(("red", "green", "blue")):
            rows[name] = np.rint(np.clip(colours[:, channel], 0, 1) * 255)
    kind = [("length", "u1"), ("corners", "<i4", (3,))]
    if uv is not None and uv_triangles is not None:
        kind += [("numbers", "u1"), ("texcoord", "<f4", (6,))]
    faces = np.empty(len(triangles), kind)
    faces["length"], faces["corners"] = 3, triangles
    if uv is not None and uv_triangles is not None:
        faces["numbers"], faces["texcoord"] = 6, uv[uv_triangles].reshape(-1, 6)
    types = {"<f4": "float", "u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {_plain(line)}" for line in comments),
    ]
    header.append(f"element vertex {len(rows)}")
    header += [f"property {types[kind]} {name}" for name, kind in properties]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    if uv is not None and uv_triangles is not None:
        header.append("property list uchar float texcoord")
    header.append("end_header")
    return ("\n".join(header) + "\n").encode() + rows.tobytes() + faces.tobytes()


def obj_bytes(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    *,
    decimals: int = 4,
    normals: Float[np.ndarray, "V 3"] | None = None,
    uv: Float[np.ndarray, "T 2"] | None = None,
    uv_triangles: Int[np.ndarray, "F 3"] | None = None,
    groups: tuple[Group, ...] = (),
    material: Material | None = None,
    comments: Sequence[str] = (),
) -> bytes:
    """Wavefront OBJ: `# comments`, `v` lines with `decimals`, `vt` and `vn` lines, `f` lines.

    Triangles keep their order; a `g` line stands before the first one of each group.
    """
    body = ["".join(f"# {_plain(comment)}\n" for comment in comments).encode()]
    if material is not None:
        body.append(f"mtllib {material.library}\n".encode())
    body.append(decimal_lines("v", np.asarray(vertices, np.float64), decimals))
    uv_corners = b""
    if uv is not None and uv_triangles is not None:
        body.append(_uv_lines(np.ascontiguousarray(uv, np.float64).tobytes()))
        uv_corners = np.ascontiguousarray(uv_triangles, np.int32).tobytes()
    if normals is not None:
        body.append(decimal_lines("vn", np.asarray(normals, np.float64), 4))
    if material is not None:
        body.append(f"usemtl {material.name}\n".encode())
    corners = np.ascontiguousarray(triangles, np.int32).tobytes()
    body.append(_obj_faces(corners, uv_corners, normals is not None, groups))
    return b"".join(body)


def _plain(comment: str) -> str:
    """A comment that cannot end its line."""
    return "".join(c if c.isprintable() else " " for c in comment)


@lru_cache(maxsize=4)
def _uv_lines(uv: bytes) -> bytes:
    """The `vt` lines of float64 pairs; all meshes of one head share them."""
    return decimal_lines("vt", np.frombuffer(uv).reshape(-1, 2), 5)


@lru_cache(maxsize=4)
def _obj_faces(
    triangles: bytes, uv_triangles: bytes, with_normals: bool, groups: tuple[Group, ...]
) -> bytes:
    """The `f` lines of int32 corners; all meshes of one head share them, and they cost the most."""
    corners = np.frombuffer(triangles, np.int32) + 1
    columns, corner = [corners], "%d"
    if uv_triangles:
        columns.append(np.frombuffer(uv_triangles, np.int32) + 1)
        corner += "/%d"
    if with_normals:
        columns.append(corners)
        corner += "/%d" if uv_triangles else "//%d"
    numbers = np.stack(columns, axis=1).reshape(len(corners) // 3, -1)
    line = f"f {corner} {corner} {corner}\n"
    starts = [group.first_triangle for group in groups]
    text = []
    names = ["", *(f"g {group.name}\n" for group in groups)]
    for name, first, last in zip(names, [0, *starts], [*starts, len(numbers)], strict=True):
        part = numbers[first:last]
        text.append(name + (line * len(part)) % tuple(part.ravel().tolist()))
    return "".join(text).encode()
