"""Reading processes end with the run, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.processes import ENVIRONMENT, start, wait_until

from pacofr.engine.batches.loader import BatchLoader
from pacofr.engine.batches.sampling import EpochPlan, RankSampler
from pacofr.engine.distributed import World
from pacofr.errors import UserError

TINY = Path(__file__).parents[2] / "helpers" / "pacofr_tiny.py"
ALONE = World(0, 1, torch.device("cpu"))


def batches(read, workers, steps=5):
    sampler = RankSampler(EpochPlan(steps * 2, 2, 1, seed=0), ALONE, 0, steps)
    return BatchLoader(read, sampler, workers=workers, pin=False)


def read_index(batch):
    return torch.from_numpy(batch.index)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_whoever_reads_them(workers, monkeypatch, recwarn):
    """Without PyTorch's warning that there are more readers than cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    loader = batches(read_index, workers)
    assert not recwarn.list
    read = torch.cat(list(loader))
    loader.close()
    np.testing.assert_array_equal(read, EpochPlan(10, 2, 1, seed=0).order(0))


def test_the_global_generator_is_left_alone():
    """A resumed run makes new loaders; its dropout must not notice."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    loader = batches(read_index, 1)
    next(loader)
    loader.close()
    assert torch.equal(torch.get_rng_state(), before)


def damaged(batch):
    raise UserError("shard 7 is cut short")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_error_comes_as_it_is(workers):
    loader = batches(damaged, workers)
    with pytest.raises(UserError, match="^shard 7 is cut short$"):
        next(loader)
    loader.close()


def children(process):
    """Processes whose parent is `process` (Linux)."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == process.pid and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


UNGUARDED = """
import sys, time
import torch
from torch.utils.data import _utils
from pacofr.engine.distributed import World
from pacofr.engine.batches.loader import BatchLoader
from pacofr.engine.batches.sampling import EpochPlan, RankSampler

def read(batch):
    if batch.index[0] != first and sys.argv[2] == "stuck":
        time.sleep(3600)
    return torch.zeros(1)

plan = EpochPlan(8, 2, 100000, seed=0)
first = plan.order(0)[0]

_utils.MP_STATUS_CHECK_INTERVAL = 0.2  # torch waits that long for each reader: 5 s

def main(workers):
    sampler = RankSampler(plan, World(0, 1, torch.device("cpu")), 0, plan.steps)
    batches = BatchLoader(read, sampler, workers=workers, pin=False)
    for _ in batches:
        raise RuntimeError("stands for an error of CUDA or NCCL")

main(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("workers", "state"), [("2", "idle"), ("1", "stuck")])
def test_an_uncaught_error_ends_the_program_though_nobody_closes_the_loader(workers, state):
    done = subprocess.run(
        [sys.executable, "-c", UNGUARDED, workers, state],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: stands for an error of CUDA or NCCL\n")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_reader_is_one_line_wherever_the_loop_is(tmp_path):
    """Mostly in the middle of a backward pass here, where torch would raise by itself."""
    out = tmp_path / "run"
    process = start(TINY, out, "--epochs", "100000", "--workers", "2")
    file = out / "metrics.jsonl"
    wait_until(lambda: file.exists() and file.read_text().count("\n") >= 30, process)
    readers = children(process)  # of the second, long stage
    assert len(readers) == 2
    os.kill(readers[0], signal.SIGKILL)
    said = process.communicate()
    assert process.returncode == 2, said
    assert said.count("\n") == 1
    assert said.startswith("error: a process that reads crops was lost (")
    assert not any(alive(reader) for reader in readers)


@pytest.mark.skipif(sys.platform != "linux", reason="readers ask Linux to go with their parent")
def test_readers_leave_with_a_killed_run(tmp_path):
    out = tmp_path / "run"
    process = start(TINY, out, "--epochs", "100000", "--workers", "2", "--slow", "0.2")
    wait_until(lambda: len(children(process)) == 2 and (out / "metrics.jsonl").exists(), process)
    readers = children(process)
    process.kill()
    process.communicate()
    while any(alive(reader) for reader in readers):
        time.sleep(0.01)
