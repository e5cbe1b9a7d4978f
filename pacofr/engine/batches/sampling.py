"""Which samples make up which step of a run.

A sampling plan maps a step number to the *global* batch: (source, epoch, index) of every sample, a
pure function of the seed. A rank reads its contiguous slice of it. Nothing has state, so resuming a
run is starting at another step.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64
from torch.utils.data import Sampler

from pacofr.engine.distributed import World, rank_slice
from pacofr.errors import UserError

Orders = dict[int, tuple[int, Int64[np.ndarray, " n"]]]
"""Source -> (epoch, its order): the last one used, for a permutation of millions takes time."""


class RankBatch(NamedTuple):
    """The samples of one step, or one rank's slice of them."""

    source: Int64[np.ndarray, " b"]
    """Number of the data set that each sample comes from."""
    epoch: Int64[np.ndarray, " b"]
    """Pass over that data set."""
    index: Int64[np.ndarray, " b"]
    """Position in that data set."""


@runtime_checkable
class SamplingPlan(Protocol):
    """Which samples make up which step of a run."""

    @property
    def batch_size(self) -> int:
        """Samples of a global batch."""
        ...

    def epoch(self, step: int) -> int:
        """Pass over the (first) data set that step `step` belongs to."""
        ...

    def global_batch(self, step: int, orders: Orders) -> RankBatch:
        """The samples of step `step`; `orders` is the caller's cache of permutations."""
        ...


@dataclasses.dataclass(frozen=True)
class EpochPlan:
    """Whole shuffled epochs of one data set in batches; the remainder of an epoch is dropped.

    That is what the paper's 2,777 steps of 720 from 2 million images imply.
    """

    samples: int
    batch_size: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.samples // self.batch_size

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.steps_per_epoch * self.epochs

    def check(self, world: World) -> None:
        """Raise a `UserError` if there is not a single step, or no image for some rank."""
        if self.samples < self.batch_size:
            raise UserError(
                f"expected at least one batch of {self.batch_size} images, got {self.samples}"
                f" images; give more data or --batch-size {max(1, self.samples)}"
            )
        if self.batch_size < world.size:
            raise UserError(
                f"expected at least one image for each of {world.size} processes, got a batch of"
                f" {self.batch_size}; start fewer processes or raise --batch-size"
            )

    def epoch(self, step: int) -> int:
        """Epoch that step `step` (from 0) belongs to."""
        return step // self.steps_per_epoch

    def order(self, epoch: int) -> Int64[np.ndarray, " n"]:
        """All positions of the data set in the order of this epoch."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.samples)

    def global_batch(self, step: int, orders: Orders) -> RankBatch:
        """Samples s*B to (s+1)*B of the epoch's order."""
        epoch = self.epoch(step)
        if 0 not in orders or orders[0][0] != epoch:
            orders[0] = epoch, self.order(epoch)
        begin = step % self.steps_per_epoch * self.batch_size
        index = orders[0][1][begin : begin + self.batch_size]
        return RankBatch(np.zeros(len(index), np.int64), np.full(len(index), epoch), index)


class MixtureSource(NamedTuple):
    """One data set of a mixture."""

    samples: int
    per_batch: int
    """Samples that it gives to every step."""
    stream: int
    """Distinguishes the random draws of data sets under the same seed."""


@dataclasses.dataclass(frozen=True)
class MixturePlan:
    """A fixed number of samples from each of several data sets in every step.

    Each data set is passed over again and again, shuffled anew; batches may span two epochs.
    """

    sources: tuple[MixtureSource, ...]
    seed: int
    first_step: int = 0
    """The step of the run at which the first epochs begin."""

    @property
    def batch_size(self) -> int:
        """Samples of a global batch."""
        return sum(source.per_batch for source in self.sources)

    def epoch(self, step: int) -> int:
        """Epoch of the first data set at step `step` of the run."""
        return (step - self.first_step) * self.sources[0].per_batch // self.sources[0].samples

    def global_batch(self, step: int, orders: Orders) -> RankBatch:
        """Samples of all data sets, one data set after the other."""
        rows = []
        for number, source in enumerate(self.sources):
            first = (step - self.first_step) * source.per_batch
            for position in range(first, first + source.per_batch):
                epoch, row = divmod(position, source.samples)
                if number not in orders or orders[number][0] != epoch:
                    rng = np.random.default_rng((self.seed, source.stream, epoch))
                    orders[number] = epoch, rng.permutation(source.samples)
                rows.append((number, epoch, int(orders[number][1][row])))
        return RankBatch(*np.array(rows, np.int64).T)


class RankSampler(Sampler[RankBatch]):
    """This rank's slices of the global batches of steps `first_step` to `end_step` - 1."""

    def __init__(self, plan: SamplingPlan, world: World, first_step: int, end_step: int) -> None:
        self.plan, self.world = plan, world
        self.first_step, self.end_step = first_step, end_step

    def __len__(self) -> int:
        """Steps still to be done."""
        return max(0, self.end_step - self.first_step)

    def __iter__(self) -> Iterator[RankBatch]:
        """One slice per step."""
        orders: Orders = {}
        for step in range(self.first_step, self.end_step):
            whole = self.plan.global_batch(step, orders)
            own = rank_slice(len(whole.index), self.world)
            yield RankBatch(*(column[own] for column in whole))
