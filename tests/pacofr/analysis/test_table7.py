"""`pacofr evidence`: equal images, nothing done twice, failures told, verdicts that weigh noise."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.crops import write_annotated_photos, write_shards
from helpers.pacofr_tiny import tiny_config
from helpers.processes import start, wait_until
from PIL import Image

from pacofr.analysis.table7 import (
    MAIN_ROWS,
    METHOD,
    Table7Plan,
    jobs,
    make_plan,
    reproduce_table7,
    run_config,
)
from pacofr.analysis.table7_config import EvidenceConfig
from pacofr.analysis.table7_plot import draw_scores
from pacofr.analysis.table7_report import (
    OURS,
    PAPER_AFLW,
    Probed,
    RunScore,
    comparisons,
    seed_noise,
)
from pacofr.engine.checkpoint import checkpoints, read_progress
from pacofr.errors import UserError
from pacofr.pretraining.presets import ABLATIONS, PRESETS

SCRIPT = Path(__file__).parents[2] / "helpers" / "table7_tiny.py"

# ---- the table ---------------------------------------------------------------------------------


def score(row, seed, mean, spread=0.5, photos=200):
    """Faces differ much, but alike for every encoder."""
    common = np.random.default_rng(1).normal(0, 3, photos)
    own = np.random.default_rng([len(row), seed]).normal(0, spread, photos)
    each = mean + common + own - common.mean() - own.mean()
    probed = Probed(nme=mean, low=0.0, high=0.0, mean_shape_nme=20.0, each=tuple(each))
    return RunScore(
        name=f"{row}-s{seed}", row=row, seed=seed, minutes=1.0, probed=probed, failed=None
    )


def verdict(scores, better, worse):
    pairs = {(pair.better, pair.worse): pair for pair in comparisons(scores)}
    return pairs[better, worse]


def test_a_clear_gap_is_decided_although_faces_differ_more():
    others = [score("3x196-random", seed, nme) for seed, nme in enumerate((5.2, 5.22))]
    pair = verdict([score(METHOD, 0, 5.0), score("1-token", 0, 5.4), *others], METHOD, "1-token")
    assert pair.verdict == "confirmed"
    assert pair.gap == pytest.approx(-0.4)
    pair = verdict([score(METHOD, 0, 5.4), score("1-token", 0, 5.0), *others], METHOD, "1-token")
    assert pair.verdict == "reversed"


def test_nothing_is_decided_before_the_seeds_noise_is_known():
    pair = verdict([score(METHOD, 0, 5.0), score("1-token", 0, 5.4)], METHOD, "1-token")
    assert pair.verdict == "needs seeds"


def test_a_gap_within_the_noise_is_undecided():
    runs = [score(METHOD, 0, 5.0), score(METHOD, 1, 5.01), score("1-token", 0, 5.02)]
    assert verdict(runs, METHOD, "1-token").verdict == "undecided"


def test_seeds_that_scatter_widen_the_interval():
    runs = [score(METHOD, seed, nme) for seed, nme in enumerate((5.0, 5.6, 4.7))]
    others = [score("1-token", seed, nme) for seed, nme in enumerate((5.4, 5.5, 5.3))]
    expected = np.sqrt((np.var([5.0, 5.6, 4.7], ddof=1) + np.var([5.4, 5.5, 5.3], ddof=1)) / 2)
    found = seed_noise(runs + others)
    assert found == (pytest.approx(expected), 4)
    assert found.quantile == pytest.approx(2.776, abs=1e-3)  # any table of Student's t
    pair = verdict(runs + others, METHOD, "1-token")
    assert pair.verdict == "undecided"
    assert pair.noise == pytest.approx(2.776 * expected * np.sqrt(2 / 3), rel=0.02)
    assert seed_noise([score(METHOD, 0, 5.0)]) is None


def test_the_paper_orders_every_pair_of_rows():
    assert {*PAPER_AFLW, OURS} == set(ABLATIONS)
    scores = [score(row, 0, 5.0) for row in ABLATIONS]
    pairs = comparisons(scores)
    assert [pair.worse for pair in pairs if pair.better == OURS] == sorted(
        PAPER_AFLW, key=lambda row: PAPER_AFLW[row]
    )
    papers = [pair for pair in pairs if pair.better != OURS]
    assert len(papers) == 21
    assert all(PAPER_AFLW[pair.better] < PAPER_AFLW[pair.worse] for pair in papers)


def test_the_chart_colours_what_is_decided():
    decided = [score(METHOD, 0, 5.0), score(METHOD, 1, 5.01), score("1-token", 0, 5.4)]
    open_pair = [score(METHOD, 0, 5.0), score(METHOD, 1, 5.01), score("1-token", 0, 5.02)]

    def green(scores):
        picture = draw_scores(scores).astype(int)
        return ((picture[..., 1] > 140) & (picture[..., [0, 2]] < 60).all(axis=2)).any()

    assert green(decided)
    assert not green(open_pair)


# ---- the command -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Shards and annotated photos."""
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder / "shards", crops=24)
    write_annotated_photos(folder / "helen" / "trainset", 8, seed=1)
    write_annotated_photos(folder / "helen" / "testset", 6, seed=2)
    return folder


