"""A head's mesh with everything that files can hold of it."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from eval_now.io.mesh_writers import Group
from flame_assets.model.head import HeadModel

GROUPS = ("eyeball", "teeth", "tongue", "mouth_inside")
"""Regions whose name contains one of these are groups of their own; the rest is skin."""


class Surface(NamedTuple):
    """A triangle mesh in metres, y up, z out of the face."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int32[np.ndarray, "F 3"]
    colours: Float[np.ndarray, "V 3"] | None = None  # sRGB in [0, 1]
    uv: Float[np.ndarray, "T 2"] | None = None
    uv_triangles: Int32[np.ndarray, "F 3"] | None = None
    groups: tuple[Group, ...] = ()
    """Runs of triangles with names."""
    texture: UInt8[np.ndarray, "size size 3"] | None = None
    """SRGB, for `uv`."""


def surface_of(
    head: HeadModel,
    vertices: Float[np.ndarray, "V 3"],
    texture: UInt8[np.ndarray, "size size 3"] | None = None,
) -> Surface:
    """Vertices [m] with the head's triangles, texture coordinates, groups, and colours.

    With a texture, the colours are the texture's at the vertices.
    """
    colours = head.colours
    if texture is not None and head.uv is not None and head.uv_triangles is not None:
        colours = _texture_colours(
            head.uv, head.uv_triangles, head.triangles, texture, len(vertices)
        )
    return Surface(
        vertices, head.triangles, colours, head.uv, head.uv_triangles, groups_of(head), texture
    )


@lru_cache(maxsize=4)
def groups_of(head: HeadModel) -> tuple[Group, ...]:
    """The parts of a head as runs of its triangles; none if it marks no parts."""
    label = np.zeros(len(head.triangles), np.int64)
    names = ["skin"]
    for name in sorted(head.regions):
        if any(part in name for part in GROUPS):
            inside = np.zeros(head.vertices_count, bool)
            inside[head.regions[name]] = True
            label[inside[head.triangles].all(axis=1)] = len(names)
            names.append(name)
    if len(names) == 1:
        return ()
    starts = np.flatnonzero(np.r_[True, label[1:] != label[:-1]])
    return tuple(Group(names[label[start]], int(start)) for start in starts)


class SplitSurface(NamedTuple):
    """A surface whose vertices have one place in the texture each, as glTF and WebGL need them."""

    source: Int32[np.ndarray, " N"]
    """The vertex that each of them was."""
    triangles: Int32[np.ndarray, "F 3"]
    uv: Float32[np.ndarray, "N 2"] | None
    """v counts downwards."""


def split_at_seams(surface: Surface) -> SplitSurface:
    """Vertices split where the texture has a seam."""
    if surface.uv is None or surface.uv_triangles is None:
        source = np.arange(len(surface.vertices), dtype=np.int32)
        return SplitSurface(source, surface.triangles, None)
    pairs = np.stack([surface.triangles.ravel(), surface.uv_triangles.ravel()], axis=1)
    unique, corners = np.unique(pairs, axis=0, return_inverse=True)
    uv = surface.uv[unique[:, 1]].astype(np.float32) * [1, -1] + [0, 1]
    triangles = corners.reshape(-1, 3).astype(np.int32)
    return SplitSurface(unique[:, 0].astype(np.int32), triangles, uv.astype(np.float32))


def texture_path(mesh: Path) -> Path:
    """The texture's file beside a mesh file."""
    return mesh.with_name(f"{mesh.stem}.texture.png")


def material_path(mesh: Path) -> Path:
    """The material's file beside an OBJ file."""
    return mesh.with_suffix(".mtl")


def _texture_colours(
    uv: Float[np.ndarray, "T 2"],
    uv_triangles: Int32[np.ndarray, "F 3"],
    triangles: Int32[np.ndarray, "F 3"],
    texture: UInt8[np.ndarray, "size size 3"],
    count: int,
) -> Float[np.ndarray, "V 3"]:
    """The texel at each vertex, at one of its places where it has several."""
    place = np.zeros(count, np.int64)
    place[triangles.ravel()] = uv_triangles.ravel()
    size = len(texture)
    column = np.clip(np.rint(uv[place, 0] * size - 0.5), 0, size - 1).astype(int)
    row = np.clip(np.rint((1 - uv[place, 1]) * size - 0.5), 0, size - 1).astype(int)
    return (texture[row, column] / np.float32(255)).astype(np.float32)
