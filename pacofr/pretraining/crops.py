"""What pre-training reads its images from."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64, UInt8


@runtime_checkable
class CropDataset(Protocol):
    """Face crops by position; augmentations are functions of (seed, epoch, position)."""

    def __len__(self) -> int:
        """Number of crops."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the crops or their order."""
        ...

    def read(self, epoch: int, positions: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 H W"]:
        """RGB crops at the model's input size."""
        ...


@runtime_checkable
class FixedCrops(CropDataset, Protocol):
    """Crops whose only augmentation is that some are mirrored."""

    def unmirrored(self, positions: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 H W"]:
        """RGB crops as they are."""
        ...

    def mirrors(self, epoch: int, positions: Int64[np.ndarray, " b"]) -> Bool[np.ndarray, " b"]:
        """Which of them `read` mirrors in this epoch."""
        ...
