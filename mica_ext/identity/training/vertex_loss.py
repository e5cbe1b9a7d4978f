"""MICA's loss: weighted L1 distance of neutral vertices.

    loss = 1000 / (3 B V) sum |w_v (v_predicted - v_true)|      vertices in metres

Zielonka et al. (ECCV 2022); weights as in MICA's `utils/masking.py`, which uses of its configured
ones those of the face, over those of eyeballs and ears, over that of the rest.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from flame_assets.model.head import HeadModel
from mica_ext.errors import UserError
from mica_ext.identity.network import SHAPE_COUNT

FACE, EYEBALLS, EARS, ELSEWHERE = 150.0, 0.01, 0.01, 1.0
"""Weights of MICA's regions."""
SCALE = 1000.0
"""Loss per metre."""
EYEBALL_REGIONS = ("left_eyeball", "right_eyeball")
EAR_REGIONS = ("left_ear", "right_ear")


def region_weights(head: HeadModel, regions: Literal["mica", "uniform"]) -> Float[Tensor, " V"]:
    """Weights of the vertices.

    Raises:
        UserError: the head lacks the regions.
    """
    weights = torch.full((head.vertices_count,), ELSEWHERE)
    if regions == "uniform":
        return weights
    for names, weight in ((EYEBALL_REGIONS, EYEBALLS), (EAR_REGIONS, EARS), (("face",), FACE)):
        for name in names:
            if name not in head.regions:
                raise UserError(
                    f"the head {head.name} has no region {name}, which MICA's loss weighs: convert "
                    "FLAME again with --masks FLAME_masks.zip, or give --regions uniform"
                )
            weights[torch.from_numpy(np.array(head.regions[name])).long()] = weight
    return weights


class VertexLoss(nn.Module):
    """Weighted L1 distance of two identities' neutral vertices.

    Neutral vertices at rest are linear in the identity, so the distance is that of the basis times
    the difference of the coefficients.
    """

    basis: Float[Tensor, "300 v 3"]
    weights: Float[Tensor, " V"]

    def __init__(self, head: HeadModel, regions: Literal["mica", "uniform"]) -> None:
        super().__init__()
        basis = torch.tensor(head.shape_basis[:, :, :SHAPE_COUNT]).permute(2, 0, 1).contiguous()
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("weights", region_weights(head, regions), persistent=False)

    def forward(
        self, predicted: Float[Tensor, "*n 300"], truth: Float[Tensor, "*n 300"]
    ) -> Float[Tensor, ""]:
        """The loss of identity coefficients."""
        return SCALE * (self.offsets(predicted, truth).abs() * self.weights[:, None]).mean()

    def offsets(
        self, predicted: Float[Tensor, "*n 300"], truth: Float[Tensor, "*n 300"]
    ) -> Float[Tensor, "*n V 3"]:
        """Predicted less true neutral vertices [m]."""
        return torch.einsum("...s,svc->...vc", (predicted - truth).float(), self.basis)
