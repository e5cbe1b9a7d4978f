"""Running a task model over the samples of a split, in batches that worker processes read."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pacofr.engine.batches.loader import BatchLoader
from pacofr.engine.batches.sampling import Orders, RankBatch, RankSampler
from pacofr.engine.distributed import World

BATCH_SIZE = 16

Scores = dict[str, dict[str, float]]
"""Measures [%] by subset and name."""


class EvaluationBatch(NamedTuple):
    """Frames, and how they were cut out."""

    frames: UInt8[Tensor, "b S S 3"]
    matrices: Float[Tensor, "b 2 3"]
    """Photo -> frame."""
    index: Tensor
    """[b] Positions of the samples."""

    @classmethod
    def stack(
        cls, frames: list[np.ndarray], matrices: list[np.ndarray], batch: RankBatch
    ) -> "EvaluationBatch":
        """The batch of some frames [S, S, 3] and matrices [2, 3]."""
        return cls(
            torch.from_numpy(np.stack(frames)),
            torch.from_numpy(np.stack(matrices).astype(np.float32)),
            torch.from_numpy(batch.index),
        )


class SequentialPlan(NamedTuple):
    """Every sample once, in order."""

    samples: int
    batch_size: int

    @property
    def steps(self) -> int:
        """Batches in all; the last one may be smaller."""
        return math.ceil(self.samples / self.batch_size)

    def epoch(self, step: int) -> int:
        """There is one pass."""
        return 0

    def global_batch(self, step: int, orders: Orders) -> RankBatch:
        """Batch number `step`."""
        stop = min(self.samples, (step + 1) * self.batch_size)
        index = np.arange(step * self.batch_size, stop)
        return RankBatch(np.zeros_like(index), np.zeros_like(index), index)


def evaluation_batches(
    read: Callable[[RankBatch], EvaluationBatch], samples: int, device: torch.device, workers: int
) -> Iterator[EvaluationBatch]:
    """All samples in order, on the device."""
    plan = SequentialPlan(samples, BATCH_SIZE)
    sampler = RankSampler(plan, World(0, 1, device), 0, plan.steps)
    batches = BatchLoader(read, sampler, workers=workers, pin=device.type == "cuda")
    with contextlib.closing(batches):
        for batch in batches:
            yield EvaluationBatch(*(tensor.to(device, non_blocking=True) for tensor in batch))


def to_images(frames: UInt8[Tensor, "b S S 3"]) -> Float[Tensor, "b 3 S S"]:
    """Frames as the encoders take them: RGB in [0, 1], channels first."""
    return frames.permute(0, 3, 1, 2).float() / 255
