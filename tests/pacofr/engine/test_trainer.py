"""The training loop on a task that uses all of it: stages, average, dropout, validation, ranks."""

import math
import os
import signal
from pathlib import Path

import pytest
import torch
from helpers import training_toy
from helpers.processes import start, start_two, wait_until
from helpers.run_files import assert_same_end, metrics
from helpers.training_toy import Toy, ToyNet, run_toy
from safetensors.torch import load_file
from torch import nn

from pacofr.engine.checkpoint import checkpoints, read_progress, write_model
from pacofr.engine.distributed import World, process_group
from pacofr.engine.optimization.ema import Ema
from pacofr.engine.step_metrics import StepLoss
from pacofr.engine.task import RunOptions, TrainerConfig
from pacofr.engine.trainer import NotFiniteError, fit
from pacofr.errors import UserError

SCRIPT = Path(__file__).parents[2] / "helpers" / "training_toy.py"
STEPS = 15
ALONE = World(0, 1, torch.device("cpu"))


pytestmark = pytest.mark.usefixtures("one_thread")


def weights(out):
    return load_file(out / "model/model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run_toy(out) == 0
    return out


def test_two_stages_validation_and_the_average(uninterrupted):
    rows = metrics(uninterrupted)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["stage"] for row in rows] == ["first"] * 7 + ["second"] * 8
    assert [row["step"] for row in rows if "validation" in row] == [5, 10, 15]
    assert rows[-1]["images"] == 9 * STEPS
    training = uninterrupted / "last/training"
    published, average = weights(uninterrupted), load_file(training / "ema.safetensors")
    latest = load_file(training / "weights.safetensors")
    assert all(torch.equal(value, average[name]) for name, value in published.items())
    assert not torch.equal(published["head.weight"], latest["head.weight"])


def test_the_loop_is_the_steps_written_out(tmp_path):
    """Seven steps of AdamW with clipping and the average, in plain PyTorch."""
    toy = Toy(ALONE, dropout=0.0)
    toy.stages = toy.stages[:1]
    config = TrainerConfig(precision="fp32", clip_norm=0.5, ema_decay=0.9)
    assert fit(toy, config, RunOptions(out=tmp_path, device="cpu"), ALONE) == 0

    torch.manual_seed(0)
    net = ToyNet(0.0)
    mean = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.AdamW(net.parameters())
    data = Toy(ALONE).data(toy.stages[0])
    for step in range(7):
        images, targets = data.read(data.plan.global_batch(step, {}))
        optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
        optimizer.zero_grad()
        (net(images) - targets).square().mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in net.state_dict().items():
            kept = decay * mean[name] + (1 - decay) * value
            mean[name] = kept if value.is_floating_point() else value.clone()
    for name, value in weights(tmp_path).items():
        torch.testing.assert_close(value, mean[name], rtol=1e-5, atol=1e-7)


def test_a_moving_average_in_closed_form():
    net = nn.Linear(1, 1)
    nn.init.zeros_(net.weight)
    ema = Ema(net, decay=0.5)
    nn.init.ones_(net.weight)
    rest = 1.0
    for step in range(20):
        ema.update(net)
        rest *= min(0.5, (1 + step) / (10 + step))
        assert float(ema.model.weight) == pytest.approx(1 - rest, rel=1e-5)
    assert not any(p.requires_grad for p in ema.model.parameters())


@pytest.mark.parametrize("after", [4, 9])
def test_kill_9_and_resume_give_the_same_run(tmp_path, uninterrupted, after):
    """In either stage; dropout and the average included."""
    out = tmp_path / "run"
    process = start(SCRIPT, out, "--slow", "0.1", "--save", "1", "--workers", "1")
    wait_until(lambda: bool(checkpoints(out)) and _steps(out) >= after, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 0 < read_progress(checkpoints(out)[0]).step < STEPS
    assert run_toy(out) == 0
    assert_same_end(out, uninterrupted)


def test_kill_9_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, uninterrupted):
    out = tmp_path / "run"
    process = start(SCRIPT, out, "--slow", "0.05", "--save", "2", "--slow-export", "0.4")

    def writing():
        return checkpoints(out) and list((out / "checkpoints").glob(".writing_*/model/config.json"))

    wait_until(lambda: bool(writing()), process)
    process.kill()
    process.wait()
    assert writing()
    before = read_progress(checkpoints(out)[0]).step
    assert 0 < before < STEPS
    assert _steps(out) >= before + 2  # it went on while the last one was written
    assert run_toy(out) == 0
    assert_same_end(out, uninterrupted)


def test_a_checkpoint_that_cannot_be_written_ends_the_run_at_the_next_step(tmp_path, monkeypatch):
    """All but the first fail, as on a disk that fills up."""
    saved = []

    def full(folder, model, config):
        if saved:
            raise OSError(28, "No space left on device")
        saved.append(folder)
        write_model(folder, model, config)

    monkeypatch.setattr(training_toy, "write_model", full)
    with pytest.raises(UserError, match=r"No space left.*last good checkpoint is .*step_00000002"):
        run_toy(tmp_path, save=2, slow=0.02)
    assert 4 <= _steps(tmp_path) < STEPS
    assert not list(tmp_path.rglob(".writing*"))


def _steps(out):
    return (out / "metrics.jsonl").read_text().count("\n")


