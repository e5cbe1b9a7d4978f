"""A face at rest and every expression of its head as a morph target, for one person."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.arkit import arkit
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.export.gltf import STILL, MorphTarget

AT_ONCE = 8
PHOTO = "photo"
"""Name of the target that holds what is left of the photo's face."""


class Morphs(NamedTuple):
    """rest + sum of weight x offsets is the face of the parameters."""

    rest: Float[Tensor, "V 3"]
    """Vertices [m] without expression; jaw and eyes at rest."""
    targets: list[MorphTarget]


@torch.no_grad()
def morphs(head: HeadModel, parameters: HeadParameters) -> Morphs:
    """The face of `parameters`, a batch of one, taken apart; identity and head pose stay.

    Jaw and eye turns that belong to an ARKit expression (jawOpen, eyeLook...) are part of its
    target. A turn is not linear, and the photo's jaw and gaze are no expression: what the weighted
    targets leave over is a target of its own, at weight 1. Set it to 0 to animate the face.
    """
    flame = HeadDecoder(head)
    still = torch.zeros_like(parameters.jaw_pose)
    neutral = parameters._replace(
        expression=torch.zeros_like(parameters.expression),
        jaw_pose=still,
        left_eye_pose=still,
        right_eye_pose=still,
    )
    rest = flame(neutral).vertices[0]
    weights = parameters.expression[0].tolist()
    targets = []
    for start in range(0, head.expression_count, AT_ONCE):
        names = head.expression_names[start : start + AT_ONCE]
        batch = HeadParameters(*(part.repeat(len(names), 1) for part in neutral))
        for row, name in enumerate(names):
            batch.expression[row, start + row] = 1.0
            if head.expression_convention == "arkit":
                turns = arkit({name: 1.0})
                batch.jaw_pose[row] = torch.from_numpy(turns.jaw_pose)
                batch.left_eye_pose[row] = torch.from_numpy(turns.left_eye_pose)
                batch.right_eye_pose[row] = torch.from_numpy(turns.right_eye_pose)
        offsets = (flame(batch).vertices - rest).numpy().astype(np.float32)
        shown = weights[start : start + AT_ONCE]
        targets += [MorphTarget(*each) for each in zip(names, offsets, shown, strict=True)]
    left = (flame(parameters).vertices[0] - rest).numpy().astype(np.float32)
    left -= sum(target.weight * target.offsets for target in targets)
    if np.abs(left).max() > STILL:
        targets.append(MorphTarget(PHOTO, left, 1.0))
    return Morphs(rest, targets)
