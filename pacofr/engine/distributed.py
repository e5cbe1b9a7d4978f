"""Data-parallel training over one or many processes, with the same numbers for any count.

Processes started by `torchrun` join one group; a process started plainly is a world of one, for
which every function here does nothing. Collectives run on all ranks, files are written by rank 0
only. A rank works on a contiguous slice of each *global* batch and weights its loss by the slice's
size, so that DDP's mean over ranks is the mean over the global batch, uneven slices included.
"""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import NamedTuple, NoReturn

import torch
import torch.distributed as dist
from jaxtyping import Float64, UInt8
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pacofr.engine.device import choose_device
from pacofr.errors import UserError, run_command


class World(NamedTuple):
    """This process's rank, the number of processes, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


@contextmanager
def process_group(device: str = "auto") -> Iterator[World]:
    """Join the process group that torchrun's environment describes, if any, and leave it at exit.

    With NCCL an error ends the process right after it is reported: leaving the group in order would
    wait for the other ranks, which wait for this one in a collective, and torchrun would see no
    process die.
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
    """Join the group; a process silent for longer than the timeout counts as lost."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(0, 1, choose_device(device))
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    chosen = choose_device(device, local_rank)
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    with lost_peer_as_user_error("while the processes were meeting"):
        dist.init_process_group(
            backend, rank=rank, world_size=size, timeout=timedelta(minutes=timeout_minutes)
        )
    return World(rank, size, chosen)


def leave(world: World) -> None:
    """Leave the group (nothing to do for a world of one)."""
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
    end_process(code)


def end_process(code: int) -> NoReturn:
    """End a rank's process without the interpreter's teardown.

    Threads of torch's collectives may ask for the interpreter while it is taken down, and abort the
    process after all its work.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def rank_slice(count: int, world: World) -> slice:
    """The contiguous slice of `count` items for this rank; sizes differ by one at most."""
    return slice(world.rank * count // world.size, (world.rank + 1) * count // world.size)


def even_slices(count: int, parts: int) -> list[slice]:
    """Cut `count` items into at most `parts` contiguous slices, none of them empty."""
    parts = max(1, min(parts, count))
    return [slice(i * count // parts, (i + 1) * count // parts) for i in range(parts)]


def all_reduce_sum(values: Float64[Tensor, " n"], world: World) -> Float64[Tensor, " n"]:
    """Sum a vector over all ranks, in place."""
    if world.size > 1:
        dist.all_reduce(values)
    return values


def all_gather_bytes(row: UInt8[Tensor, " n"], world: World) -> UInt8[Tensor, "ranks n"]:
    """Every rank's CPU bytes (equally many) in rank order, on all ranks."""
    if world.size == 1:
        return row[None]
    rows = [torch.empty_like(row) for _ in range(world.size)]
    dist.all_gather(rows, row)
    return torch.stack(rows)


def barrier(world: World) -> None:
    """Wait until every rank has come here; a rank that died before is a broken collective."""
    all_reduce_sum(torch.zeros(1, dtype=torch.float64), world)


def require_same_on_all_ranks(value: int, world: World, what: str) -> None:
    """Stop all ranks unless they have the same value (e.g. of a folder that only some nodes see).

    Raises:
        UserError: on every rank.
    """
    values = all_reduce_sum(torch.tensor([value, value**2], dtype=torch.float64), world)
    if values[1] * world.size != values[0] ** 2:
        raise UserError(
            f"expected all processes to agree on {what}, process {world.rank} has {value}; give an"
            " --out on a disk that all nodes share"
        )


def data_parallel(module: nn.Module, world: World) -> nn.Module:
    """Wrap a module so that gradients are averaged over ranks (a world of one: the module itself).

    Wrap again whenever `requires_grad` of a parameter changes: DDP waits for the gradients of
    exactly those parameters that required one when it was made, which is why a frozen part needs no
    `find_unused_parameters`. Buffers are not synchronised: they must be constants, or equal on all
    ranks by construction (`models.global_batch_norm`).
    """
    if world.size == 1:
        return module
    ids = [world.device.index] if world.device.type == "cuda" else None
    return DistributedDataParallel(
        module, device_ids=ids, gradient_as_bucket_view=True, forward_sync_buffers=False
    )


def no_sync(module: nn.Module, hold: bool) -> AbstractContextManager[None]:
    """Keep gradients local while `hold` (all but the last micro-batch of an accumulated batch)."""
    if hold and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


@contextmanager
def lost_peer_as_user_error(
    where: str, remedy: str = "start all processes again"
) -> Iterator[None]:
    """Turn a broken collective into a `UserError`; any other error passes unchanged.

    This covers what gloo and the rendezvous raise. NCCL kills a process whose peer was lost during
    a step; torchrun then names the one that went first.
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
