"""Training on a GPU gives the numbers that it gives on a processor, resumed or not.

pytest -m gpu tests/pacofr/test_gpu.py: about a minute, most of it torch.compile.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers.pacofr_tiny import TinyCrops, mended, tiny_config
from helpers.run_files import assert_same_end, metrics
from safetensors.torch import load_file
from torch._dynamo.utils import counters
from torch.nn.attention import SDPBackend, sdpa_kernel

from pacofr.analysis.config import ProbeConfig
from pacofr.analysis.probe.crops import AnnotatedCrops
from pacofr.analysis.probe.readout_training import landmark_errors
from pacofr.engine.batches.device_batches import DeviceBatches
from pacofr.engine.checkpoint import checkpoints, read_progress
from pacofr.engine.optimization.loss_scale import INITIAL_SCALE
from pacofr.engine.task import RunOptions
from pacofr.errors import UserError
from pacofr.pretraining.config import DataConfig, LossConfig
from pacofr.pretraining.device_crops import DeviceCrops, crop_places
from pacofr.pretraining.train import pretrain

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda", 0)


@pytest.fixture
def deterministic():
    """Sums in one order: fused attention's backward pass adds as blocks happen to finish."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def run(out, device="cuda", crops=None, method=mended, **changes):
    config = method(tiny_config(**changes))
    return pretrain(config, crops or TinyCrops(), RunOptions(out=out, device=device))


def losses(out):
    return np.array([row["loss"] for row in metrics(out)])


def test_steps_on_the_gpu_are_those_on_the_processor(tmp_path):
    for device in ("cpu", "cuda"):
        assert run(tmp_path / device, device) == 0
    assert losses(tmp_path / "cuda") == pytest.approx(losses(tmp_path / "cpu"), rel=5e-3)


@pytest.mark.usefixtures("deterministic")
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    class Stopping(TinyCrops):
        reads = 0

        def read(self, epoch, positions):
            self.reads += len(positions) == 10
            if self.reads == 9:
                raise KeyboardInterrupt
            return super().read(epoch, positions)

    for name in ("whole", "again"):
        assert run(tmp_path / name) == 0
    assert_same_end(tmp_path / "whole", tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", crops=Stopping(), checkpoint_minutes=0.0)
    assert 3 < read_progress(checkpoints(tmp_path / "stopped")[0]).step < 9
    assert run(tmp_path / "stopped") == 0
    assert_same_end(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.usefixtures("deterministic")
def test_crops_on_the_device_and_reading_processes_change_no_number(tmp_path):
    class Fixed(TinyCrops):
        def mirrors(self, epoch, positions):
            return (positions + epoch) % 2 == 0

        def unmirrored(self, positions):
            return self.pixels[positions]

    assert run(tmp_path / "read", crops=Fixed()) == 0
    assert run(tmp_path / "held", crops=Fixed(), data=DataConfig(workers=0, on_device=True)) == 0
    assert run(tmp_path / "workers", crops=Fixed(), data=DataConfig(workers=2)) == 0
    assert_same_end(tmp_path / "read", tmp_path / "held")
    assert_same_end(tmp_path / "read", tmp_path / "workers")
    crops, positions = Fixed(), np.array([3, 1, 4, 1, 5])
    places = torch.from_numpy(crop_places(crops, 2, positions)).to(CUDA)
    held = DeviceCrops(crops, CUDA).images(places)
    assert held.is_cuda
    assert np.array_equal(held.cpu().numpy(), crops.read(2, positions))


def test_float16_skips_what_overflows_and_then_learns(tmp_path):
    loss = LossConfig(perceptual_net="none", mse=1e5)
    assert run(tmp_path, precision="fp16", loss=loss, epochs=8) == 0
    rows = metrics(tmp_path)
    skipped = sum(row.get("skipped", False) for row in rows)
    assert 0 < skipped < 20
    scale = float(load_file(tmp_path / "last/training/loss_scale.safetensors")["scale"])
    assert scale == INITIAL_SCALE / 2**skipped
    assert rows[-1]["loss"] < next(row["loss"] for row in rows if "loss" in row)


def test_bf16_is_near_float32(tmp_path):
    for precision in ("fp32", "bf16"):
        assert run(tmp_path / precision, precision=precision) == 0
    assert losses(tmp_path / "bf16") == pytest.approx(losses(tmp_path / "fp32"), rel=0.03)


def test_compiled_blocks_compute_what_plain_ones_do(tmp_path):
    counters.clear()
    for compiled in (False, True):
        assert run(tmp_path / str(compiled), compile=compiled) == 0
    assert counters["stats"]["unique_graphs"] >= 2  # encoder's and decoder's blocks, at least once
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=5e-3)


def test_batches_copied_on_a_stream_of_their_own_arrive_whole():
    """The computing stream is kept busy, and a batch is used long after the next was asked for."""

    class Batch(NamedTuple):
        values: torch.Tensor
        numbers: torch.Tensor

    drawn = torch.Generator().manual_seed(0)
    sent = [
        Batch(torch.randn(1 << 20, generator=drawn).pin_memory(), torch.full((3,), n).pin_memory())
        for n in range(24)
    ]
    batches = DeviceBatches(iter(sent), CUDA)
    busy = torch.randn(2048, 2048, device=CUDA)
    sums = []
    for batch in batches:
        for _ in range(20):
            busy = (busy @ busy).clamp(-1, 1)
        batches.prefetch()
        sums.append(batch.values.double().sum() + batch.numbers.sum() + 0 * busy.sum())
    wanted = [float(batch.values.double().sum()) + 3 * n for n, batch in enumerate(sent)]
    assert torch.stack(sums).tolist() == pytest.approx(wanted, abs=1e-6)


def test_a_probe_scores_alike_on_both():
    drawn = np.random.default_rng(0)
    points = drawn.uniform(8, 56, (40, 68, 2))
    crops = AnnotatedCrops(np.zeros((40, 64, 64, 3), np.uint8), points, np.arange(40) // 2)
    tokens = torch.from_numpy(drawn.normal(size=(40, 64, 12))).float()
    config = ProbeConfig(photos=Path("unread"), steps=30)
    each = [
        landmark_errors(
            (tokens.to(device), tokens.to(device)), crops, crops, config, conv=True, seed=0, what=""
        )
        for device in ("cpu", "cuda")
    ]
    assert each[1] == pytest.approx(each[0], rel=0.02)


def test_too_large_a_set_for_the_device_is_one_line():
    class Endless(TinyCrops):
        def __len__(self):
            return 10**9

        def mirrors(self, epoch, positions):
            return positions < 0

        def unmirrored(self, positions):
            return self.pixels[positions % 50]

    with pytest.raises(UserError, match=r"--data\.on-device: expected 1000000000 crops to take"):
        DeviceCrops(Endless(), CUDA)


def test_settings_that_speed_up_do_not_count_as_another_run(tmp_path):
    config = tiny_config(epochs=1)
    assert pretrain(config, TinyCrops(), RunOptions(out=tmp_path, device="cuda")) == 0
    faster = dataclasses.replace(config, compile=True)
    assert pretrain(faster, TinyCrops(), RunOptions(out=tmp_path, device="cuda")) == 0
