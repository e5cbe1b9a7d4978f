"""The blendshape network of Face Mesh V2: 146 points to 52 scores, an MLP-Mixer (Tolstikhin 2021).

The product does not use it. MediaPipe publishes its outputs for one input, which proves the reader
of .task files without MediaPipe's own runtime.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pacofr.faces.face_mesh.task_file import CONV_2D, fill_network

BLENDSHAPES_FILE = "face_blendshapes.tflite"
CONCATENATION, MUL = 2, 18
"""Values of TensorFlow Lite's `BuiltinOperator`."""
INPUT_POINTS = np.array(
    [
        *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63),
        *(65, 66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132),
        *(133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162),
        *(163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269),
        *(270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314),
        *(317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378),
        *(379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415),
        *(454, 466, *range(468, 478)),
    ]
)
"""Which of the 478 points the network takes."""
SCORES = 52
TOKENS, CHANNELS = 97, 64
TOKENS_MIDDLE, CHANNELS_MIDDLE = 384, 256
BLOCKS = 4


class MixerBlock(nn.Module):
    """Mixes tokens, then channels: [B,97,64] -> [B,97,64]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1_weight = nn.Parameter(torch.ones(CHANNELS))
        self.tokens1 = nn.Linear(TOKENS, TOKENS_MIDDLE)
        self.tokens2 = nn.Linear(TOKENS_MIDDLE, TOKENS)
        self.norm2_weight = nn.Parameter(torch.ones(CHANNELS))
        self.channels1 = nn.Linear(CHANNELS, CHANNELS_MIDDLE)
        self.channels2 = nn.Linear(CHANNELS_MIDDLE, CHANNELS)

    def forward(self, x: Float[Tensor, "B 97 64"]) -> Float[Tensor, "B 97 64"]:
        """Both residual steps."""
        y = F.layer_norm(x, (CHANNELS,), self.norm1_weight, eps=1e-6).mT
        x = x + self.tokens2(F.relu(self.tokens1(y))).mT
        y = F.layer_norm(x, (CHANNELS,), self.norm2_weight, eps=1e-6)
        return x + self.channels2(F.relu(self.channels1(y)))


class BlendshapeNetwork(nn.Module):
    """Points to scores; weights come from `load_blendshapes`."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Linear(len(INPUT_POINTS), TOKENS - 1)
        self.channel_embedding = nn.Linear(2, CHANNELS)
        self.extra_token = nn.Parameter(torch.zeros(1, 1, CHANNELS))
        self.blocks = nn.Sequential(*(MixerBlock() for _ in range(BLOCKS)))
        self.head = nn.Linear(CHANNELS, SCORES)

    def forward(self, points_px: Float[Tensor, "B 478 2"]) -> Float[Tensor, "B 52"]:
        """Points [px of the photo] to scores in [0,1]: "_neutral", then ARKit's 51 but tongueOut.

        Of another frame than the photo's, only scale and offset do not matter.
        """
        points = points_px[:, torch.from_numpy(INPUT_POINTS)]
        points = points - points.mean(1, keepdim=True)
        points = 0.5 * points / points.norm(dim=2, keepdim=True).mean(1, keepdim=True)
        x = self.channel_embedding(self.token_embedding(points.mT).mT)
        x = torch.cat([self.extra_token.expand(len(x), -1, -1), x], 1)
        return self.head(self.blocks(x)[:, 0]).sigmoid()


def load_blendshapes(path: Path) -> BlendshapeNetwork:
    """The blendshape network of a .task file, ready for inference."""
    network = BlendshapeNetwork()
    fill_network(network, _parameters(network), path, BLENDSHAPES_FILE)
    return network


def _parameters(network: BlendshapeNetwork) -> Iterator[tuple[int, Tensor]]:
    def layer(module: nn.Linear) -> Iterator[tuple[int, Tensor]]:
        yield CONV_2D, module.weight
        yield CONV_2D, module.bias

    yield from layer(network.token_embedding)
    yield from layer(network.channel_embedding)
    yield CONCATENATION, network.extra_token
    for block in network.blocks:
        yield MUL, block.norm1_weight
        yield from layer(block.tokens1)
        yield from layer(block.tokens2)
        yield MUL, block.norm2_weight
        yield from layer(block.channels1)
        yield from layer(block.channels2)
    yield from layer(network.head)