def test_ctrl_c_finishes_the_step_and_saves(tmp_path, uninterrupted):
    out = tmp_path / "run"
    process = start(SCRIPT, out, "--slow", "0.1", "--workers", "1")
    wait_until(lambda: (out / "metrics.jsonl").exists() and _steps(out) >= 4, process)
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ""
    assert process.returncode == 128 + signal.SIGINT
    assert read_progress(checkpoints(out)[0]).step == _steps(out)
    assert run_toy(out) == 0
    assert_same_end(out, uninterrupted)


def test_two_processes_give_the_numbers_of_one(tmp_path):
    """Uneven slices, accumulation off: batch statistics are those of the global batch."""
    run_toy(tmp_path / "one", dropout=0.0)
    processes = start_two(SCRIPT, tmp_path / "two", "--dropout", "0")
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    for two, one in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert two.keys() == one.keys()
        for name in one.keys() & {"loss", "off", "grad_norm", "validation"}:
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6)
        assert two["above"] == one["above"]
    ours, theirs = weights(tmp_path / "two"), weights(tmp_path / "one")
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_accumulated_micro_batches_are_the_whole_batch(tmp_path):
    """Without batch statistics, which are those of a micro-batch."""

    class NoNorm(Toy):
        def __init__(self, world):
            super().__init__(world, dropout=0.0)
            self.model.body[1] = nn.Identity()

    for name, parts in (("whole", 1), ("cut", 4)):
        config = TrainerConfig(precision="fp32", accumulate=parts)
        fit(NoNorm(ALONE), config, RunOptions(out=tmp_path / name, device="cpu"), ALONE)
    for whole, cut in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "cut"), strict=True):
        for name in ("loss", "off", "grad_norm"):
            assert cut[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-6)
        assert cut["above"] == whole["above"]


def test_a_batch_that_is_not_finite_is_not_applied(tmp_path, uninterrupted):
    """Sample 4 of the second source is damaged at first and repaired afterwards."""
    with pytest.raises(NotFiniteError, match=r"step \d+ is not finite \(loss nan.*not applied"):
        run_toy(tmp_path, broken=(1, 4), save=1)
    good = load_file(tmp_path / "last/training/weights.safetensors")
    assert all(bool(value.isfinite().all()) for value in good.values())
    assert len(metrics(tmp_path)) == read_progress(checkpoints(tmp_path)[0]).step < STEPS
    assert run_toy(tmp_path) == 0
    assert_same_end(tmp_path, uninterrupted)


def test_a_gradient_that_is_not_finite_is_not_applied(tmp_path):
    class SteepAtZero(Toy):
        def loss(self, forward, batch, stage):
            return StepLoss({"loss": (0 * forward(batch.images)).sum().sqrt()})

    config = TrainerConfig(precision="fp32")
    with pytest.raises(NotFiniteError, match=r"step 1 is not finite \(loss 0, gradient norm nan"):
        fit(SteepAtZero(ALONE), config, RunOptions(out=tmp_path, device="cpu"), ALONE)


def test_a_folder_that_another_process_wrote_to_meanwhile_is_left_alone(tmp_path):
    class Slow(Toy):
        def make_optimizer(self):
            (tmp_path / "checkpoints/step_00000007").mkdir(parents=True)
            return super().make_optimizer()

    config = TrainerConfig(precision="fp32")
    with pytest.raises(UserError, match="another process has just written"):
        fit(Slow(ALONE), config, RunOptions(out=tmp_path, device="cpu"), ALONE)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_another_configuration_is_refused_in_one_line(tmp_path):
    run_toy(tmp_path, save=5)
    with pytest.raises(UserError, match=r"another configuration \(dropout: 0.3 there, 0.1 here\)"):
        run_toy(tmp_path, dropout=0.1)
    assert run_toy(tmp_path, slow=0.001) == 0


def test_global_batch_norm_of_one_process_is_batch_norm(tmp_path):
    """Run in a group of one: outputs, gradients and running statistics."""
    from pacofr.models.global_batch_norm import use_global_batch_norm

    torch.distributed.init_process_group(
        "gloo", rank=0, world_size=1, init_method=f"file://{tmp_path / 'store'}"
    )
    try:
        torch.manual_seed(0)
        plain = nn.Sequential(nn.BatchNorm2d(3))
        nn.init.normal_(plain[0].weight)
        ours = nn.Sequential(nn.BatchNorm2d(3))
        ours.load_state_dict(plain.state_dict())
        use_global_batch_norm(ours)
        images = 5 + torch.randn(4, 3, 5, 5)
        gradients = []
        for net in (plain, ours):
            inputs = images.clone().requires_grad_()
            (net(inputs) ** 3).sum().backward()
            gradients.append(inputs.grad)
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value)
    finally:
        torch.distributed.destroy_process_group()


def test_files_of_a_run_are_readable_like_their_neighbours(tmp_path, uninterrupted):
    (tmp_path / "plain").write_text("")
    expected = os.stat(tmp_path / "plain").st_mode
    files = [path for path in uninterrupted.rglob("*") if path.is_file() and path.name[0] != "."]
    assert {os.stat(path).st_mode for path in files} == {expected}
    assert len(files) == 10


def test_numbers_are_plain_json(uninterrupted):
    for row in metrics(uninterrupted):
        assert all(not isinstance(v, float) or math.isfinite(v) for v in row.values())
        assert isinstance(row["grad_norms"], dict)


def test_a_world_of_one_needs_no_group():
    with process_group("cpu") as world:
        assert (world.rank, world.size, world.is_main) == (0, 1, True)
