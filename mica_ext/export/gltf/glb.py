"""GLB (binary glTF 2.0): morph targets, a skeleton, a texture; in metres, as glTF demands.

Targets are stored sparsely: only vertices that move more than a micrometre. Vertices are split
where the texture has a seam, by one index map for the base and all targets.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32
from scipy.spatial.transform import Rotation

from eval_now.geometry.normals import vertex_normals
from mica_ext.export.gltf.animation import Animation, animation_entry
from mica_ext.export.gltf.buffer import INDICES, VERTICES, Buffer
from mica_ext.export.surface import Surface, split_at_seams
from mica_ext.render.pictures import picture_bytes
from mica_ext.render.shading import to_linear

MIN_OFFSET = 1e-6  # [m] a vertex that moves less does not count as moved
MIN_NORMAL_CHANGE = 1e-3
"""Of a component; less is no change."""
_JPEG = ".jpg"


class MorphTarget(NamedTuple):
    """One expression: how far each vertex moves at weight 1."""

    name: str
    offsets: Float32[np.ndarray, "V 3"]  # [m]
    weight: float = 0.0
    """At which the mesh is shown to begin with."""


class Skeleton(NamedTuple):
    """Joints in their bind pose, parents before children."""

    names: Sequence[str]
    parents: Sequence[int]
    """-1 for the root."""
    positions: Float[np.ndarray, "J 3"]
    """[m]."""
    rotations: Float[np.ndarray, "J 3 3"]
    """From each joint's frame to the mesh's."""
    weights: Float[np.ndarray, "V J"]
    """Of the joints at each vertex; rows sum to 1."""


def glb_bytes(
    surface: Surface,
    targets: Sequence[MorphTarget],
    copyright_note: str,
    skeleton: Skeleton | None = None,
    animation: Animation | None = None,
) -> bytes:
    """The whole .glb file; an animation needs a skeleton, whose joints it turns."""
    source, corners, uv = split_at_seams(surface)
    buffer = Buffer()
    nodes: list[dict[str, object]] = [{"mesh": 0, "name": "head"}]
    document: dict[str, object] = {
        "asset": {"version": "2.0", "generator": "pacofr", "copyright": copyright_note},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": nodes,
        "meshes": [_mesh(buffer, surface, source, corners, uv, targets)],
        "materials": [_material(surface)],
    }
    if surface.texture is not None:
        view = buffer.add_view(picture_bytes(surface.texture, _JPEG))
        document["images"] = [{"bufferView": view, "mimeType": "image/jpeg", "name": "photo"}]
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987}]
        document["textures"] = [{"sampler": 0, "source": 0}]
    if skeleton is not None:
        meshes: list[dict] = document["meshes"]  # type: ignore[assignment]
        meshes[0]["primitives"][0]["attributes"] |= _influences(buffer, skeleton, source)
        nodes[0]["skin"] = 0
        document["skins"] = [_skin(buffer, skeleton, nodes)]
        document["scenes"] = [{"nodes": [0, 1]}]
    if animation is not None:
        document["animations"] = [animation_entry(buffer, animation, mesh_node=0, first_joint=1)]
    document |= {
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.content)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    parts = [_chunk(b"JSON", text), _chunk(b"BIN\0", bytes(buffer.content))]
    length = 12 + sum(len(part) for part in parts)
    return b"glTF" + np.array([2, length], "<u4").tobytes() + b"".join(parts)


def _mesh(
    buffer: Buffer,
    surface: Surface,
    source: Int32[np.ndarray, " N"],
    corners: Int32[np.ndarray, "F 3"],
    uv: Float32[np.ndarray, "N 2"] | None,
    targets: Sequence[MorphTarget],
) -> dict[str, object]:
    normals = vertex_normals(surface.vertices, surface.triangles)
    points = surface.vertices[source].astype(np.float32)
    attributes = {
        "POSITION": buffer.add(points, "VEC3", VERTICES, extent=True),
        "NORMAL": buffer.add(normals[source].astype(np.float32), "VEC3", VERTICES),
    }
    if surface.colours is not None and surface.texture is None:
        light = to_linear(surface.colours)[source]
        attributes["COLOR_0"] = buffer.add(light, "VEC3", VERTICES)
    if uv is not None:
        attributes["TEXCOORD_0"] = buffer.add(uv, "VEC2", VERTICES)
    primitive: dict[str, object] = {
        "attributes": attributes,
        "indices": buffer.add(corners.ravel().astype(np.uint32), "SCALAR", INDICES),
        "material": 0,
    }
    mesh: dict[str, object] = {"name": "head", "primitives": [primitive]}
    if targets:
        primitive["targets"] = [
            _target(buffer, surface, target, normals, source) for target in targets
        ]
        mesh["weights"] = [target.weight for target in targets]
        mesh["extras"] = {"targetNames": [target.name for target in targets]}
    return mesh


def _target(
    buffer: Buffer,
    surface: Surface,
    target: MorphTarget,
    normals: Float64[np.ndarray, "V 3"],
    source: Int32[np.ndarray, " N"],
) -> dict[str, int]:
    moved = vertex_normals(surface.vertices + target.offsets, surface.triangles) - normals
    change = moved.astype(np.float32)[source]
    return {
        "POSITION": buffer.add_sparse(target.offsets[source], MIN_OFFSET, extent=True),
        "NORMAL": buffer.add_sparse(change, MIN_NORMAL_CHANGE, extent=False),
    }


def _material(surface: Surface) -> dict[str, object]:
    plain = surface.colours is None and surface.texture is None
    tint = [0.57, 0.34, 0.25, 1.0] if plain else [1.0, 1.0, 1.0, 1.0]
    skin: dict[str, object] = {
        "baseColorFactor": tint,
        "metallicFactor": 0.0,
        "roughnessFactor": 0.6,
    }
    if surface.texture is not None:
        skin["baseColorTexture"] = {"index": 0}
    return {"name": "skin", "pbrMetallicRoughness": skin, "doubleSided": True}


def _influences(
    buffer: Buffer, skeleton: Skeleton, source: Int32[np.ndarray, " N"]
) -> dict[str, int]:
    """The four joints that move each vertex most, and their weights."""
    joints = np.argsort(-skeleton.weights, axis=1, kind="stable")[:, :4]
    weights = np.take_along_axis(skeleton.weights, joints, axis=1).clip(min=0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    joints = np.where(weights > 0, joints, 0)  # as glTF wants of unused ones
    return {
        "JOINTS_0": buffer.add(joints[source].astype(np.uint8), "VEC4", VERTICES),
        "WEIGHTS_0": buffer.add(weights[source].astype(np.float32), "VEC4", VERTICES),
    }


def _skin(buffer: Buffer, skeleton: Skeleton, nodes: list[dict[str, object]]) -> dict[str, object]:
    """Append the joints to `nodes`; returns the skin that binds the mesh to them."""
    first, count = len(nodes), len(skeleton.names)
    inverse = np.tile(np.eye(4), (count, 1, 1))
    for joint, (name, parent) in enumerate(zip(skeleton.names, skeleton.parents, strict=True)):
        turn, place = skeleton.rotations[joint], skeleton.positions[joint]
        inverse[joint, :3, :3], inverse[joint, :3, 3] = turn.T, -turn.T @ place
        node: dict[str, object] = {"name": name}
        if parent >= 0:
            above = skeleton.rotations[parent]
            place, turn = above.T @ (place - skeleton.positions[parent]), above.T @ turn
        node["translation"] = place.astype(float).tolist()
        if not np.allclose(turn, np.eye(3), atol=1e-7):
            node["rotation"] = Rotation.from_matrix(turn).as_quat().tolist()
        children = [first + k for k, own in enumerate(skeleton.parents) if own == joint]
        if children:
            node["children"] = children
        nodes.append(node)
    by_columns = inverse.transpose(0, 2, 1).reshape(count, 16).astype(np.float32)
    return {
        "joints": list(range(first, first + count)),
        "skeleton": first,
        "inverseBindMatrices": buffer.add(by_columns, "MAT4"),
    }


def _chunk(kind: bytes, content: bytes) -> bytes:
    content += bytes(-len(content) % 4)
    return np.uint32(len(content)).tobytes() + kind + content
