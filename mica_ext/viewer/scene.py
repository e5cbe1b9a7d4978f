"""What a page shows, and the JSON in which the page holds it.

The page's data, version 1. `B` is an index into `buffers`; arrays are little-endian, row-major, and
base64. V vertices, N drawn vertices (split at texture seams), F triangles, J joints, T frames,
K targets.

    format, version      "mica-ext view", 1
    title, notes         text
    lighting             of the shader: see `render.shading.Lighting`; inner, texture_shade
    buffers              [{type: float32 | int16 | uint8 | uint16 | uint32, data: base64}, ...]
    mesh
      vertices           B float32 [V,3] m, the rest shape: x to the subject's left, y up
      source             B uint32 [N], the vertex of each drawn vertex
      triangles          B uint32 [F,3], of drawn vertices
      uv                 B float32 [N,2], v down; null without texture coordinates
      colours, face      B uint8 [V,3] sRGB of the clay; B uint8 [V], 255 on the face
      light              B uint8 [V]: 4 (light / 255)^2 on the texture is the photo's; null: 1
      targets            [{name, weight, ids: B uint32 [n], offsets: B int16 [n,3], scale: m}, ...]
      joints             {names, parents, positions [J,3] m, weights: B uint16 [V,J] of 65535,
                         rotations [J,3]: axis-angle of the pose that is shown}
    texture              data URL of a JPEG, or null
    photo                {image: data URL, size, focal_px, centre_px, translation: camera of the
                         photo (`models.projection`), rotations [J,3] of the head in it}, or null
    animation            {times: B float32 [T] s, weights: B int16 [T,K], weight_scale,
                         rotations: B int16 [T,J,3], rotation_scale: rad}, or null

Vertices = skin(rest + sum of weight * scale * offsets, joints), as in the GLB of the same face.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32, UInt8

from mica_ext.export.gltf.glb import MIN_OFFSET, MorphTarget, Skeleton
from mica_ext.export.surface import Surface, split_at_seams
from mica_ext.render.clay import SOFT_LIGHT
from mica_ext.render.shading import INNER_BRIGHTNESS
from mica_ext.render.textured import SHADE_SHARE
from mica_ext.viewer.buffers import BufferTable, quantise
from mica_ext.viewer.pictures import data_url

FORMAT, VERSION = "mica-ext view", 1
LIGHT_RANGE = 4.0
"""Largest factor of the photo's light."""


class PhotoView(NamedTuple):
    """A photo to lay the head over, and the camera and pose in which it fits."""

    picture: UInt8[np.ndarray, "H W 3"]
    focal_px: float
    centre_px: tuple[float, float]
    translation: tuple[float, float, float]
    """[m]."""
    rotations: Float[np.ndarray, "J 3"]
    """Axis-angle of the joints [rad]."""


class Animation(NamedTuple):
    """A clip: what the targets and joints of a page do, frame by frame."""

    times: Float[np.ndarray, " T"]
    """From the start [s], ascending."""
    weights: Float[np.ndarray, "T K"]
    """Of the page's targets, in their order."""
    rotations: Float[np.ndarray, "T J 3"]
    """Axis-angle of the joints relative to their parents [rad], applied after the targets."""


class Scene(NamedTuple):
    """One head with everything that its page can show of it."""

    title: str
    notes: Sequence[str]
    """Lines about what made it."""
    surface: Surface
    """The rest shape; colours are those of the clay."""
    face_weights: Float[np.ndarray, " V"]
    """1 on the face, 0 where the photo is not covered."""
    targets: Sequence[MorphTarget]
    skeleton: Skeleton
    """At rest."""
    rotations: Float[np.ndarray, "J 3"]
    """Axis-angle of the joints in the pose that is shown [rad]."""
    photo: PhotoView | None = None
    animation: Animation | None = None
    photo_light: Float[np.ndarray, " V"] | None = None
    """Factors on the linear texture that bring back the photo's light."""


