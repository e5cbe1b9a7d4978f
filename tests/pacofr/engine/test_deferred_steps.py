"""Steps whose numbers the host reads late, and float16 with a scaled loss."""

import dataclasses

import pytest
import torch
from helpers.run_files import assert_same_end, metrics
from helpers.training_toy import Toy
from safetensors.torch import load_file
from torch import nn

from pacofr.engine.checkpoint import checkpoints, read_progress
from pacofr.engine.distributed import World
from pacofr.engine.optimization.loss_scale import GROWTH_STEPS, INITIAL_SCALE, LossScale
from pacofr.engine.speed.profiling import TimedKernel, kernel_groups
from pacofr.engine.step_metrics import StepLoss
from pacofr.engine.task import RunOptions, TrainerConfig
from pacofr.engine.trainer import NotFiniteError, fit
from pacofr.errors import UserError

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)
CONFIG = TrainerConfig(precision="fp32", clip_norm=0.5, ema_decay=0.9, validate_steps=5)

pytestmark = pytest.mark.usefixtures("one_thread")


class Fused(Toy):
    def make_optimizer(self):
        return torch.optim.AdamW(self.model.parameters(), fused=True)


def run(task, out, **settings):
    config = dataclasses.replace(CONFIG, **settings)
    return fit(task, config, RunOptions(out=out, device="cpu"), ALONE)


def test_late_numbers_are_the_same_numbers(tmp_path):
    for deferred in (False, True):
        assert run(Fused(ALONE), tmp_path / str(deferred), deferred=deferred) == 0
    assert_same_end(tmp_path / "True", tmp_path / "False")


def test_a_checkpoint_asked_for_late_resumes_to_the_same_end(tmp_path):
    run(Fused(ALONE), tmp_path / "whole", deferred=True)

    class Stopped(Fused):
        def record(self, stage, progress, metrics):
            if progress.step == 9:
                raise KeyboardInterrupt
            return super().record(stage, progress, metrics)

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(Stopped(ALONE), out, deferred=True, save_minutes=0.0)
    assert 5 < read_progress(checkpoints(out)[0]).step < 9
    assert run(Fused(ALONE), out, deferred=True) == 0
    assert_same_end(out, tmp_path / "whole")


def test_a_step_that_is_not_finite_leaves_the_weights_alone_before_the_host_knows(tmp_path):
    task = Fused(ALONE, broken=(1, 4))
    with pytest.raises(NotFiniteError, match=r"step \d+ is not finite \(loss nan.*not applied"):
        run(task, tmp_path, deferred=True, save_steps=1)
    good = load_file(tmp_path / "last/training/weights.safetensors")
    assert all(torch.equal(value, good[name]) for name, value in task.model.named_parameters())


class Linear(Toy):
    """A task of matrix products alone, which processors multiply in float16, too."""

    factor = 5.0

    def __init__(self, world):
        super().__init__(world, dropout=0.0)
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Linear(6, 1))

    def make_optimizer(self):
        return torch.optim.AdamW(self.model.parameters(), fused=True)

    def loss(self, forward, batch, stage):
        off = self.factor * (forward(batch.images)[:, 0] - batch.targets)
        return StepLoss({"loss": off.square().mean()}, (off > 0).sum()[None])


@pytest.mark.parametrize("deferred", [False, True])
def test_float16_skips_what_overflows_and_goes_on_with_a_smaller_scale(tmp_path, deferred):
    """At first the scaled gradients pass 65504: until the scale fits, the weights stay."""
    settings = {"deferred": deferred, "ema_decay": None, "validate_steps": 0}
    run(Linear(ALONE), tmp_path / "half", precision="fp16", save_steps=4, **settings)
    half = metrics(tmp_path / "half")
    skipped = sum(row.get("skipped", False) for row in half)
    assert 0 < skipped < 8
    assert all("loss" in row or row["skipped"] for row in half)
    scale = load_file(tmp_path / "half/last/training/loss_scale.safetensors")
    assert float(scale["scale"]) == INITIAL_SCALE / 2**skipped
    assert half[-1]["loss"] < half[skipped]["loss"]
    new = Linear(ALONE)
    data = new.data(new.stages[0])
    batch = data.read(data.plan.global_batch(skipped, {}))
    untrained = float(new.loss(new.model, batch, new.stages[0]).means["loss"].detach())
    assert half[skipped]["loss"] == pytest.approx(untrained, rel=0.02)

    for old in checkpoints(tmp_path / "half")[:1]:  # resume from the one before the last
        (old / "training/loss_scale.safetensors").unlink()
    with pytest.raises(UserError, match=r"loss_scale\.safetensors: cannot be read"):
        run(Linear(ALONE), tmp_path / "half", precision="fp16", **settings)


def test_float16_that_never_recovers_ends_in_one_line(tmp_path):
    class Huge(Linear):
        stages = (Linear.stages[0]._replace(steps=60),)
        factor = 1e30

    with pytest.raises(NotFiniteError, match=r"26 steps in a row up to step 26 overflowed float16"):
        run(Huge(ALONE), tmp_path, precision="fp16", ema_decay=None, validate_steps=0)
    assert len(metrics(tmp_path)) == 25


