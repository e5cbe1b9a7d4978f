"""The belief predictor (Sec. 3.3): probabilities of the n candidate tokens for every patch.

Its labels are eq. 5 (`belief_labels`), its loss is eq. 6 (`losses.belief_cross_entropy`). It is
trained during incubation only: `PretrainConfig.incubation_steps` says how long,
`masking.sample_masks` draws which of its choices a random token replaces meanwhile, and
`train.Pretraining.begin_stage` freezes it afterwards. What it reads (`PredictorConfig.reads`) is
the patch itself in the paper; `visible_neighbourhood` makes the input that does not contain it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
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
        self.reads = config.predictor.reads
        values = config.encoder.patch_values
        inputs = {"patch": values, "context": 9 * values, "encoder": config.encoder.width}
        self.fc1 = nn.Linear(inputs[self.reads], hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, candidates)
        self.apply(init_linear)
        conditioned = config.predictor.position_condition
        self.position = (
            nn.Parameter(torch.empty(config.encoder.patches, hidden).normal_(std=0.02))
            if conditioned
            else None
        )

    def forward(
        self, patches: Float[Tensor, "B K P"], mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B K n"]:
        """Logits of p(t_i^j | I_i); a softmax over the last axis makes them probabilities.

        Args:
            patches: pixels; the encoder's tokens if that is what it reads.
            mask: true at masked patches, which a predictor that reads the context does not see.
        """
        if self.reads == "context":
            patches = visible_neighbourhood(patches, mask)
        hidden = self.fc1(patches)
        if self.position is not None:
            hidden = hidden + self.position
        return self.fc3(F.gelu(self.fc2(F.gelu(hidden))))


def visible_neighbourhood(
    patches: Float[Tensor, "B K P"], mask: Bool[Tensor, "B K"]
) -> Float[Tensor, "B K Q"]:
    """Each patch's 3 x 3 neighbourhood, masked patches and those outside as zeros (mean colour)."""
    grid = round(patches.shape[1] ** 0.5)
    visible = torch.where(mask[..., None], 0.0, patches)
    maps = visible.transpose(1, 2).unflatten(2, (grid, grid))
    return F.unfold(maps, kernel_size=3, padding=1).transpose(1, 2)
