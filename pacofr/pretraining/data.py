"""Training images of pre-training: crops of a folder of shards, resized and mirrored."""

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from pacofr.data.remote.location import Location
from pacofr.data.shards import ShardDataset
from pacofr.faces.align import CANVAS_PX, CROP_PX
from pacofr.pretraining.config import DataConfig
from pacofr.utils.counter_rng import Stream, uniforms

WINDOW = CROP_PX / CANVAS_PX
"""Side of the random window over that of the crop: 224 of 256."""


class ShardCrops:
    """The crops of a folder of shards, augmented as `config` says.

    The flip and the window of a crop are functions of (seed, epoch, position), so that every
    process, worker and resumed run gets the same image.

    Args:
        folder: written by `pacofr curate`.
        side: side of the images returned [px].
        config: resizing and mirroring.
        seed: of the random draws.
    """

    def __init__(self, folder: Location | str, *, side: int, config: DataConfig, seed: int) -> None:
        self.dataset = ShardDataset(folder, config.cache)
        self.side, self.config, self.seed = side, config, seed

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the crops or their order."""
        return self.dataset.index.fingerprint

    def read(self, epoch: int, positions: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 H W"]:
        """RGB crops at `positions` of the data set, [b, 3, side, side]."""
        window = uniforms(self.seed, epoch, positions, Stream.CROP, 2)
        out = self._sized_all(positions, window)
        mirrored = self.mirrors(epoch, positions)
        out[mirrored] = out[mirrored][..., ::-1]
        return out

    def mirrors(self, epoch: int, positions: Int64[np.ndarray, " b"]) -> Bool[np.ndarray, " b"]:
        """Which of the crops `read` mirrors."""
        drawn = uniforms(self.seed, epoch, positions, Stream.FLIP, 1)[:, 0] < 0.5
        return drawn & self.config.flip

    def unmirrored(self, positions: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 H W"]:
        """RGB crops at `positions` that no draw changes; random windows are none."""
        return self._sized_all(positions, np.zeros((len(positions), 2)))

    def _sized_all(
        self, positions: Int64[np.ndarray, " b"], window: Float64[np.ndarray, "b 2"]
    ) -> UInt8[np.ndarray, "b 3 H W"]:
        out = np.empty((len(positions), 3, self.side, self.side), np.uint8)
        for row, position in enumerate(positions):
            image = self._sized(int(position), window[row])
            out[row] = image[..., ::-1].transpose(2, 0, 1)
        return out

    def _sized(self, position: int, window: np.ndarray) -> UInt8[np.ndarray, "side side 3"]:
        canvas = self.dataset.index.canvas
        scale = WINDOW if self.config.resize == "random_crop" else 1.0
        reduction = next((r for r in (4, 2) if canvas * scale >= r * self.side), 1)
        image = self.dataset.decode(position, reduction=reduction)
        if self.config.resize == "random_crop":
            side = round(len(image) * WINDOW)
            y, x = (window * (len(image) - side + 1)).astype(int)
            image = image[y : y + side, x : x + side]
        if len(image) == self.side:
            return image
        # at most halved here, mostly 256 -> 224: bilinear suffices, at a fifth of INTER_AREA's cost
        return cv2.resize(image, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
