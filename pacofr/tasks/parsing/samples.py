"""Frames and label maps of parsing samples, as they are trained on and evaluated."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from pacofr.engine.batches.sampling import RankBatch
from pacofr.faces.align import compose
from pacofr.tasks.augment.matrices import about_centre, aligned_matrix
from pacofr.tasks.augment.photometric import vary_colour
from pacofr.tasks.augment.tanh_warp import warp_image
from pacofr.tasks.config import ParsingConfig
from pacofr.tasks.evaluation import EvaluationBatch
from pacofr.tasks.parsing.labels import read_photo_and_labels
from pacofr.tasks.records import FaceSample

SMALLEST_SCALE = 0.5
"""The normal distribution of scales is cut here, and at its mirror image 1.5."""


class ParsingBatch(NamedTuple):
    """Frames and their label maps."""

    frames: UInt8[Tensor, "b S S 3"]
    labels: UInt8[Tensor, "b S S"]


def frame_matrix(
    sample: FaceSample, photo: UInt8[np.ndarray, "H W 3"], size: int
) -> Float64[np.ndarray, "2 3"]:
    """Photo -> aligned frame of `size` px: by five points, or the whole of a square picture."""
    if sample.points is not None:
        return np.asarray(aligned_matrix(sample.points, size), np.float64)
    scale = size / max(photo.shape[:2])
    # identity at the labels' own size, as in the protocol; pixel corners on pixel corners else
    return np.array([[scale, 0.0, (scale - 1) / 2], [0.0, scale, (scale - 1) / 2]])


class ParsingReader:
    """Makes training batches; augmentations are functions of (seed, epoch, sample)."""

    def __init__(
        self, samples: Sequence[FaceSample], classes: int, config: ParsingConfig, seed: int
    ) -> None:
        self.samples, self.classes, self.config, self.seed = samples, classes, config, seed

    def __call__(self, batch: RankBatch) -> ParsingBatch:
        """The tensors of a step."""
        frames, labels = [], []
        for epoch, index in zip(batch.epoch.tolist(), batch.index.tolist(), strict=True):
            rng = np.random.default_rng((self.seed, epoch, index))
            frame, label = self.sample(index, rng)
            frames.append(frame)
            labels.append(label)
        return ParsingBatch(torch.from_numpy(np.stack(frames)), torch.from_numpy(np.stack(labels)))

    def sample(
        self, index: int, rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "S S 3"], UInt8[np.ndarray, "S S"]]:
        """An augmented frame and its labels."""
        config, size, warp = self.config, self.config.frame, self.config.warp
        assert size is not None
        assert warp is not None
        photo, labels = read_photo_and_labels(self.samples[index], self.classes)
        spread = 1 - SMALLEST_SCALE
        augment = about_centre(
            size,
            scale=1 + float(np.clip(config.scaling * rng.standard_normal(), -spread, spread)),
            angle=config.rotation * rng.standard_normal(),
            shift=config.shift * size * rng.uniform(-1, 1, 2),
        )
        matrix = compose(augment, frame_matrix(self.samples[index], photo, size))
        frame = warp_image(photo, matrix, size, warp)
        return vary_colour(frame, rng), warp_image(labels, matrix, size, warp, nearest=True)


class ParsingEvaluationReader:
    """Makes batches of frames as they are evaluated: aligned, not augmented."""

    def __init__(self, samples: Sequence[FaceSample], classes: int, size: int, warp: float) -> None:
        self.samples, self.classes, self.size, self.warp = samples, classes, size, warp

    def __call__(self, batch: RankBatch) -> EvaluationBatch:
        """The tensors of a batch."""
        frames, matrices = [], []
        for index in batch.index.tolist():
            photo, _ = read_photo_and_labels(self.samples[index], self.classes)
            matrix = frame_matrix(self.samples[index], photo, self.size)
            frames.append(warp_image(photo, matrix, self.size, self.warp))
            matrices.append(matrix)
        return EvaluationBatch.stack(frames, matrices, batch)
