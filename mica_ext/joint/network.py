"""JointNetwork: MICA's identity network and an expression network side by side."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.network import ExpressionNetwork
from mica_ext.identity.network import IdentityNetwork


class JointOutput(NamedTuple):
    """What both networks read in a batch of faces."""

    shape: Float[Tensor, "B S"]
    """Identity coefficients."""
    movement: BranchOutput


class JointNetwork(nn.Module):
    """Both crops of a face to its identity and its movement; the networks share no weights."""

    def __init__(self, identity: IdentityNetwork, expression: ExpressionNetwork) -> None:
        super().__init__()
        self.identity, self.expression = identity, expression

    def forward(
        self, arcface: Float[Tensor, "B 3 112 112"], crops: Float[Tensor, "B 3 S S"]
    ) -> JointOutput:
        """Read ArcFace crops in [-1, 1] and the encoder's windows in [0, 1] of the same faces.

        No gradient passes ArcFace's first three stages, which MICA keeps.
        """
        with torch.no_grad():
            stem = self.identity.arcface.stem(arcface)
        features = self.identity.arcface.head(stem)
        return JointOutput(self.identity.from_features(features).shape, self.expression(crops))
