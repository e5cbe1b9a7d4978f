"""The engine's parts: optimiser, sampling, records, devices; and stop signals."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from helpers.training_toy import NamedParts

from pacofr.engine.batches.sampling import EpochPlan, MixturePlan, MixtureSource, RankSampler
from pacofr.engine.device import choose_device, resolve_precision
from pacofr.engine.distributed import World, even_slices, rank_slice, require_same_on_all_ranks
from pacofr.engine.optimization import adamw
from pacofr.engine.run_log import RunLog, Throughput, cut_metrics, format_time
from pacofr.errors import UserError
from pacofr.pretraining.method.candidate_usage import usage_entropy
from pacofr.utils.stop_request import StopRequest

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
        adamw.learning_rate(float(e), peak=peak, warm_up=warm_up, total=total, floor=floor)
        for e in official[f"{item}/epoch"]
    ]
    np.testing.assert_allclose(ours, official[f"{item}/value"], rtol=1e-9, atol=1e-15)


def test_learning_rate_is_the_same_in_steps_as_in_epochs():
    in_epochs = adamw.learning_rate(2.5, peak=1.0, warm_up=1.0, total=4.0)
    in_steps = adamw.learning_rate(25.0, peak=1.0, warm_up=10.0, total=40.0)
    assert in_epochs == pytest.approx(in_steps, rel=1e-12)


def test_peak_of_the_papers_batch():
    assert adamw.peak_learning_rate(1.5e-4, 720) == pytest.approx(4.21875e-4)


def test_only_matrices_outside_the_codebook_decay():
    net = NamedParts()
    optimizer = adamw.make_adamw(net, weight_decay=0.5, undecayed=["codebook."])
    net(torch.ones(2, 3)).backward()
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    adamw.set_learning_rate(optimizer, 0.1)
    optimizer.step()
    shrunk = {n for n, p in net.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert shrunk == {"body.weight", "cls_token"}
    torch.testing.assert_close(net.cls_token.detach(), before["cls_token"] * 0.95)


def test_gradient_norms_are_torchs_and_split_by_part():
    net = NamedParts()
    net(torch.randn(2, 3, generator=torch.Generator().manual_seed(0))).square().backward()
    norms = adamw.gradient_norms(net)
    expected = torch.nn.utils.clip_grad_norm_(net.parameters(), float("inf"))
    torch.testing.assert_close(norms.total, expected)
    assert {name for name, _ in norms.parts} == {"body", "norm", "codebook", "cls_token"}


# ---- sampling ----------------------------------------------------------------------------------


def global_batches(plan, steps):
    return list(RankSampler(plan, ALONE, 0, steps))


def test_order_is_a_pure_function_of_seed_and_epoch():
    plan = EpochPlan(100, 10, 3, seed=4)
    np.testing.assert_array_equal(plan.order(1), EpochPlan(100, 7, 9, seed=4).order(1))
    assert sorted(plan.order(1)) == list(range(100))
    assert (plan.order(1) != plan.order(2)).any()
    assert (plan.order(1) != EpochPlan(100, 10, 3, seed=5).order(1)).any()


MIXTURE = MixturePlan((MixtureSource(7, 3, stream=1), MixtureSource(5, 2, stream=2)), seed=3)


def test_whole_epochs_drop_the_remainder():
    plan = EpochPlan(53, 10, 2, seed=0)
    assert plan.steps == 10
    batches = global_batches(plan, plan.steps)
    for epoch in (0, 1):
        seen = np.concatenate([batch.index for batch in batches[5 * epoch : 5 * epoch + 5]])
        np.testing.assert_array_equal(seen, plan.order(epoch)[:50])
    assert [batch.epoch.tolist() for batch in batches] == [[0] * 10] * 5 + [[1] * 10] * 5


def test_a_mixture_passes_over_each_source_again_and_again():
    batches = global_batches(MIXTURE, 14)
    for source, per_batch, samples in ((0, 3, 7), (1, 2, 5)):
        rows = [batch for batch in batches if (batch.source == source).sum() == per_batch]
        assert len(rows) == 14
        index = np.concatenate([batch.index[batch.source == source] for batch in batches])
        epoch = np.concatenate([batch.epoch[batch.source == source] for batch in batches])
        for number in range(len(index) // samples):
            assert sorted(index[epoch == number]) == list(range(samples))
    later = MixturePlan(MIXTURE.sources, seed=3, first_step=100)
    for ours, theirs in zip(RankSampler(later, ALONE, 102, 105), batches[2:5], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("plan", [EpochPlan(53, 10, 2, seed=0), MIXTURE])
def test_ranks_together_see_the_global_batches(size, plan):
    alone = list(RankSampler(plan, ALONE, 0, 10))
    ranks = [list(RankSampler(plan, World(r, size, CPU), 0, 10)) for r in range(size)]
    for step, whole in enumerate(alone):
        for column, expected in enumerate(whole):
            joined = np.concatenate([rank[step][column] for rank in ranks])
            np.testing.assert_array_equal(joined, expected)


@pytest.mark.parametrize("plan", [EpochPlan(53, 10, 3, seed=0), MIXTURE])
def test_resuming_is_starting_at_a_later_step(plan):
    whole, tail = list(RankSampler(plan, ALONE, 0, 15)), list(RankSampler(plan, ALONE, 7, 15))
    assert len(tail) == len(whole) - 7 == len(RankSampler(plan, ALONE, 7, 15))
    for ours, theirs in zip(tail, whole[7:], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [1, 5, 8, 9])
@pytest.mark.parametrize("parts", [1, 3, 8])
def test_slices_cover_everything_once(count, parts):
    items = list(range(count))
    assert [i for piece in even_slices(count, parts) for i in items[piece]] == items
    assert all(items[piece] for piece in even_slices(count, parts))
    slices = [items[rank_slice(count, World(r, parts, CPU))] for r in range(parts)]
    assert sum(slices, []) == items
    assert max(map(len, slices)) - min(map(len, slices)) <= 1


def test_too_little_data_and_too_many_processes_are_refused():
    with pytest.raises(UserError, match="batch of 64 images, got 10 images"):
        EpochPlan(10, 64, 1, 0).check(ALONE)
    with pytest.raises(UserError, match="each of 8 processes"):
        EpochPlan(10, 4, 1, 0).check(World(0, 8, CPU))


# ---- records and signals -----------------------------------------------------------------------


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(f'{{"step": {n}}}\n' for n in range(1, 6)) + '{"step": 6, "lo')
    cut_metrics(file, 3)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3]


def test_other_ranks_write_nothing(tmp_path):
    records = RunLog(tmp_path, writes=False, first_step=0, total_steps=3, tensorboard=True)
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
    assert format_time(90.0) == "2 min"
    assert format_time(3 * 3600 + 125.0) == "3 h 02 min"
    assert format_time(float("inf")) == "unknown"


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
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:-1", "cuda:first", "cpu:x", ""])
def test_devices_that_are_none_are_named(name):
    with pytest.raises(UserError, match="expected cpu, cuda, cuda:N, mps or auto, got"):
        choose_device(name)


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_automatic_precision_is_what_the_device_multiplies_natively(native, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert resolve_precision("auto", torch.device("cuda")) == expected
    fast = {"amx_bf16", "avx512_bf16"}
    flags = {name for name, present in torch.cpu.get_capabilities().items() if present}
    assert resolve_precision("auto", CPU) == ("bf16" if fast & flags else "fp32")
    assert resolve_precision("auto", torch.device("mps")) == "fp32"
    assert [resolve_precision(name, CPU) for name in ("bf16", "fp32")] == ["bf16", "fp32"]


def test_one_process_agrees_with_itself():
    require_same_on_all_ranks(12345678, ALONE, "the step")
