"""Every expression of a head as a morph target for one person."""

import numpy as np
import torch

from flame_assets.anthro import EXPRESSIONS, arkit
from flame_assets.flame import Flame, HeadParameters
from flame_assets.head import HeadModel
from mica_ext.gltf import MorphTarget

AT_ONCE = 8


@torch.inference_mode()
def morph_targets(head: HeadModel, parameters: HeadParameters) -> list[MorphTarget]:
    """Offsets from neutral of each expression at weight 1, for the identity and head pose given.

    Jaw and eye turns that belong to an ARKit expression (jawOpen, eyeLook...) are part of it.
    """
    flame = Flame(head)
    rest = torch.zeros_like(parameters.expression)
    still = torch.zeros_like(parameters.jaw_pose)
    neutral = parameters._replace(
        expression=rest, jaw_pose=still, left_eye_pose=still, right_eye_pose=still
    )
    base = flame(neutral).vertices
    targets = []
    for start in range(0, head.expression_count, AT_ONCE):
        names = head.expression_names[start : start + AT_ONCE]
        batch = HeadParameters(*(part.repeat(len(names), 1) for part in neutral))
        for row, name in enumerate(names):
            batch.expression[row, start + row] = 1.0
            if head.expression_names == EXPRESSIONS:
                turns = arkit({name: 1.0})
                batch.jaw_pose[row] = torch.from_numpy(turns.jaw_pose)
                batch.left_eye_pose[row] = torch.from_numpy(turns.left_eye_pose)
                batch.right_eye_pose[row] = torch.from_numpy(turns.right_eye_pose)
        offsets = (flame(batch).vertices - base).numpy().astype(np.float32)
        targets += [MorphTarget(name, move) for name, move in zip(names, offsets, strict=True)]
    return targets
