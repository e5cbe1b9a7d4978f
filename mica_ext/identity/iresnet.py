"""IResNet, ArcFace's face recognition network, with the parameter names of its PyTorch release.

Duta et al., "Improved Residual Networks for Image and Video Recognition" (2020), as insightface's
`arcface_torch` trains it and MICA's checkpoints store it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

LAYERS_100 = (3, 13, 30, 3)
"""Blocks per stage of IResNet-100."""
WIDTHS = (64, 128, 256, 512)
FEATURES = 512
GRID = 7
"""Side of the last feature map of a 112-pixel crop."""


class IBasicBlock(nn.Module):
    """Batch norm, convolution, batch norm, PReLU, convolution, batch norm; with a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = (
            nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride != 1 or width_in != width
            else None
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B c h w"]:
        """The block's output; the first block of a stage halves height and width."""
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        out = self.bn3(self.conv2(out))
        return out + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """112-pixel ArcFace crops to 512 features; IResNet-100 by default."""

    def __init__(self, layers: Sequence[int] = LAYERS_100) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        stages, width_in = [], WIDTHS[0]
        for blocks, width in zip(layers, WIDTHS, strict=True):
            first = IBasicBlock(width_in, width, 2)
            stages.append(
                nn.Sequential(first, *(IBasicBlock(width, width, 1) for _ in range(blocks - 1)))
            )
            width_in = width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn2 = nn.BatchNorm2d(width_in)
        self.fc = nn.Linear(width_in * GRID * GRID, FEATURES)
        self.features = nn.BatchNorm1d(FEATURES)
        nn.init.constant_(self.features.weight, 1.0)
        self.features.weight.requires_grad = False

    def stem(self, images: Float[Tensor, "B 3 112 112"]) -> Float[Tensor, "B 256 14 14"]:
        """The part that MICA keeps as ArcFace trained it: up to the third stage."""
        x = self.prelu(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(x)))

    def stem_modules(self) -> tuple[nn.Module, ...]:
        """The modules of `stem`."""
        return (self.conv1, self.bn1, self.prelu, self.layer1, self.layer2, self.layer3)

    def head(self, x: Float[Tensor, "B 256 14 14"]) -> Float[Tensor, "B 512"]:
        """The part that MICA trains further."""
        x = self.bn2(self.layer4(x))
        return self.features(self.fc(torch.flatten(x, 1)))

    def forward(self, images: Float[Tensor, "B 3 112 112"]) -> Float[Tensor, "B 512"]:
        """Features of RGB crops in [-1, 1]; their direction tells the person."""
        return self.head(self.stem(images))
