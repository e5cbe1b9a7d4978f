"""A face without expression, and every expression of its head as a morph target, for one person."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.arkit import arkit
from flame_assets.model.head import JOINT_NAMES
from flame_assets.model.head_module import HeadDecoder, HeadMesh, HeadParameters
from flame_assets.model.lbs import rotation_matrices
from mica_ext.export.gltf.glb import MIN_OFFSET, MorphTarget, Skeleton

BATCH = 8
"""Expressions decoded at a time."""
PHOTO_TARGET = "photo"
"""Name of the target that holds what the expression targets do not reproduce."""


class NamedTargets(NamedTuple):
    """Targets that stand in for a head's own expressions."""

    targets: list[MorphTarget]
    note: str
    """Whose shapes they are, with the licence."""


class Morphs(NamedTuple):
    """rest + sum of weight * offsets reproduces the face of the parameters."""

    rest: Float[Tensor, "V 3"]
    """Vertices [m] without expression; jaw and eyes at rest."""
    targets: list[MorphTarget]
    skeleton: Skeleton
    """The head's joints as in `rest`."""


@torch.no_grad()
def morphs(
    decoder: HeadDecoder,
    parameters: HeadParameters,
    named: NamedTargets | None = None,
) -> Morphs:
    """The face of `parameters`, a batch of one, as a rest shape and morph targets.

    Identity and head pose are part of the rest shape. Jaw and eye rotations that belong to an ARKit
    expression (jawOpen, eyeLook...) are part of its target. Rotations are not linear, and jaw and
    gaze of the photo are not expressions: what the weighted targets do not reproduce is a target
    of its own at weight 1. Set it to 0 to animate the face.

    `named` targets, with their weights, stand in for the head's own expressions.
    """
    zero = torch.zeros_like(parameters.jaw_pose)
    neutral = parameters._replace(
        expression=torch.zeros_like(parameters.expression),
        jaw_pose=zero,
        left_eye_pose=zero,
        right_eye_pose=zero,
    )
    mesh = decoder(neutral)
    rest = mesh.vertices[0]
    targets = (
        _own_targets(decoder, parameters, neutral, rest) if named is None else [*named.targets]
    )
    remainder = (decoder(parameters).vertices[0] - rest).numpy().astype(np.float32)
    remainder -= sum(target.weight * target.offsets for target in targets)
    if np.abs(remainder).max() > MIN_OFFSET:
        targets.append(MorphTarget(PHOTO_TARGET, remainder, 1.0))
    return Morphs(rest, targets, _skeleton(decoder, neutral, mesh))


@torch.no_grad()
def morphs_without_joints(decoder: HeadDecoder, shape: Float[Tensor, "1 S"]) -> Morphs:
    """An identity at rest, and the head's own expressions without the turns of jaw and eyes.

    For animations that turn these joints of the skeleton themselves: both together are the head's
    own model, but for what lids touch.
    """
    neutral = HeadParameters.zeros(decoder.head)._replace(shape=shape)
    mesh = decoder(neutral)
    targets = _own_targets(decoder, neutral, neutral, mesh.vertices[0], with_joints=False)
    return Morphs(mesh.vertices[0], targets, _skeleton(decoder, neutral, mesh))


def _own_targets(
    decoder: HeadDecoder,
    parameters: HeadParameters,
    neutral: HeadParameters,
    rest: Float[Tensor, "V 3"],
    *,
    with_joints: bool = True,
) -> list[MorphTarget]:
    """The head's expressions, on the face `neutral`."""
    head = decoder.head
    weights = parameters.expression[0].tolist()
    targets = []
    for start in range(0, head.expression_count, BATCH):
        names = head.expression_names[start : start + BATCH]
        batch = HeadParameters(*(values.repeat(len(names), 1) for values in neutral))
        for row, name in enumerate(names):
            batch.expression[row, start + row] = 1.0
            if with_joints and head.expression_convention == "arkit":
                pose = arkit({name: 1.0})
                batch.jaw_pose[row] = torch.from_numpy(pose.jaw_pose)
                batch.left_eye_pose[row] = torch.from_numpy(pose.left_eye_pose)
                batch.right_eye_pose[row] = torch.from_numpy(pose.right_eye_pose)
        offsets = (decoder(batch).vertices - rest).numpy().astype(np.float32)
        own_weights = weights[start : start + BATCH]
        targets += [MorphTarget(*row) for row in zip(names, offsets, own_weights, strict=True)]
    return targets


def _skeleton(decoder: HeadDecoder, neutral: HeadParameters, mesh: HeadMesh) -> Skeleton:
    """The joints where they are in `mesh`, turned as the head and the neck are."""
    head = decoder.head
    local = rotation_matrices(torch.stack(neutral[2:], 1))[0].double().numpy()
    rotations = local.copy()
    for joint, parent in enumerate(head.joint_parents):
        if parent >= 0:
            rotations[joint] = rotations[parent] @ local[joint]
    return Skeleton(
        JOINT_NAMES,
        head.joint_parents,
        mesh.joints[0].double().numpy(),
        rotations,
        head.skinning_weights,
    )
