"""All crops of a small set as bytes on the training device, so that no step waits for a reader."""

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from pacofr.errors import UserError
from pacofr.pretraining.crops import FixedCrops

CHUNK = 512
"""Crops decoded at a time."""
MOST_MEMORY = 0.5
"""Fraction of a GPU's free memory that the crops may take."""


class DeviceCrops:
    """The crops of a data set on a device, given back as its `read` does, bit by bit.

    Args:
        crops: decoded once, here.
        device: where they are held.

    Raises:
        UserError: a GPU's memory is too small.
    """

    def __init__(self, crops: FixedCrops, device: torch.device) -> None:
        first = torch.from_numpy(crops.unmirrored(np.arange(1)))
        needed = len(crops) * first[0].numel()
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if needed > MOST_MEMORY * free:
                raise UserError(
                    f"--data.on-device: expected {len(crops)} crops to take at most"
                    f" {MOST_MEMORY * free / 1e9:.1f} GB, half of the GPU's free memory, they take"
                    f" {needed / 1e9:.1f} GB; leave it out"
                )
        self._pixels = torch.empty(len(crops), *first.shape[1:], dtype=torch.uint8, device=device)
        for begin in range(0, len(crops), CHUNK):
            positions = np.arange(begin, min(begin + CHUNK, len(crops)))
            part = torch.from_numpy(crops.unmirrored(positions))
            self._pixels[begin : begin + len(part)] = part.to(device)

    def images(self, places: Int64[Tensor, "b 2"]) -> UInt8[Tensor, "b 3 H W"]:
        """The crops at some places (`crop_places`)."""
        found = self._pixels[places[:, 0]]
        return torch.where(places[:, 1, None, None, None] > 0, found.flip(-1), found)


def crop_places(
    crops: FixedCrops, epoch: int, positions: Int64[np.ndarray, " b"]
) -> Int64[np.ndarray, "b 2"]:
    """What `DeviceCrops.images` needs to know of an epoch's crops: position, 1 if mirrored."""
    return np.stack([positions, crops.mirrors(epoch, positions)], axis=1).astype(np.int64)
