"""How much of a head's movement a mesh shows."""

from typing import Literal

import torch

from flame_assets.model.head_module import HeadParameters

Pose = Literal["expressive", "neutral", "posed"]
"""expressive: expression, jaw and eyes, the head straight; neutral: identity alone; posed: all."""


def in_pose(parameters: HeadParameters, pose: Pose) -> HeadParameters:
    """`parameters` with the movement that `pose` leaves out set to zero."""
    zero = torch.zeros_like(parameters.global_pose)
    if pose == "expressive":
        return parameters._replace(global_pose=zero, neck_pose=zero)
    if pose == "neutral":
        no_expression = torch.zeros_like(parameters.expression)
        return HeadParameters(parameters.shape, no_expression, zero, zero, zero, zero, zero)
    return parameters
