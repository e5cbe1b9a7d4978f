"""The network of Face Mesh V2: RGB crops of a face to 478 points, as its .tflite file has it."""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pacofr.faces.face_mesh.topology import POINTS

CROP = 256
"""Side of the crops that the network was trained on [px]."""
STAGES = ((16, 16), (16, 32), (32, 64), (64, 128), (128, 128), (128, 128), (128, 128))
"""Channels (in, out) of the stages; all but the first begin with a block that halves the side."""
REPEATS = 4
"""Blocks of a stage that keep the side."""


class FaceMeshOutput(NamedTuple):
    """Points of a batch of crops."""

    points: Float[Tensor, "B 478 3"]
    """x, y in crop pixels from the crop's corner; z in the same unit, larger is farther away."""
    face_logit: Float[Tensor, " B"]
    """Is a face there: real ones have 3.1 or more, backs of heads less than 0."""


class Block(nn.Module):
    """Bottleneck with a depthwise convolution beside a short cut: [B,I,H,W] -> [B,O,h,w]."""

    def __init__(self, inputs: int, outputs: int, *, down: bool = False) -> None:
        super().__init__()
        middle = max(inputs, outputs) // 2
        size = 2 if down else 1
        self.down, self.grow = down, outputs - inputs
        self.reduce = nn.Conv2d(inputs, middle, size, size)
        self.reduce_prelu = nn.PReLU(middle)
        self.depthwise = nn.Conv2d(middle, middle, 3, 1, 1, groups=middle)
        self.expand = nn.Conv2d(middle, outputs, 1)
        self.prelu = nn.PReLU(outputs)

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """The block's features."""
        y = self.expand(self.depthwise(self.reduce_prelu(self.reduce(x))))
        if self.down:
            x = F.max_pool2d(x, 2)
        if self.grow:
            x = F.pad(x, (0, 0, 0, 0, 0, self.grow))
        return self.prelu(x + y)


class FaceMeshNetwork(nn.Module):
    """Crops to points; weights come from `load_face_mesh`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2)
        self.stem_prelu = nn.PReLU(16)
        blocks = []
        for number, (inputs, outputs) in enumerate(STAGES):
            if number:
                blocks.append(Block(inputs, outputs, down=True))
            blocks.extend(Block(outputs, outputs) for _ in range(REPEATS))
        self.blocks = nn.Sequential(*blocks)
        self.unused_head = nn.Conv2d(128, 1, 2)  # a third output of the file, of unknown meaning
        self.face_head = nn.Conv2d(128, 1, 2)
        self.points_head = nn.Conv2d(128, 3 * POINTS, 2)

    def forward(self, crops: Float[Tensor, "B 3 256 256"]) -> FaceMeshOutput:
        """RGB crops in [0,1] to points in crop pixels."""
        x = F.pad(crops, (0, 1, 0, 1))  # TensorFlow's SAME padding at stride 2
        x = self.blocks(self.stem_prelu(self.stem(x)))
        points = self.points_head(x).reshape(-1, POINTS, 3)
        return FaceMeshOutput(points, self.face_head(x).flatten())
