"""Killed, stopped, out of disk: the next run goes on and ends exactly as the uninterrupted one."""

import os
import signal
from pathlib import Path

import pytest
import torch
from helpers.flame_tiny import files_of_at_most
from helpers.pacofr_tiny import TinyCrops, tiny_config
from helpers.processes import start, wait_until
from helpers.run_files import assert_same_end

from pacofr.engine.checkpoint import checkpoints, read_progress
from pacofr.engine.task import RunOptions
from pacofr.errors import UserError
from pacofr.pretraining.train import pretrain

SCRIPT = Path(__file__).parents[2] / "helpers" / "pacofr_tiny.py"
EPOCHS, STEPS = 4, 20


def run(out, crops=None, **changes):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        config = tiny_config(epochs=EPOCHS, **changes)
        return pretrain(config, crops or TinyCrops(), RunOptions(out=out, device="cpu"))
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(out) == 0
    return out


def test_kill_9_in_mid_epoch(tmp_path, uninterrupted):
    out = tmp_path / "run"
    flags = ["--epochs", str(EPOCHS), "--slow", "0.1", "--checkpoint-seconds", "0.35"]
    process = start(SCRIPT, out, *flags, "--workers", "1")
    file = out / "metrics.jsonl"
    wait_until(lambda: file.exists() and file.read_text().count("\n") >= 12, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    reached = file.read_text().count("\n")
    kept = read_progress(checkpoints(out)[0]).step
    assert 0 < kept <= reached < STEPS
    assert not (out / "model").exists()
    assert run(out) == 0
    assert_same_end(out, uninterrupted)


class Terminating(TinyCrops):
    """Sends this process a SIGTERM while it reads the crops of step 7."""

    reads = 0

    def read(self, epoch, positions):
        self.reads += len(positions) == 10  # the codebook starts from all of them at once
        if self.reads == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().read(epoch, positions)


def test_sigterm_saves_and_exits(tmp_path, uninterrupted):
    assert run(tmp_path, Terminating()) == 128 + signal.SIGTERM
    assert read_progress(checkpoints(tmp_path)[0]).step == 7  # none was due before the end
    assert run(tmp_path) == 0
    assert_same_end(tmp_path, uninterrupted)


def test_a_disk_that_fills_up(tmp_path, uninterrupted):
    """No file may grow beyond half of the weights': the system itself refuses to write."""
    limit = (uninterrupted / "model/model.safetensors").stat().st_size // 2
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with (
            files_of_at_most(limit),
            pytest.raises(UserError, match="cannot write to .* no checkpoint was written yet"),
        ):
            run(tmp_path, checkpoint_minutes=0.0)
    finally:
        signal.signal(signal.SIGXFSZ, ignored)
    assert not checkpoints(tmp_path)
    assert not list(tmp_path.rglob(".writing*"))
    assert run(tmp_path) == 0  # there is room now
    assert_same_end(tmp_path, uninterrupted)
