"""Two gloo processes: the single process's numbers, and plain words when one of them dies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.pacofr_tiny import TinyCrops, mended, tiny_config
from helpers.processes import start_two, wait_until
from safetensors.torch import load_file

from pacofr.engine.checkpoint import checkpoints
from pacofr.engine.task import RunOptions
from pacofr.pretraining.train import pretrain

SCRIPT = Path(__file__).parents[2] / "helpers" / "pacofr_tiny.py"
UNEVEN = 9  # images in a global batch: one rank has 4, the other 5


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pretrain(tiny_config(batch_size=UNEVEN), TinyCrops(), RunOptions(out=out, device="cpu"))
    torch.set_num_threads(threads)
    return out


def assert_same_numbers(out, alone):
    """Up to rounding: sums are taken in another order."""
    for two, one in zip(metrics(out), metrics(alone), strict=True):
        for name in ("loss", "mse", "cross_entropy", "grad_norm", "usage_entropy"):
            assert two[name] == pytest.approx(one[name], rel=1e-5), (one["step"], name)
        assert two["dead_share"] == one["dead_share"]
    ours = load_file(out / "model/model.safetensors")
    theirs = load_file(alone / "model/model.safetensors")
    for name, value in theirs.items():
        if not name.endswith(
            "qkv.bias"
        ):  # keys' biases have no gradient but noise, AdamW scales it
            torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_two_processes_give_the_losses_of_one(tmp_path, alone):
    """With uneven shares, through the end of incubation (the predictor freezes under DDP)."""
    out = tmp_path / "run"
    processes = start_two(SCRIPT, out, "--batch", str(UNEVEN), "--accumulate", "3")
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert_same_numbers(out, alone)


def test_two_processes_balance_labels_over_the_whole_batch(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    config = mended(tiny_config(batch_size=UNEVEN, epochs=1))
    pretrain(config, TinyCrops(), RunOptions(out=one, device="cpu"))
    flags = ["--batch", str(UNEVEN), "--epochs", "1", "--mended"]
    processes = start_two(SCRIPT, two, *flags)
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert_same_numbers(two, one)


@pytest.mark.slow
def test_a_lost_worker_is_named_and_the_run_goes_on(tmp_path, alone):
    out = tmp_path / "run"
    flags = ("--batch", str(UNEVEN), "--slow", "0.15", "--checkpoint-seconds", "0.5")
    survivor, victim = start_two(SCRIPT, out, *flags)
    wait_until(lambda: bool(checkpoints(out)), survivor)
    victim.kill()
    said = survivor.communicate()
    assert survivor.returncode == 2
    assert said.count("\n") == 1
    assert "a worker was lost" in said
    assert "give the same command again" in said
    assert 0 < len(metrics(out)) < 15

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = tiny_config(batch_size=UNEVEN)  # goes on alone: the world size may change
    assert pretrain(config, TinyCrops(), RunOptions(out=out, device="cpu")) == 0
    torch.set_num_threads(threads)
    assert_same_numbers(out, alone)


@pytest.mark.slow
def test_torchrun_starts_it(tmp_path, alone):
    out = tmp_path / "run"
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = subprocess.run(
        [*torchrun, SCRIPT, out, "--batch", str(UNEVEN)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_same_numbers(out, alone)


ON_A_GPU = """
import atexit, os, sys, torch
from pacofr.engine import distributed
from pacofr.errors import UserError, run_command

distributed.join = lambda device: distributed.World(1, 2, torch.device("cuda", 0))
distributed.leave = lambda world: print("left in order", flush=True)
atexit.register(print, "torn down")

def command(error):
    with distributed.process_group():
        if error is None:
            return 143
        raise error

for error in (UserError("shard 7 is cut"), KeyError("x")):
    if not os.fork():
        run_command(lambda: command(error))
        os._exit(99)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    print("----", file=sys.stderr, flush=True)
sys.exit(run_command(lambda: command(None)))
"""


def test_an_error_under_nccl_is_told_and_ends_the_process_at_once():
    """In order it would wait for peers that wait for it."""
    done = subprocess.run(
        [sys.executable, "-c", ON_A_GPU], capture_output=True, text=True, check=False
    )
    user, bug, none = done.stderr.split("----\n")
    assert user == "error: shard 7 is cut\n"
    assert bug.endswith("KeyError: 'x'\n")
    assert none == ""
    assert done.stdout == "2\n1\nleft in order\ntorn down\n"
    assert done.returncode == 143