@pytest.fixture
def config(data, tmp_path, monkeypatch):
    """The tiny model under the name micro; so few minutes that a run is one epoch of two steps."""
    monkeypatch.setitem(PRESETS, "micro", tiny_config)
    return EvidenceConfig(
        shards=data / "shards",
        helen=data / "helen",
        out=tmp_path / "out",
        minutes_per_run=0.0,
        seeds=2,
        device="cpu",
        threads=1,
    )


PLAN = Table7Plan(
    preset="micro",
    precision="fp32",
    epochs=32,
    crops=24,
    fingerprint="0",
    rows=tuple(ABLATIONS),
    main_rows=MAIN_ROWS,
    seeds=2,
    minutes_per_run=0.08,
    perceptual=True,
    warmup_fraction=1 / 8,
    measure="linear",
    seconds_incubating=0.04,
    seconds_after=0.02,
)


def test_the_first_call_times_the_method_and_plans_by_it(config):
    config = dataclasses.replace(config, minutes_per_run=0.1)
    plan = make_plan(config, tuple(ABLATIONS))
    assert plan.seconds_incubating > 0
    mean = plan.seconds_incubating / 8 + plan.seconds_after * 7 / 8
    assert plan.epochs == max(1, round(6 / (24 * mean)))
    assert make_plan(config, tuple(ABLATIONS)) == plan  # read, not timed again
    assert plan.main_rows == MAIN_ROWS


def test_every_row_comes_first_with_one_seed_the_main_ones_leading():
    names = [job.name for job in jobs(PLAN)]
    assert names[: len(MAIN_ROWS)] == [f"{row}-s0" for row in MAIN_ROWS]
    assert set(names[: len(ABLATIONS)]) == {f"{row}-s0" for row in ABLATIONS}
    assert names[len(ABLATIONS) :] == [f"{row}-s1" for row in MAIN_ROWS]


