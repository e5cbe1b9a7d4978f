"""MICA's identity network: ArcFace features, mapped to FLAME's identity coefficients.

Zielonka et al., "Towards Metrical Reconstruction of Human Faces" (ECCV 2022). The parameter names
are those of its checkpoints: `arcface.*`, and `regressor.*` of `flameModel`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mica_ext.identity.iresnet import FEATURES, LAYERS_100, IResNet

SHAPE_COUNT = 300
"""Identity coefficients of FLAME 2020."""
SLOPE = 0.2
"""Of the mapping network's leaky ReLU."""
HIDDEN_LAYERS = 4
OUTPUT_GAIN = 0.25
"""Factor on the last layer's initial weights: training begins near the mean head."""


class Identity(NamedTuple):
    """Identities of a batch of faces."""

    embedding: Float[Tensor, "B 512"]
    """ArcFace's features, of unit length."""
    shape: Float[Tensor, "B 300"]
    """Identity coefficients of FLAME 2020."""


class MappingNetwork(nn.Module):
    """Unit embeddings to identity coefficients: 512, four hidden layers of 300, 300."""

    def __init__(self) -> None:
        super().__init__()
        widths = [FEATURES] + [SHAPE_COUNT] * HIDDEN_LAYERS
        self.network = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.output = nn.Linear(SHAPE_COUNT, SHAPE_COUNT)
        for layer in self.network:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_normal_(layer.weight, a=SLOPE, mode="fan_in", nonlinearity="leaky_relu")
        nn.init.kaiming_normal_(self.output.weight, mode="fan_in", nonlinearity="linear")
        self.output.weight.data.mul_(OUTPUT_GAIN)

    def forward(self, embedding: Float[Tensor, "B 512"]) -> Float[Tensor, "B 300"]:
        """Identity coefficients, in standard deviations."""
        hidden = embedding
        for layer in self.network:
            hidden = F.leaky_relu(layer(hidden), SLOPE)
        return self.output(hidden)


class IdentityNetwork(nn.Module):
    """ArcFace crops to identities."""

    def __init__(self, layers: Sequence[int] = LAYERS_100) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.arcface = IResNet(layers)
        self.regressor = MappingNetwork()

    def forward(self, images: Float[Tensor, "B 3 112 112"]) -> Identity:
        """Identities in RGB crops in [-1, 1] (`AlignedFace.arcface`)."""
        return self.from_features(self.arcface(images))

    def from_features(self, features: Float[Tensor, "B 512"]) -> Identity:
        """Identities from ArcFace's features of any length."""
        embedding = F.normalize(features)
        return Identity(embedding, self.regressor(embedding))
