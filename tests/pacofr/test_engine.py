"""The engine's parts: schedule, batches, checkpoints, records, signals."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pacofr.engine import checkpoint, optim
from pacofr.engine.checkpoint import Progress
from pacofr.engine.distributed import World, choose_device, refuse_disagreement, share, split
from pacofr.engine.loader import Schedule, ShareSampler
from pacofr.engine.precision import resolve_precision
from pacofr.engine.run_log import Records, Throughput, clock, cut_metrics
from pacofr.engine.signals import StopRequest
from pacofr.errors import UserError
from pacofr.pretraining.step_metrics import usage_entropy

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)


# ---- optimiser ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "peak", "warm_up", "total", "floor"),
    [("lr/w40_e400", 2.4e-3, 40.0, 400.0, 0.0), ("lr/w1_e16_min1e-6", 6e-4, 1.0, 16.0, 1e-6)],
)
def test_learning_rates_are_those_of_mae(parity_folder, item, peak, warm_up, total, floor):
    official = np.load(parity_folder / "mae.npz")
    ours = [
        optim.learning_rate(float(e), peak=peak, warm_up=warm_up, total=total, floor=floor)
        for e in official[f"{item}/epoch"]
    ]
    np.testing.assert_allclose(ours, official[f"{item}/value"], rtol=1e-9, atol=1e-15)


def test_learning_rate_is_the_same_in_steps_as_in_epochs():
    in_epochs = optim.learning_rate(2.5, peak=1.0, warm_up=1.0, total=4.0)
    in_steps = optim.learning_rate(25.0, peak=1.0, warm_up=10.0, total=40.0)
    assert in_epochs == pytest.approx(in_steps, rel=1e-12)


def test_peak_of_the_papers_batch():
    assert optim.peak_learning_rate(1.5e-4, 720) == pytest.approx(4.21875e-4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.codebook = nn.Module()
        self.codebook.tokens = nn.Parameter(torch.ones(5, 2, 3))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 4))

    def forward(self, x):
        return self.norm(self.body(x)).sum() + self.codebook.tokens.sum() + self.cls_token.sum()


def test_only_matrices_outside_the_codebook_decay():
    net = Net()
    optimizer = optim.make_adamw(net, weight_decay=0.5, undecayed=["codebook."])
    net(torch.ones(2, 3)).backward()
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optim.set_learning_rate(optimizer, 0.1)
    optimizer.step()
    shrunk = {n for n, p in net.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert shrunk == {"body.weight", "cls_token"}
    torch.testing.assert_close(net.cls_token.detach(), before["cls_token"] * 0.95)


def test_gradient_norms_are_torchs_and_split_by_part():
    net = Net()
    net(torch.randn(2, 3, generator=torch.Generator().manual_seed(0))).square().backward()
    norms = optim.gradient_norms(net)
    expected = torch.nn.utils.clip_grad_norm_(net.parameters(), float("inf"))
    torch.testing.assert_close(norms.total, expected)
    assert {name for name, _ in norms.parts} == {"body", "norm", "codebook", "cls_token"}


# ---- batches -----------------------------------------------------------------------------------


def test_order_is_a_pure_function_of_seed_and_epoch():
    schedule = Schedule(100, 10, 3, seed=4)
    np.testing.assert_array_equal(schedule.order(1), Schedule(100, 7, 9, seed=4).order(1))
    assert sorted(schedule.order(1)) == list(range(100))
    assert (schedule.order(1) != schedule.order(2)).any()
    assert (schedule.order(1) != Schedule(100, 10, 3, seed=5).order(1)).any()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_ranks_together_see_the_global_batches(size):
    schedule = Schedule(53, 10, 2, seed=0)
    alone = list(ShareSampler(schedule, ALONE, 0))
    assert len(alone) == 10  # what is left of an epoch is dropped
    ranks = [list(ShareSampler(schedule, World(r, size, CPU), 0)) for r in range(size)]
    for step, whole in enumerate(alone):
        joined = np.concatenate([rank[step].positions for rank in ranks])
        np.testing.assert_array_equal(joined, whole.positions)
        assert {rank[step].epoch for rank in ranks} == {whole.epoch}


def test_resuming_is_starting_at_a_later_step():
    schedule = Schedule(53, 10, 3, seed=0)
    whole, tail = list(ShareSampler(schedule, ALONE, 0)), list(ShareSampler(schedule, ALONE, 7))
    assert len(tail) == len(whole) - 7 == len(ShareSampler(schedule, ALONE, 7))
    for ours, theirs in zip(tail, whole[7:], strict=True):
        np.testing.assert_array_equal(ours.positions, theirs.positions)
        assert ours.epoch == theirs.epoch


@pytest.mark.parametrize("count", [1, 5, 8, 9])
@pytest.mark.parametrize("parts", [1, 3, 8])
def test_slices_and_shares_cover_everything_once(count, parts):
    items = list(range(count))
    assert [i for piece in split(count, parts) for i in items[piece]] == items
    assert all(items[piece] for piece in split(count, parts))
    shares = [share(items, World(r, parts, CPU)) for r in range(parts)]
    assert sum(shares, []) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_too_little_data_and_too_many_processes_are_refused():
    with pytest.raises(UserError, match="batch of 64 images, got 10 images"):
        Schedule(10, 64, 1, 0).check(ALONE)
    with pytest.raises(UserError, match="each of 8 processes"):
        Schedule(10, 4, 1, 0).check(World(0, 8, CPU))


# ---- checkpoints -------------------------------------------------------------------------------


def save(run, net, optimizer, step, *, keep=2, config=None):
    return checkpoint.save_checkpoint(
        run,
        model=net,
        model_config={"width": 4},
        run_config=config or {"lr": 0.1, "model": {"width": 4}, "workers": 2},
        optimizer=optimizer,
        progress=Progress(step, step * 10, 1.5, 1),
        generators=checkpoint.generator_bytes(CPU)[None],
        keep=keep,
    )


@pytest.fixture
def trained():
    net = Net()
    optimizer = optim.make_adamw(net, weight_decay=0.1)
    optim.set_learning_rate(optimizer, 0.01)
    for number in range(3):
        optimizer.zero_grad()
        net(torch.full((2, 3), float(number))).square().backward()
        optimizer.step()
    return net, optimizer


def test_a_checkpoint_gives_everything_back(tmp_path, trained):
    net, optimizer = trained
    torch.manual_seed(5)
    folder = save(tmp_path, net, optimizer, 3)
    expected_draw = torch.rand(3)

    other = Net()
    again = optim.make_adamw(other, weight_decay=0.1)
    progress, generators = checkpoint.resume(folder, other, again)
    checkpoint.set_generators(generators[0], CPU)
    assert progress == Progress(3, 30, 1.5, 1)
    assert torch.equal(torch.rand(3), expected_draw)
    for model, opt in ((net, optimizer), (other, again)):  # one more step: equal to the last bit
        optim.set_learning_rate(opt, 0.01)
        opt.zero_grad()
        model(torch.full((2, 3), 0.3)).square().backward()
        opt.step()
    for (name, a), (_, b) in zip(net.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_last_is_a_relative_link_and_old_ones_go(tmp_path, trained):
    run = tmp_path / "run"
    for step in (1, 2, 3):
        save(run, *trained, step, keep=2)
    assert [c.name for c in checkpoints_of(run)] == ["step_00000003", "step_00000002"]
    assert not os.path.isabs(os.readlink(run / "last"))
    moved = tmp_path / "moved"
    shutil.move(run, moved)
    assert json.loads((moved / "last/training/state.json").read_text())["step"] == 3
    assert not [p for p in moved.rglob(".writing*")]


def checkpoints_of(run):
    return checkpoint.checkpoints(run)


def test_what_a_killed_save_left_behind_goes_with_the_next(tmp_path, trained):
    for left in (".writing_step_00000003", ".deleted_step_00000001"):
        (tmp_path / "checkpoints" / left / "model").mkdir(parents=True)
    save(tmp_path, *trained, 5)
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step_00000005"]


def test_a_disk_without_links_costs_the_link_only(tmp_path, trained, monkeypatch, caplog):
    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    place = save(tmp_path, *trained, 5)
    assert checkpoint.checkpoints(tmp_path) == [place]
    assert "does not point to the newest checkpoint" in caplog.text


def test_another_configuration_is_refused_by_the_names_of_its_fields(tmp_path, trained):
    folder = save(tmp_path, *trained, 1)
    theirs = {"lr": 0.2, "model": {"width": 8}, "workers": 9}
    with pytest.raises(UserError) as caught:
        checkpoint.refuse_other_config(folder, theirs, frozenset({"workers"}))
    text = str(caught.value)
    assert "lr: 0.1 there, 0.2 here" in text
    assert "model.width: 4 there, 8 here" in text
    assert "workers" not in text
    same = {"lr": 0.1, "model": {"width": 4}, "workers": 9}
    checkpoint.refuse_other_config(folder, same, frozenset({"workers"}))


def test_weights_load_strictly(tmp_path, trained):
    file = save(tmp_path, *trained, 1) / "model/model.safetensors"
    bigger = Net()
    bigger.extra = nn.Parameter(torch.ones(2))
    with pytest.raises(UserError, match=r"missing 1 \['extra'\]"):
        checkpoint.load_weights(bigger, file)
    wider = Net()
    wider.cls_token = nn.Parameter(torch.ones(1, 1, 9))
    with pytest.raises(UserError, match="expected cls_token of shape"):
        checkpoint.load_weights(wider, file)


@pytest.mark.parametrize("name", ["model/model.safetensors", "training/optimizer.safetensors"])
def test_a_cut_checkpoint_is_named(tmp_path, trained, name):
    net, optimizer = trained
    folder = save(tmp_path, net, optimizer, 1)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.resume(folder, net, optimizer)


def test_an_unwritable_place_keeps_the_last_good_one(tmp_path, trained, monkeypatch):
    save(tmp_path, *trained, 1)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match=r"No space left.*last good checkpoint is .*step_00000001"):
        save(tmp_path, *trained, 2)
    assert [c.name for c in checkpoint.checkpoints(tmp_path)] == ["step_00000001"]
    assert not list((tmp_path / "checkpoints").glob(".writing*"))


def test_publishing_replaces_the_model_whole(tmp_path, trained):
    (tmp_path / "model").mkdir(parents=True)
    (tmp_path / "model/stale").touch()
    folder = save(tmp_path, *trained, 1)
    target = checkpoint.publish(tmp_path, folder)
    assert sorted(p.name for p in target.iterdir()) == ["config.json", "model.safetensors"]


# ---- records and signals -----------------------------------------------------------------------


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(f'{{"step": {n}}}\n' for n in range(1, 6)) + '{"step": 6, "lo')
    cut_metrics(file, 3)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3]


def test_other_ranks_write_nothing(tmp_path):
    records = Records(tmp_path, writes=False, first_step=0, total_steps=3, tensorboard=True)
    records.picture("a", np.zeros((2, 2, 3), np.uint8))
    records.close()
    assert not list(tmp_path.iterdir())


def test_throughput_counts_images_between_marks(monkeypatch):
    now = iter([100.0, 101.0, 103.0, 200.0, 202.0])
    monkeypatch.setattr("pacofr.engine.run_log.time.monotonic", lambda: next(now))
    meter = Throughput()
    assert meter.rate == 0.0
    for step in (1, 2, 3):
        meter.add(step, 64 * step)
    assert meter.rate == pytest.approx(128 / 3)
    assert meter.seconds_for(10) == pytest.approx(15.0)
    meter.restart()
    meter.add(4, 256)  # long after: the gap does not count
    meter.add(5, 320)
    assert meter.rate == pytest.approx(32.0)


def test_times_for_people():
    assert clock(90.0) == "2 min"
    assert clock(3 * 3600 + 125.0) == "3 h 02 min"
    assert clock(float("inf")) == "unknown"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert stop.exit_code == 0
        os.kill(os.getpid(), number)
        assert stop.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_second_interrupt_interrupts():
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


# ---- small things ------------------------------------------------------------------------------


def test_usage_entropy_between_one_candidate_and_all():
    assert usage_entropy(torch.tensor([[5.0, 5.0, 5.0], [2.0, 2.0, 2.0]])) == pytest.approx(1.0)
    assert usage_entropy(torch.tensor([[5.0, 0.0, 0.0], [0.0, 3.0, 0.0]])) == pytest.approx(0.0)
    half = usage_entropy(torch.tensor([[4.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    assert half == pytest.approx(0.5)
    assert usage_entropy(torch.tensor([[4.0], [4.0]])) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_asking_for_a_gpu_that_is_not_there():
    with pytest.raises(UserError, match="found none; run with --device cpu"):
        choose_device("cuda")


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_automatic_precision_is_what_the_device_multiplies_natively(native, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": native})
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("auto", torch.device("cuda")) == expected
    assert resolve_precision("auto", torch.device("mps")) == "fp32"
    assert [resolve_precision(name, CPU) for name in ("bf16", "fp32")] == ["bf16", "fp32"]


def test_one_process_agrees_with_itself():
    refuse_disagreement(12345678, ALONE, "the step")
