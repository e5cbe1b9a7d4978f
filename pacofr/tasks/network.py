"""Necks and decoder for dense prediction: a feature pyramid of encoder blocks, and UPerHead.

UPerNet's decoder (Xiao et al. 2018) as mmsegmentation has it, on top of FaRL's necks.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class LevelNecks(nn.Module):
    """Feature maps of four encoder blocks, all of one grid g, to 4g, 2g, g and g / 2."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = (width, width, channels, channels)
        """Channels of the four outputs."""
        self.up4 = nn.Sequential(
            nn.ConvTranspose2d(channels, width, 2, 2),
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.ConvTranspose2d(width, width, 2, 2),
        )
        self.up2 = nn.ConvTranspose2d(channels, width, 2, 2)
        self.down2 = nn.MaxPool2d(2, 2)

    def forward(
        self, levels: Sequence[Float[Tensor, "B D g g"]]
    ) -> tuple[Float[Tensor, "B W g4 g4"], Float[Tensor, "B W g2 g2"], Tensor, Tensor]:
        """The pyramid, fine to coarse."""
        first, second, third, last = levels
        return self.up4(first), self.up2(second), third, self.down2(last)


class ConvModule(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class PyramidPooling(nn.Module):
    """Context of the coarsest level: its means over coarse grids beside it (Zhao et al. 2017)."""

    def __init__(self, inputs: int, width: int, scales: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvModule(inputs, width, 1))
            for scale in scales
        )
        self.bottleneck = ConvModule(inputs + len(scales) * width, width, 3)

    def forward(self, level: Float[Tensor, "B D h w"]) -> Float[Tensor, "B W h w"]:
        """The level with its context."""
        pooled = [_resize(branch(level), level) for branch in self.branches]
        return self.bottleneck(torch.cat([level, *pooled], dim=1))


class UPerHead(nn.Module):
    """A feature pyramid to logits on its finest grid."""

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        outputs: int,
        *,
        pool_scales: tuple[int, ...] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        *finer, coarsest = channels
        self.pooling = PyramidPooling(coarsest, width, pool_scales)
        self.laterals = nn.ModuleList(ConvModule(inputs, width, 1) for inputs in finer)
        self.smooths = nn.ModuleList(ConvModule(width, width, 3) for _ in finer)
        self.fuse = ConvModule(len(channels) * width, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, outputs, 1)
        self.apply(_init)
        nn.init.normal_(self.classify.weight, std=0.01)

    @property
    def bias(self) -> Tensor:
        """[outputs] Of the logits."""
        assert self.classify.bias is not None
        return self.classify.bias

    def forward(self, pyramid: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K _ _"]:
        """Logits on the grid of `pyramid[0]`."""
        *finer, coarsest = pyramid
        levels = [lateral(level) for lateral, level in zip(self.laterals, finer, strict=True)]
        levels.append(self.pooling(coarsest))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + _resize(levels[i], levels[i - 1])
        smoothed = [s(level) for s, level in zip(self.smooths, levels[:-1], strict=True)]
        smoothed.append(levels[-1])
        fused = self.fuse(torch.cat([_resize(level, levels[0]) for level in smoothed], dim=1))
        return self.classify(self.dropout(fused))


def _resize(level: Tensor, like: Tensor) -> Tensor:
    if level.shape[-2:] == like.shape[-2:]:
        return level
    return F.interpolate(level, like.shape[-2:], mode="bilinear", align_corners=False)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