def test_every_row_warms_up_and_incubates_for_an_eighth(config):
    for job in jobs(PLAN):
        run = run_config(config, PLAN, job)
        assert run.epochs == 32
        assert run.model.predictor.incubation_steps == 8  # of 64 steps
        assert run.optim.warmup_epochs == 4
        assert run.loss.perceptual_net == f"self:{config.out / 'runs/perceptual'}"
        plain = PLAN._replace(perceptual=False, warmup_fraction=1 / 32)
        run = run_config(config, plain, job)
        assert run.loss.perceptual_net == "none"
        assert run.model.predictor.incubation_steps == 2
        assert run.optim.warmup_epochs == 1


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_killed_comparison_goes_on_and_repeats_nothing(data, config):
    """kill -9 in the third run, whatever it is doing; then the same command in this process."""
    pilot = dataclasses.replace(config, pilot=True)
    out = config.out / "pilot"
    flags = {"shards": config.shards, "helen": config.helen, "out": config.out, "device": "cpu"}
    given = [part for name, value in flags.items() for part in (f"--{name}", value)]
    process = start(SCRIPT, *given, "--seeds", 2, "--minutes-per-run", 0, "--pilot")
    second = out / "probes/1-token-s0.json"
    wait_until(lambda: second.exists() or process.returncode is not None, process)
    process.kill()
    process.communicate()
    done = [path.stem for path in (out / "probes").glob("*.json")]
    before = files(out / "probes") | {
        path: time for name in done for path, time in files(out / "runs" / name).items()
    }
    assert {"scratch", "perceptual", "1-token-s0"} <= set(done)
    assert reproduce_table7(pilot) == 0
    assert files(out).items() >= before.items()

    names = ["scratch", "perceptual", *(f"{row}-s{seed}" for row in MAIN_ROWS for seed in (0, 1))]
    assert sorted(path.stem for path in (out / "probes").glob("*.json")) == sorted(names)
    seen = {read_progress(checkpoints(out / "runs" / name)[0]).images for name in names[1:]}
    assert seen == {20}  # equal for all: two steps of ten
    table = json.loads((out / "table.json").read_text())
    assert {row["row"] for row in table["rows"]} >= set(MAIN_ROWS)
    assert sorted(table["choices"]) == [f"{METHOD}-s0", f"{METHOD}-s1"]
    for choices in table["choices"].values():
        assert sum(choices["shares"]) == pytest.approx(1.0)
    assert "Not comparable with the paper's numbers" in (out / "table.md").read_text()
    with Image.open(out / "table.png") as chart:
        assert chart.mode == "RGB"
    state = json.loads((out / f"runs/{METHOD}-s0/last/training/state.json").read_text())
    assert state["config"]["loss"]["perceptual_net"] == "self:perceptual"
    texts = [path.read_text() for path in out.rglob("*.json")]
    assert not any(str(config.out) in text or str(data) in text for text in texts)

    before = files(out / "runs")  # once more: nothing is left to do
    assert reproduce_table7(pilot) == 0
    assert files(out / "runs") == before

    diverging = dataclasses.replace(tiny_config().optim, base_lr=1e30, warmup_epochs=0.0)
    PRESETS["micro"] = lambda: tiny_config(optim=diverging)
    shutil.rmtree(out / "runs/3x196-random-s0")
    (out / "probes/3x196-random-s0.json").unlink()
    assert reproduce_table7(pilot) == 0  # a finding, not a reason to stop
    assert re.search("3x196-random-s0 failed: .* not finite", (out / "table.md").read_text())


def test_other_flags_are_refused(config):
    make_plan(config, tuple(ABLATIONS))
    with pytest.raises(UserError, match="give the same flags, or another --out"):
        make_plan(dataclasses.replace(config, seeds=5), tuple(ABLATIONS))
    plan = json.loads((config.out / "plan.json").read_text())
    for damage in (
        "{",
        "[]",
        '{"preset": "micro"}',
        "[" * 10**5,
        json.dumps(plan | {"epochs": 1.5}),
    ):
        (config.out / "plan.json").write_text(damage)
        with pytest.raises(UserError, match="is no plan of this command") as caught:
            make_plan(config, tuple(ABLATIONS))
        assert "\n" not in str(caught.value)


def test_without_a_perceptual_net_there_is_no_comparison(config):
    diverging = dataclasses.replace(tiny_config().optim, base_lr=1e30, warmup_epochs=0.0)
    PRESETS["micro"] = lambda: tiny_config(optim=diverging)
    with pytest.raises(UserError, match="its own failed: .* not finite"):
        reproduce_table7(config)


def test_torchrun_is_refused(config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="one of torchrun's"):
        reproduce_table7(config)
