"""Animations of glTF 2.0: weights of morph targets, turns of joints and the root over time."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from mica_ext.export.gltf.buffer import Buffer


class Animation(NamedTuple):
    """Key frames, linear in between."""

    name: str
    times_s: Float64[np.ndarray, " N"]
    """Increasing, from 0 [s]."""
    weights: Float[np.ndarray, "N T"]
    """Of the morph targets."""
    rotations: dict[int, Float64[np.ndarray, "N 4"]]
    """Quaternions (x, y, z, w) of joints by their number, within their parents."""
    root_translation: Float64[np.ndarray, "N 3"]
    """Of joint 0 [m]."""


def animation_entry(
    buffer: Buffer, animation: Animation, *, mesh_node: int, first_joint: int
) -> dict[str, object]:
    """The entry of the document; key frames go into `buffer`.

    Args:
        buffer: of the file.
        animation: at least one key frame.
        mesh_node: number of the node whose mesh has the targets.
        first_joint: number of joint 0's node; the others follow it.
    """
    times = animation.times_s.astype(np.float32)[:, None]
    moments = buffer.add(times, "SCALAR", extent=True)
    samplers: list[dict[str, object]] = []
    channels: list[dict[str, object]] = []

    def channel(output: int, node: int, path: str) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": moments, "output": output, "interpolation": "LINEAR"})

    if animation.weights.shape[1]:
        flat = animation.weights.astype(np.float32).reshape(-1)
        channel(buffer.add(flat, "SCALAR"), mesh_node, "weights")
    for joint, quaternions in animation.rotations.items():
        keys = _continuous(quaternions).astype(np.float32)
        channel(buffer.add(keys, "VEC4"), first_joint + joint, "rotation")
    way = animation.root_translation.astype(np.float32)
    channel(buffer.add(way, "VEC3"), first_joint, "translation")
    return {"name": animation.name, "samplers": samplers, "channels": channels}


def _continuous(quaternions: Float64[np.ndarray, "N 4"]) -> Float64[np.ndarray, "N 4"]:
    """The same rotations, each on the side of the one before; q and -q are one rotation."""
    flips = (quaternions[1:] * quaternions[:-1]).sum(1) < 0
    sign = np.cumprod(np.r_[1.0, np.where(flips, -1.0, 1.0)])
    return quaternions * sign[:, None]
