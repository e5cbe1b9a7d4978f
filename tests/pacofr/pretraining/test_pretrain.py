"""The pre-training loop on a tiny model: what it trains, publishes and refuses."""

import dataclasses
import json
import math
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from helpers.pacofr_tiny import TinyCrops, tiny_config
from PIL import Image
from safetensors.torch import load_file

from pacofr.engine.checkpoint import read_progress
from pacofr.engine.task import RunOptions
from pacofr.engine.trainer import NotFiniteError
from pacofr.errors import UserError
from pacofr.pretraining.config import DataConfig, LossConfig
from pacofr.pretraining.method.model import load_pretrained
from pacofr.pretraining.train import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")


def run(out, crops=None, **changes):
    return pretrain(tiny_config(**changes), crops or TinyCrops(), RunOptions(out=out, device="cpu"))


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_run_learns_publishes_and_is_done(tmp_path):
    assert run(tmp_path, epochs=12, pictures_every=30) == 0
    rows = metrics(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert rows[-1]["images"] == 600
    assert rows[-1]["mse"] < 0.8 * rows[0]["mse"]
    assert rows[0]["lr"] == 0.0
    assert max(row["lr"] for row in rows) == pytest.approx(2e-2 * 10 / 256, rel=1e-3)
    assert all(math.isfinite(row["grad_norm"]) for row in rows)
    model = load_pretrained(tmp_path)  # the published unit, strictly
    last = load_file(tmp_path / "last/model/model.safetensors")
    assert all(torch.equal(value, last[name]) for name, value in model.state_dict().items())
    picture = np.asarray(Image.open(tmp_path / "pictures/step_00000030.png"))
    assert picture.shape == (3 * 32, 8 * 32, 3)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert run(tmp_path, epochs=12, pictures_every=30) == 0  # nothing left to do
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_the_predictor_learns_in_incubation_and_only_then(tmp_path):
    config = dataclasses.replace(tiny_config(), checkpoint_minutes=0.0)
    pretrain(config, TinyCrops(), RunOptions(out=tmp_path, device="cpu", keep=100))
    rows = metrics(tmp_path)
    learning = [row["step"] for row in rows if row["cross_entropy"] > 0]
    assert learning == list(range(1, 9))  # incubation_steps is 8
    assert [row["step"] for row in rows if "predictor" in row["grad_norms"]] == learning

    weights = {
        step: load_file(tmp_path / f"checkpoints/step_{step:08d}/model/model.safetensors")
        for step in (5, 8, 15)
    }
    names = [name for name in weights[5] if name.startswith("predictor.")]
    assert names
    assert any(not torch.equal(weights[5][name], weights[8][name]) for name in names)
    for name in names:
        assert torch.equal(weights[8][name], weights[15][name]), name  # not even weight decay
    assert not torch.equal(weights[8]["codebook.tokens"], weights[15]["codebook.tokens"])


def test_micro_batches_change_nothing_but_rounding(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "cut", accumulate=5)
    for whole, cut in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "cut"), strict=True):
        assert cut["loss"] == pytest.approx(whole["loss"], rel=1e-5)
        assert cut["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-4)
        assert cut["dead_share"] == whole["dead_share"]


def test_a_run_that_diverges_is_one_line_and_keeps_its_last_good_checkpoint(tmp_path):
    wild = dataclasses.replace(tiny_config().optim, base_lr=1e30, warmup_epochs=0.0)
    says = r"step \d+ is not finite \(loss .*last good checkpoint is .*lower --optim\.base-lr"
    with pytest.raises(NotFiniteError, match=says) as caught:
        run(tmp_path, checkpoint_minutes=0.0, optim=wild)
    assert "\n" not in str(caught.value)
    assert len(metrics(tmp_path)) == read_progress(tmp_path / "last").step > 0


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(UserError, match="seed: 0 there, 3 here"):
        run(tmp_path, epochs=1, seed=3)
    with pytest.raises(UserError, match="shards.images: 50 there, 40 here"):
        run(tmp_path, TinyCrops(images=40), epochs=1)
    assert run(tmp_path, epochs=1, data=DataConfig(workers=1)) == 0  # pace only


def test_a_perceptual_net_may_move_but_not_change(tmp_path):
    for name, seed in (("judge", 0), ("other", 1)):
        run(tmp_path / name, epochs=1, seed=seed)

    def judged_by(net: str) -> int:
        loss = LossConfig(perceptual_net=f"self:{tmp_path / net}")
        return run(tmp_path / "run", epochs=1, loss=loss)

    assert judged_by("judge") == 0
    (tmp_path / "judge").rename(tmp_path / "elsewhere")
    assert judged_by("elsewhere") == 0  # goes on, with nothing left to do
    with pytest.raises(UserError, match=r"perceptual.fingerprint: \w{64} there, \w{64} here"):
        judged_by("other")


class TooManyImages(TinyCrops):
    def read(self, epoch, positions):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_a_gpu_that_is_too_small_is_one_line(tmp_path):
    with pytest.raises(UserError, match="10 images in 1 parts .* --accumulate 2"):
        run(tmp_path, TooManyImages())


class Killed(TinyCrops):
    def read(self, epoch, positions):
        if len(positions) < len(self) and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)  # as a kernel short of memory does
        return super().read(epoch, positions)


def test_a_lost_reader_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"reads crops was lost .*--data\.workers 0") as caught:
        run(tmp_path, Killed(), data=DataConfig(workers=1))
    assert "\n" not in str(caught.value)


class Broken(TinyCrops):
    def read(self, epoch, positions):
        if epoch == 1:
            raise UserError("shard 7 is cut short; curate it again")
        return super().read(epoch, positions)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_shard_is_one_line_also_from_a_worker(tmp_path, workers):
    with pytest.raises(UserError, match="^shard 7 is cut short; curate it again$"):
        run(tmp_path, Broken(), data=DataConfig(workers=workers))


def test_an_out_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine").touch()
    with pytest.raises(UserError, match="holds a model/ that a new run would replace"):
        run(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "mine"]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/metrics.jsonl").write_text('{"loss": 1}\n')
    with pytest.raises(UserError, match="metrics.jsonl is no record of a run"):
        run(tmp_path / "notes")
    assert (tmp_path / "notes/metrics.jsonl").read_text() == '{"loss": 1}\n'
    state = tmp_path / "other/checkpoints/step_00000001/training/state.json"
    state.parent.mkdir(parents=True)
    for content in ("[]", '{"version": 1}'):
        state.write_text(content)
        with pytest.raises(UserError, match="expected a checkpoint's state"):
            run(tmp_path / "other")


def test_one_checkpoint_at_least_is_kept(tmp_path):
    with pytest.raises(UserError, match="got --keep 0"):
        RunOptions(out=tmp_path, keep=0)


def test_a_disk_that_is_full_at_a_picture_is_one_line(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(UserError, match=r"pictures .*No space left.*from the last checkpoint"):
        run(tmp_path, pictures_every=1)


def test_an_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(UserError, match="expected a folder to write to"):
        run(tmp_path / "taken")
