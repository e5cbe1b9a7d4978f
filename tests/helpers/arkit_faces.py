"""A person with a known expression on a head of ARKit's convention."""

import torch

from flame_assets.arkit import arkit
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from mica_ext.editing.expression import MOVEMENT

WEIGHTS = {
    "jawOpen": 0.3,
    "mouthSmileLeft": 0.6,
    "mouthSmileRight": 0.5,
    "browInnerUp": 0.4,
    "eyeLookUpLeft": 0.4,
    "eyeLookUpRight": 0.4,
}


def of_weights(head: HeadModel, weights: dict[str, float]) -> HeadParameters:
    """Parameters of a person who is not the mean."""
    shape = torch.zeros(1, head.shape_count)
    shape[0, :4] = torch.tensor([1.0, -0.8, 0.5, 1.2])
    rows = (torch.from_numpy(value[None]) for value in arkit(weights, head.expression_names))
    moving = dict(zip(MOVEMENT, rows, strict=True))
    return HeadParameters.zeros(head)._replace(shape=shape, **moving)
