"""Reading the batches of a run ahead of its steps, in worker processes."""

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

from pacofr.engine.batches.sampling import RankBatch, RankSampler
from pacofr.errors import UserError

Batch = TypeVar("Batch")


class _Failure(NamedTuple):
    message: str


class _Reader(Dataset):
    """Returns a user's error as a value, for a worker would bury it under a traceback."""

    def __init__(self, read: Callable) -> None:
        self.read = read

    def __getitem__(self, batch: RankBatch) -> object:
        try:
            return self.read(batch)
        except Exception as error:
            if not hasattr(error, "exit_code"):
                raise
            return _Failure(str(error))


class BatchLoader(Generic[Batch]):
    """Iterator over the batches of the remaining steps; close it, whatever happens.

    Args:
        read: makes a batch of the samples asked for; runs in the workers, so it must be picklable
            where processes are spawned.
        workers: reading processes; 0 reads in this process.
        pin: whether to copy batches to page-locked memory (for CUDA).
    """

    def __init__(
        self, read: Callable[[RankBatch], Batch], sampler: RankSampler, *, workers: int, pin: bool
    ) -> None:
        with warnings.catch_warnings():  # more readers than cores are no harm: they wait for disks
            warnings.filterwarnings("ignore", "This DataLoader will create")
            loader = DataLoader(
                _Reader(read),
                sampler=sampler,
                batch_size=None,
                num_workers=workers,
                pin_memory=pin,
                worker_init_fn=partial(_prepare_worker, os.getpid()) if workers else None,
                prefetch_factor=4 if workers else None,
                generator=torch.Generator(),  # else every iterator draws from the global generator
            )
            with _kept_child_handler():
                self._batches: Any = iter(loader)
        # multiprocessing joins its children at exit, for ever if one of them does not end
        atexit.register(self.close)

    def __iter__(self) -> "BatchLoader[Batch]":
        return self

    def __next__(self) -> Batch:
        try:
            batch = next(self._batches)
        except (RuntimeError, ConnectionError, EOFError) as error:
            # a batch whose reader has gone cannot be taken over: its socket is closed
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(
                f"a process that reads crops was lost ({first}); {LOST_READER}"
            ) from error
        if isinstance(batch, _Failure):
            raise UserError(batch.message)
        return cast(Batch, batch)

    def close(self) -> None:
        """End the reading processes."""
        atexit.unregister(self.close)
        workers = getattr(self._batches, "_workers", ())
        try:
            with contextlib.suppress(RuntimeError):  # a reader that was lost already
                getattr(self._batches, "_shutdown_workers", _nothing)()
        finally:
            for worker in workers:
                worker.kill()  # one in the middle of a batch: readers ignore SIGTERM
                worker.join(5.0)


def _nothing() -> None:
    pass


LOST_READER = (
    "is memory short, or shared memory (in a container: --shm-size)? Give the same command again to"
    " go on, with --workers 0 (pacofr pretrain: --data.workers 0) to read without such processes"
)


@contextlib.contextmanager
def _kept_child_handler() -> Iterator[None]:
    """Keep the process's handler of SIGCHLD, for torch's own raises wherever the main thread is.

    A lost reader is found without it, by the `next` that waits for a batch (within 5 s).
    """
    handled = sys.platform != "win32" and threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD) if handled else None
    yield
    if handled:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def _prepare_worker(parent: int, _number: int) -> None:
    """In a reading process: the main process alone decides when to stop, and takes it along.

    SIGTERM and Ctrl-C reach a whole group of processes; the run is to finish its step and save.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before this was asked for
            os._exit(1)
