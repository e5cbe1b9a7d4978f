"""The belief predictor (Sec. 3.3): from a patch and its position to a belief about n candidates."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pacofr.models.vit import init_linear
from pacofr.pretraining.config import PaCoFRConfig


class BeliefPredictor(nn.Module):
    """A shared MLP over patches, conditioned on the position.

    The paper says "lightweight" and no more. Candidate j means something else at each position,
    so a patch alone cannot tell it: a learned embedding of the position joins the hidden layer.
    """

    def __init__(self, config: PaCoFRConfig) -> None:
        super().__init__()
        hidden, candidates = config.predictor.hidden, config.codebook.candidates
        self.enter = nn.Linear(config.encoder.patch_values, hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.leave = nn.Linear(hidden, candidates)
        self.apply(init_linear)
        conditioned = config.predictor.position_condition
        self.position = (
            nn.Parameter(torch.empty(config.encoder.patches, hidden).normal_(std=0.02))
            if conditioned
            else None
        )

    def forward(self, patches: Float[Tensor, "B K P"]) -> Float[Tensor, "B K n"]:
        """Logits of p(t_i^j | I_i); a softmax over the last axis makes them probabilities."""
        hidden = self.enter(patches)
        if self.position is not None:
            hidden = hidden + self.position
        return self.leave(F.gelu(self.mix(F.gelu(hidden))))