def scene_json(scene: Scene) -> dict[str, object]:
    """The page's data; see the module's docstring."""
    table = BufferTable()
    texture = scene.surface.texture
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": scene.title,
        "notes": list(scene.notes),
        "lighting": lighting_json(),
        "mesh": {
            **surface_json(table, scene.surface),
            "face": table.add(_bytes(scene.face_weights)),
            "light": None
            if scene.photo_light is None
            else table.add(_bytes(np.sqrt(scene.photo_light / LIGHT_RANGE))),
            "targets": [_target_json(table, target) for target in scene.targets],
            "joints": _joints_json(table, scene.skeleton, scene.rotations),
        },
        "texture": None if texture is None else data_url(texture),
        "photo": None if scene.photo is None else _photo_json(scene.photo),
        "animation": None
        if scene.animation is None
        else _animation_json(table, scene.animation, len(scene.targets)),
        "buffers": table.entries,
    }


def surface_json(table: BufferTable, surface: Surface) -> dict[str, object]:
    """The entry of a mesh without targets: vertices, source, triangles, uv, colours."""
    split = split_at_seams(surface)
    colours = surface.colours
    return {
        "vertices": table.add(np.asarray(surface.vertices, np.float32)),
        "source": table.add(split.source.astype(np.uint32)),
        "triangles": table.add(split.triangles.astype(np.uint32)),
        "uv": None if split.uv is None else table.add(split.uv),
        "colours": None if colours is None else table.add(_bytes(colours)),
    }


def lighting_json() -> dict[str, object]:
    """The clay's light, for the shader."""
    light = SOFT_LIGHT
    return {
        "directions": light.directions,
        "intensities": light.intensities,
        "sky": light.sky,
        "ground": light.ground,
        "wrap": light.wrap,
        "specular": light.specular,
        "inner": float(INNER_BRIGHTNESS),
        "texture_shade": SHADE_SHARE,
    }


def _target_json(table: BufferTable, target: MorphTarget) -> dict[str, object]:
    moved: Int32[np.ndarray, " n"] = np.flatnonzero(
        np.abs(target.offsets).max(axis=1, initial=0.0) > MIN_OFFSET
    ).astype(np.int32)
    offsets = quantise(target.offsets[moved])
    return {
        "name": target.name,
        "weight": float(target.weight),
        "ids": table.add(moved.astype(np.uint32)),
        "offsets": table.add(offsets.integers),
        "scale": offsets.scale,
    }


def _joints_json(
    table: BufferTable, skeleton: Skeleton, rotations: Float[np.ndarray, "J 3"]
) -> dict[str, object]:
    weights = np.clip(skeleton.weights, 0, None)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return {
        "names": list(skeleton.names),
        "parents": list(skeleton.parents),
        "positions": np.asarray(skeleton.positions, float).tolist(),
        "weights": table.add(np.rint(weights * 65535).astype(np.uint16)),
        "rotations": np.asarray(rotations, float).tolist(),
    }


def _photo_json(photo: PhotoView) -> dict[str, object]:
    height, width = photo.picture.shape[:2]
    return {
        "image": data_url(photo.picture),
        "size": [width, height],
        "focal_px": photo.focal_px,
        "centre_px": photo.centre_px,
        "translation": photo.translation,
        "rotations": np.asarray(photo.rotations, float).tolist(),
    }


def _animation_json(table: BufferTable, animation: Animation, targets: int) -> dict[str, object]:
    if animation.weights.shape[1] != targets:
        raise ValueError(
            f"Animation.weights: expected {targets} columns, got {animation.weights.shape[1]}"
        )
    weights, rotations = quantise(animation.weights), quantise(animation.rotations)
    return {
        "times": table.add(np.asarray(animation.times, np.float32)),
        "weights": table.add(weights.integers),
        "weight_scale": weights.scale,
        "rotations": table.add(rotations.integers),
        "rotation_scale": rotations.scale,
    }


def _bytes(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
