"""Which samples make which step: a pure function of (seed, epoch) for any number of processes.

The *global* batch of step s holds positions s*B to (s+1)*B of the epoch's shuffled order; what is
left at an epoch's end is dropped, as the paper's 2,777 steps of 720 from 2 million images imply.
A rank loads its contiguous share. Nothing has state, so resuming is starting at another step.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int64
from torch.utils.data import DataLoader, Dataset, Sampler

from pacofr.engine.distributed import World, share
from pacofr.engine.signals import ignore_stop_signals
from pacofr.errors import UserError

Batch = TypeVar("Batch")


class Share(NamedTuple):
    """This rank's part of one global batch."""

    epoch: int
    positions: Int64[np.ndarray, " b"]  # positions in the dataset


class Schedule(NamedTuple):
    """Steps of a run over `samples` samples in global batches of `batch`."""

    samples: int
    batch: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.samples // self.batch

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.epochs

    def check(self, world: World) -> None:
        """Refuse what cannot make a single step."""
        if self.samples < self.batch:
            raise UserError(
                f"expected at least one batch of {self.batch} images, got {self.samples} images;"
                f" give more data or --batch-size {max(1, self.samples)}"
            )
        if self.batch < world.size:
            raise UserError(
                f"expected at least one image for each of {world.size} processes, got a batch of"
                f" {self.batch}; start fewer processes or raise --batch-size"
            )

    def epoch_of(self, step: int) -> int:
        """Epoch that step `step` (from 0) belongs to."""
        return step // self.steps_per_epoch

    def order(self, epoch: int) -> Int64[np.ndarray, " n"]:
        """All dataset positions in the order of this epoch."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.samples)


class ShareSampler(Sampler[Share]):
    """The shares of one rank from `first_step` to the end."""

    def __init__(self, schedule: Schedule, world: World, first_step: int) -> None:
        self.schedule, self.world, self.first_step = schedule, world, first_step

    def __len__(self) -> int:
        """Steps still to be done."""
        return max(0, self.schedule.total_steps - self.first_step)

    def __iter__(self) -> Iterator[Share]:
        """Yield a share per step."""
        schedule, epoch, order = self.schedule, -1, np.empty(0, np.int64)
        for step in range(self.first_step, schedule.total_steps):
            if schedule.epoch_of(step) != epoch:
                epoch = schedule.epoch_of(step)
                order = schedule.order(epoch)
            begin = step % schedule.steps_per_epoch * schedule.batch
            yield Share(epoch, share(order[begin : begin + schedule.batch], self.world))


class _Failure(NamedTuple):
    message: str


class _Reader(Dataset):
    """Hands a user's error back as a value, for a worker would bury it under a traceback."""

    def __init__(self, read: Callable) -> None:
        self.read = read

    def __getitem__(self, share: Share) -> object:
        try:
            return self.read(share)
        except UserError as error:
            return _Failure(str(error))


def iterate(
    read: Callable[[Share], Batch], sampler: ShareSampler, *, workers: int, pin: bool
) -> Iterator[Batch]:
    """Batches of the remaining steps, read ahead by `workers` processes (0: in this one)."""
    loader = DataLoader(
        _Reader(read),
        sampler=sampler,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=ignore_stop_signals if workers else None,
        prefetch_factor=4 if workers else None,
    )
    batches = iter(loader)
    while True:
        try:
            batch = next(batches, None)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise UserError(
                f"a process that reads crops was lost ({str(error).splitlines()[0]}); is memory"
                " short, or shared memory (in a container: --shm-size)? Give the same command again"
                " to go on, with --data.workers 0 to read without such processes"
            ) from error
        if batch is None:
            return
        if isinstance(batch, _Failure):
            raise UserError(batch.message)
        yield batch
