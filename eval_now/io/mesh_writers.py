"""Triangle meshes as OBJ and PLY bytes, the only encoders of these formats in the project."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int


def ply_bytes(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    *,
    colours: Float[np.ndarray, "V 3"] | None = None,
    comments: Sequence[str] = (),
) -> bytes:
    """Binary little-endian PLY: float32 vertices, 8-bit `colours` from [0, 1], int32 triangles.

    `comments` are single lines for the header.
    """
    properties = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    if colours is not None:
        properties += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    rows = np.zeros(len(vertices), np.dtype(properties))
    for axis, name in enumerate("xyz"):
        rows[name] = vertices[:, axis]
    if colours is not None:
        for channel, name in enumerate(("red", "green", "blue")):
            rows[name] = np.rint(np.clip(colours[:, channel], 0, 1) * 255)
    faces = np.empty(len(triangles), [("length", "u1"), ("corners", "<i4", (3,))])
    faces["length"], faces["corners"] = 3, triangles
    types = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    header.append(f"element vertex {len(rows)}")
    header += [f"property {types[kind]} {name}" for name, kind in properties]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    return ("\n".join(header) + "\n").encode() + rows.tobytes() + faces.tobytes()


def obj_bytes(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    *,
    decimals: int = 4,
    uv: Float[np.ndarray, "T 2"] | None = None,
    uv_triangles: Int[np.ndarray, "F 3"] | None = None,
    comments: Sequence[str] = (),
) -> bytes:
    """Wavefront OBJ: `# comments`, `v` lines with `decimals`, `vt` lines if there are any, `f`."""
    number = f"%.{decimals}f"
    line = f"v {number} {number} {number}\n"
    body = ["".join(f"# {comment}\n" for comment in comments)]
    body.append((line * len(vertices)) % tuple(vertices.ravel().tolist()))
    corners = np.ascontiguousarray(triangles, np.int32).tobytes()
    if uv is None or uv_triangles is None:
        body.append(_obj_faces(corners, b""))
    else:
        body.append(("vt %.5f %.5f\n" * len(uv)) % tuple(uv.ravel().tolist()))
        body.append(_obj_faces(corners, np.ascontiguousarray(uv_triangles, np.int32).tobytes()))
    return "".join(body).encode()


@lru_cache(maxsize=4)
def _obj_faces(triangles: bytes, uv_triangles: bytes) -> str:
    """The `f` lines of int32 corners; all meshes of one head share them, and they cost the most."""
    corners = (np.frombuffer(triangles, np.int32) + 1).tolist()
    if not uv_triangles:
        return ("f %d %d %d\n" * (len(corners) // 3)) % tuple(corners)
    both = np.stack([corners, np.frombuffer(uv_triangles, np.int32) + 1], axis=1)
    return ("f %d/%d %d/%d %d/%d\n" * (len(corners) // 3)) % tuple(both.ravel().tolist())
