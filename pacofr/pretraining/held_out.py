"""Crops kept out of training, and the error of reconstructing them."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import nn

from pacofr.engine.device import Precision, mixed_precision
from pacofr.errors import UserError
from pacofr.pretraining.config import PretrainConfig
from pacofr.pretraining.crops import CropDataset, FixedCrops
from pacofr.pretraining.method.masking import sample_masks

BATCH = 64


class CropSplit(NamedTuple):
    """The crops of a data set in two parts."""

    training: CropDataset
    held_out: CropDataset


class SomeCrops:
    """The crops at some positions of a data set, by a rule: no table of millions of positions.

    Of every `spacing` crops the last one is held out, until `count` are.
    """

    def __init__(self, crops: CropDataset, count: int, *, held_out: bool) -> None:
        if not 0 < count <= len(crops) // 2:
            raise UserError(
                f"expected to hold out at most half of {len(crops)} crops, got"
                f" --data.held-out {count}"
            )
        self._crops, self._count, self._held_out = crops, count, held_out
        self._spacing = len(crops) // count

    def __len__(self) -> int:
        return self._count if self._held_out else len(self._crops) - self._count

    @property
    def fingerprint(self) -> str:
        """That of the whole data set."""
        return self._crops.fingerprint

    def positions(self, index: Int64[np.ndarray, " b"]) -> Int64[np.ndarray, " b"]:
        """Positions in the whole data set."""
        if self._held_out:
            return (index + 1) * self._spacing - 1
        return index + np.minimum(index // (self._spacing - 1), self._count)

    def read(self, epoch: int, positions: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 H W"]:
        """RGB crops at `positions` of this part."""
        return self._crops.read(epoch, self.positions(positions))

    def unmirrored(self, positions: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 H W"]:
        """`FixedCrops.unmirrored` of this part."""
        assert isinstance(self._crops, FixedCrops)
        return self._crops.unmirrored(self.positions(positions))

    def mirrors(self, epoch: int, positions: Int64[np.ndarray, " b"]) -> Bool[np.ndarray, " b"]:
        """`FixedCrops.mirrors` of this part."""
        assert isinstance(self._crops, FixedCrops)
        return self._crops.mirrors(epoch, self.positions(positions))


def split_crops(crops: CropDataset, held_out: int) -> CropSplit:
    """Hold out so many crops, evenly over the data set.

    Raises:
        UserError: more than half of them.
    """
    return CropSplit(
        SomeCrops(crops, held_out, held_out=False), SomeCrops(crops, held_out, held_out=True)
    )


@torch.no_grad()
def held_out_error(
    model: nn.Module,
    crops: CropDataset,
    config: PretrainConfig,
    device: torch.device,
    precision: Precision,
) -> dict[str, float]:
    """Mean squared error of the masked patches of held-out crops, ImageNet-normalised.

    The masks are the same at every call. "held_out_mse" is that of the candidates that the model
    chooses, "held_out_mse_random" that of random ones: what a choice tells of the patch is the
    difference.
    """
    sums = np.zeros(2)
    for begin in range(0, len(crops), BATCH):
        index = np.arange(begin, min(begin + BATCH, len(crops)))
        images = torch.from_numpy(crops.read(0, index)).to(device) / 255
        drawn = sample_masks(config.seed, 0, index, config.model, config.masking)
        masks = {name: torch.from_numpy(m).to(device) for name, m in drawn._asdict().items()}
        for row, random in enumerate((False, True)):
            masks["use_random"] = masks["mask"] & random
            with mixed_precision(device, precision):
                output = model(images, **masks, mse_over="masked")
            sums[row] += float(output.mse.sum())
    chosen, random = (sums / len(crops)).tolist()
    if config.model.codebook.candidates == 1:
        return {"held_out_mse": chosen}
    return {"held_out_mse": chosen, "held_out_mse_random": random}
