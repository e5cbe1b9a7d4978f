"""The belief predictor (Sec. 3.3): probabilities of the n candidate tokens for every patch.

Its labels are eq. 5 (`belief_labels`), its loss is eq. 6 (`losses.belief_cross_entropy`). It is
trained during incubation only: `PretrainConfig.incubation_steps` says how long,
`masking.sample_masks` draws which of its choices a random token replaces meanwhile, and
`train.Pretraining.begin_stage` freezes it afterwards.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pacofr.models.vit import init_linear
from pacofr.pretraining.config import PaCoFRConfig


class BeliefPredictor(nn.Module):
    """An MLP shared by all patches, conditioned on the position.

    The paper calls it "lightweight" and gives no architecture. Candidate j differs from position to
    position, so a learned embedding of the position is added to the first hidden layer.
    """

    def __init__(self, config: PaCoFRConfig) -> None:
        super().__init__()
        hidden, candidates = config.predictor.hidden, config.codebook.candidates
        self.fc1 = nn.Linear(config.encoder.patch_values, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, candidates)
        self.apply(init_linear)
        conditioned = config.predictor.position_condition
        self.position = (
            nn.Parameter(torch.empty(config.encoder.patches, hidden).normal_(std=0.02))
            if conditioned
            else None
        )

    def forward(self, patches: Float[Tensor, "B K P"]) -> Float[Tensor, "B K n"]:
        """Logits of p(t_i^j | I_i); a softmax over the last axis makes them probabilities."""
        hidden = self.fc1(patches)
        if self.position is not None:
            hidden = hidden + self.position
        return self.fc3(F.gelu(self.fc2(F.gelu(hidden))))


def belief_labels(
    candidates: Float[Tensor, "n B K P"], patches: Float[Tensor, "B K P"]
) -> Int64[Tensor, "B K"]:
    """Eq. 5: the candidate whose decoded pixels are most similar to the patch.

    The paper prints the argmin of the cosine and says "the most similar"; this is the argmax.
    """
    return F.cosine_similarity(candidates.float(), patches.float(), dim=-1).argmax(dim=0)
