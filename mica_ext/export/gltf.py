"""GLB (binary glTF 2.0) with one morph target per expression; always in metres, as glTF demands.

Targets are stored sparsely: only vertices that move more than a micrometre. Vertices are split
where the texture has a seam, by one index map for the base and all targets.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32, Shaped

from eval_now.geometry.normals import vertex_normals
from mica_ext.export.mesh_files import Surface
from mica_ext.render.shading import to_linear

MIN_OFFSET = 1e-6  # [m] a vertex that moves less does not count as moved
_FLOAT, _UNSIGNED = 5126, 5125
_VERTICES, _INDICES = 34962, 34963


class MorphTarget(NamedTuple):
    """One expression: how far each vertex moves at weight 1."""

    name: str
    offsets: Float32[np.ndarray, "V 3"]  # [m]
    weight: float = 0.0
    """At which the mesh is shown to begin with."""


def glb_bytes(surface: Surface, targets: Sequence[MorphTarget], copyright_note: str) -> bytes:
    """The whole .glb file."""
    source, corners, uv = _split_at_seams(surface)
    normals = vertex_normals(surface.vertices, surface.triangles)[source].astype(np.float32)
    buffer = _Buffer()
    points = surface.vertices[source].astype(np.float32)
    attributes = {
        "POSITION": buffer.add(points, "VEC3", target=_VERTICES, extent=True),
        "NORMAL": buffer.add(normals, "VEC3", target=_VERTICES),
    }
    if surface.colours is not None:
        light = to_linear(surface.colours)[source]
        attributes["COLOR_0"] = buffer.add(light, "VEC3", target=_VERTICES)
    if uv is not None:
        attributes["TEXCOORD_0"] = buffer.add(uv, "VEC2", target=_VERTICES)
    primitive: dict[str, object] = {
        "attributes": attributes,
        "indices": buffer.add(corners.ravel().astype(np.uint32), "SCALAR", target=_INDICES),
        "material": 0,
    }
    mesh: dict[str, object] = {"name": "head", "primitives": [primitive]}
    if targets:
        primitive["targets"] = [
            {"POSITION": buffer.add_sparse(target.offsets[source])} for target in targets
        ]
        mesh["weights"] = [target.weight for target in targets]
        mesh["extras"] = {"targetNames": [target.name for target in targets]}
    tint = [0.57, 0.34, 0.25, 1.0] if surface.colours is None else [1.0, 1.0, 1.0, 1.0]
    skin = {"baseColorFactor": tint, "metallicFactor": 0.0, "roughnessFactor": 0.6}
    document = {
        "asset": {"version": "2.0", "generator": "pacofr", "copyright": copyright_note},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "head"}],
        "meshes": [mesh],
        "materials": [{"name": "skin", "pbrMetallicRoughness": skin, "doubleSided": True}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.content)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    parts = [_chunk(b"JSON", text), _chunk(b"BIN\0", bytes(buffer.content))]
    length = 12 + sum(len(part) for part in parts)
    return b"glTF" + np.array([2, length], "<u4").tobytes() + b"".join(parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return np.uint32(len(content)).tobytes() + kind + content


class _Buffer:
    """The binary part of the file while it grows."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, object]] = []

    def view(self, array: Shaped[np.ndarray, "..."], target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": array.nbytes}
        if target is not None:
            view["target"] = target
        self.content += np.ascontiguousarray(array).tobytes()
        self.content += bytes(-len(self.content) % 4)
        self.views.append(view)
        return len(self.views) - 1

    def add(
        self, array: Shaped[np.ndarray, "..."], kind: str, target: int, *, extent: bool = False
    ) -> int:
        accessor: dict[str, object] = {
            "bufferView": self.view(array, target),
            "componentType": _FLOAT if array.dtype == np.float32 else _UNSIGNED,
            "count": len(array),
            "type": kind,
        }
        if extent:
            accessor |= _extent(array)
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_sparse(self, offsets: Float32[np.ndarray, "N 3"]) -> int:
        moved = np.flatnonzero(np.abs(offsets).max(axis=1) > MIN_OFFSET)
        if len(moved) == 0:
            moved = np.zeros(1, int)  # glTF wants at least one entry
        values = np.ascontiguousarray(offsets[moved], dtype=np.float32)
        shown = np.zeros_like(offsets)
        shown[moved] = values
        sparse = {
            "count": len(moved),
            "indices": {
                "bufferView": self.view(moved.astype(np.uint32)),
                "componentType": _UNSIGNED,
            },
            "values": {"bufferView": self.view(values)},
        }
        accessor: dict[str, object] = {"componentType": _FLOAT, "count": len(offsets)}
        accessor |= {"type": "VEC3", "sparse": sparse, **_extent(shown)}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _extent(array: Shaped[np.ndarray, "N 3"]) -> dict[str, list[float]]:
    return {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}


def _split_at_seams(
    surface: Surface,
) -> tuple[Int32[np.ndarray, " N"], Int32[np.ndarray, "F 3"], Float[np.ndarray, "N 2"] | None]:
    """Vertex of each file vertex, triangles among file vertices, their texture coordinates."""
    if surface.uv is None or surface.uv_triangles is None:
        return np.arange(len(surface.vertices), dtype=np.int32), surface.triangles, None
    pairs = np.stack([surface.triangles.ravel(), surface.uv_triangles.ravel()], axis=1)
    unique, corners = np.unique(pairs, axis=0, return_inverse=True)
    uv = surface.uv[unique[:, 1]].astype(np.float32) * [1, -1] + [0, 1]  # glTF counts v downwards
    triangles = corners.reshape(-1, 3).astype(np.int32)
    return unique[:, 0].astype(np.int32), triangles, uv.astype(np.float32)