def test_float16_that_overflows_until_the_end_publishes_no_model(tmp_path):
    class Huge(Linear):
        stages = (Linear.stages[0]._replace(steps=5),)
        factor = 1e30

    with pytest.raises(NotFiniteError, match=r"5 steps in a row up to step 5 overflowed float16"):
        run(Huge(ALONE), tmp_path, precision="fp16", ema_decay=None, validate_steps=0)
    assert not (tmp_path / "model").exists()


def test_the_scale_halves_at_an_overflow_and_doubles_after_a_while(tmp_path):
    scale, yes, no = LossScale(CPU), torch.tensor(True), torch.tensor(False)
    scale.update(no)
    assert float(scale.scale) == INITIAL_SCALE / 2
    for _ in range(GROWTH_STEPS - 1):
        scale.update(yes)
    assert float(scale.scale) == INITIAL_SCALE / 2
    scale.update(yes)
    assert (float(scale.scale), float(scale.steps)) == (INITIAL_SCALE, 0.0)


def test_a_profile_of_a_few_steps_is_written(tmp_path):
    options = RunOptions(out=tmp_path, device="cpu", profile=True)
    fit(Toy(ALONE), CONFIG, options, ALONE)
    assert '"traceEvents"' in (tmp_path / "profile/trace.json").read_text()
    table = (tmp_path / "profile/kernels.txt").read_text()
    assert "matrix products" in table
    assert "convolutions" in table
    assert len(metrics(tmp_path)) == 15


def test_kernels_are_summed_by_kind():
    """Names as an H100 has them."""
    kernels = [
        TimedKernel("nvjet_tst_128x256_64x4_2x1_v_bz_TNT", 6000.0, 20),
        TimedKernel("sm90_xmma_gemm_bf16bf16_bf16f32", 2000.0, 10),
        TimedKernel("pytorch_flash::flash_fwd_kernel<Flash_fwd", 1000.0, 10),
        TimedKernel("triton_poi_fused_gelu_3", 500.0, 10),
        TimedKernel("multi_tensor_apply_kernel<at::native::FusedAdamMathFunctor", 400.0, 10),
        TimedKernel("Memcpy HtoD (Pinned -> Device)", 100.0, 5),
    ]
    lines = kernel_groups(kernels, 5).splitlines()
    assert [line[:22].strip() for line in lines[1:]] == [
        "matrix products",
        "attention",
        "fused by the compiler",
        "optimiser",
        "copies and fills",
        "all",
    ]
    assert lines[1].split()[2:5] == ["1.60", "80.0%", "6"]
    assert "1.20 ms nvjet" in lines[1]
    assert lines[-1].split() == ["all", "2.00"]


def said(caplog):
    return [r.getMessage() for r in caplog.records if "torch.compile" in r.getMessage()]


@pytest.mark.slow
def test_no_compiler_is_one_line_and_no_stop(tmp_path, caplog):
    """And the numbers are those of a run that never tried: batch statistics, dropout and all."""
    from torch._inductor import config

    assert run(Toy(ALONE), tmp_path / "plain") == 0
    with config.patch({"cpp.cxx": (None, str(tmp_path / "missing"))}):
        assert run(Toy(ALONE), tmp_path / "run", compile=True) == 0
    assert len(said(caplog)) == 1
    assert said(caplog)[0].startswith("training without torch.compile, which fails here")
    assert "\n" not in said(caplog)[0]
    losses = [[row["loss"] for row in metrics(tmp_path / name)] for name in ("plain", "run")]
    assert losses[0] == losses[1]


@torch.library.custom_op("pacofr_tests::misdescribed", mutates_args=())
def misdescribed(x: torch.Tensor) -> torch.Tensor:
    """An operation that tells the compiler of another shape than it has."""
    return x.clone()


@misdescribed.register_fake
def _(x):
    return x.new_empty(x.shape[0], x.shape[1], x.shape[2], x.shape[3] + 1)


misdescribed.register_autograd(lambda context, gradient: gradient)


class Misdescribed(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(misdescribed(x))


@pytest.mark.slow
def test_a_block_that_cannot_be_compiled_is_trained_as_it_is(tmp_path, caplog):
    """A small function compiles here; this model does not."""
    task = Toy(ALONE)
    task.model.body = Misdescribed(task.model.body)
    task.compiled_parts = lambda: (task.model.body,)
    assert run(task, tmp_path / "run", compile=True) == 0
    assert len(said(caplog)) == 1
    assert "\n" not in said(caplog)[0]


@pytest.mark.slow
def test_a_compiler_that_fails_later_ends_the_run_with_one_line(tmp_path):
    """At validation, for which the parts are compiled anew."""
    from torch._inductor import config

    class Late(Toy):
        def validate(self, model):
            with config.patch({"cpp.cxx": (None, str(tmp_path / "missing"))}):
                return super().validate(model)

    line = r"torch\.compile failed in the middle .*without compile"
    with pytest.raises(UserError, match=line) as caught:
        run(Late(ALONE), tmp_path / "run", compile=True, ema_decay=None)
    assert "\n" not in str(caught.value)
