"""One process or many: the same run, the same numbers.

Started by `torchrun` the processes join one group; started plainly there is a world of one and
every function here is a no-op. Rank discipline: collectives run on ALL ranks, files are written by
rank 0 only. A rank works on a contiguous share of each *global* batch and weights its loss by the
share's size, so that DDP's mean over ranks is the mean over the global batch, uneven or not.
"""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import NamedTuple, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float64, UInt8
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pacofr.errors import UserError, run_command

Sliceable = TypeVar("Sliceable", list, np.ndarray)


class World(NamedTuple):
    """Who this process is among how many, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "mps" into this process's device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        present = torch.cuda.device_count()
        if not present:
            raise UserError("expected a CUDA device, found none; run with --device cpu")
        if local_rank >= present:
            raise UserError(
                f"expected one process per GPU, got process {local_rank + 1} on a node of {present}"
                f" GPUs; start with torchrun --nproc-per-node {present}"
            )
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    return torch.device(name)


@contextmanager
def membership(device: str = "auto") -> Iterator[World]:
    """Be one of the processes that torchrun's environment describes, or the only one.

    With NCCL an error ends the process here, once it is told: leaving the group in order would wait
    for the others, they wait for this one in a collective, and torchrun would see nobody die.
    """
    world = join(device)
    try:
        yield world
    except BaseException as error:
        if world.size > 1 and world.device.type == "cuda":
            _end_process(error)
        leave(world)
        raise
    leave(world)


def join(device: str = "auto", timeout_minutes: float = 10.0) -> World:
    """Join the group; a process that is not there, or not heard of, in time is a lost one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(0, 1, choose_device(device))
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    place = choose_device(device, local_rank)
    backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
    with lost_worker_named("while the processes were meeting"):
        dist.init_process_group(
            backend, rank=rank, world_size=size, timeout=timedelta(minutes=timeout_minutes)
        )
    return World(rank, size, place)


def leave(world: World) -> None:
    """Leave the group (no-op alone)."""
    if world.size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def _end_process(error: BaseException) -> NoReturn:
    def fail() -> None:
        raise error

    code = 1
    try:
        code = run_command(fail)
    except BaseException:  # a bug: its traceback, as the interpreter would print it
        traceback.print_exception(error)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def share(batch: Sliceable, world: World) -> Sliceable:
    """Contiguous part of a global batch that this rank works on; sizes differ by one at most."""
    begin = world.rank * len(batch) // world.size
    end = (world.rank + 1) * len(batch) // world.size
    return batch[begin:end]


def split(count: int, parts: int) -> list[slice]:
    """Cut `count` items into at most `parts` contiguous slices, none of them empty."""
    parts = max(1, min(parts, count))
    return [slice(i * count // parts, (i + 1) * count // parts) for i in range(parts)]


def sum_over_ranks(values: Float64[Tensor, " n"], world: World) -> Float64[Tensor, " n"]:
    """Sum a CPU vector over all ranks."""
    if world.size > 1:
        dist.all_reduce(values)
    return values


def gather_bytes(row: UInt8[Tensor, " n"], world: World) -> UInt8[Tensor, "ranks n"]:
    """Stack every rank's CPU bytes (equally long) in rank order, on all ranks."""
    if world.size == 1:
        return row[None]
    rows = [torch.empty_like(row) for _ in range(world.size)]
    dist.all_gather(rows, row)
    return torch.stack(rows)


def wait_for_all(world: World) -> None:
    """Go on when every rank has come here; one that died before makes a broken collective."""
    sum_over_ranks(torch.zeros(1, dtype=torch.float64), world)


def refuse_disagreement(value: int, world: World, what: str) -> None:
    """Stop all ranks if they do not have the same value (a folder that only some nodes see)."""
    values = sum_over_ranks(torch.tensor([value, value**2], dtype=torch.float64), world)
    if values[1] * world.size != values[0] ** 2:
        raise UserError(
            f"expected all processes to agree on {what}, process {world.rank} has {value}; give an"
            " --out on a disk that all nodes share"
        )


def wrap(module: nn.Module, world: World) -> nn.Module:
    """Average gradients over ranks.

    Wrap again whenever `requires_grad` of a parameter changes: DDP waits for the gradients of
    exactly those parameters that wanted one when it was made, which is why a frozen part needs no
    `find_unused_parameters`.
    """
    if world.size == 1:
        return module
    ids = [world.device.index] if world.device.type == "cuda" else None
    return DistributedDataParallel(
        module,
        device_ids=ids,
        gradient_as_bucket_view=True,
        forward_sync_buffers=False,  # they are constants
    )


def without_sync(module: nn.Module, hold: bool) -> AbstractContextManager[None]:
    """Leave gradients local while `hold` (all but the last slice of an accumulated batch)."""
    if hold and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


@contextmanager
def lost_worker_named(where: str, remedy: str = "start all processes again") -> Iterator[None]:
    """Turn a broken collective into one clear line; any other error passes unchanged.

    That is what gloo and the meeting of the processes raise. NCCL kills a process whose peer was
    lost during a step; torchrun then names the one that went first.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_broken_collective(error):
            raise
        first = str(error).strip().splitlines()[0][:160]
        raise UserError(f"a worker was lost {where} ({first}); {remedy}") from error


def _is_broken_collective(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):  # NCCL, rendezvous store and network errors
        return True
    text = str(error)  # gloo raises plain RuntimeErrors
    return "gloo" in text or "Connection closed by peer" in text or "Connection reset" in text
