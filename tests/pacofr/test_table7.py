"""`pacofr evidence`: equal images, nothing done twice, failures told, verdicts that weigh noise."""

import dataclasses
import json

import numpy as np
import pytest
from helpers.pacofr_tiny import TinyCrops, tiny_config
from PIL import Image

import pacofr.analysis.table7
from pacofr.analysis.linear_probe import ProbeResult
from pacofr.analysis.table7 import MAIN_ROWS, METHOD, jobs, make_plan, reproduce_table7
from pacofr.analysis.table7_config import EvidenceConfig
from pacofr.analysis.table7_plot import draw_scores
from pacofr.analysis.table7_report import PAPER_AFLW, Probed, RunScore, comparisons, seed_noise
from pacofr.engine.trainer import NotFiniteError
from pacofr.errors import UserError
from pacofr.pretraining.presets import ABLATIONS, PRESETS
from pacofr.pretraining.train import pretrain

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
    assert set(PAPER_AFLW) == set(ABLATIONS)
    scores = [score(row, 0, 5.0) for row in ABLATIONS]
    pairs = comparisons(scores)
    assert len(pairs) == 21
    assert all(PAPER_AFLW[pair.better] < PAPER_AFLW[pair.worse] for pair in pairs)


def test_the_chart_colours_what_is_decided():
    decided = [score(METHOD, 0, 5.0), score(METHOD, 1, 5.01), score("1-token", 0, 5.4)]
    open_pair = [score(METHOD, 0, 5.0), score(METHOD, 1, 5.01), score("1-token", 0, 5.02)]

    def green(scores):
        picture = draw_scores(scores).astype(int)
        return ((picture[..., 1] > 140) & (picture[..., [0, 2]] < 60).all(axis=2)).any()

    assert green(decided)
    assert not green(open_pair)


# ---- the command -------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The tiny model under the name micro, crops in memory, and a probe that only counts."""
    tiny = tiny_config()
    monkeypatch.setitem(PRESETS, "micro", lambda: tiny)
    monkeypatch.setattr(pacofr.analysis.table7, "_crops", lambda _config, _run: TinyCrops())
    monkeypatch.setattr(pacofr.analysis.table7, "time_steps", lambda _config: (0.04, 0.02))
    monkeypatch.setattr(pacofr.analysis.table7, "load_encoder_spec", lambda spec: spec)
    probed = []

    def probe(spec, _config):
        probed.append(spec.rsplit("/", 1)[-1])
        each = np.random.default_rng(len(probed)).normal(5, 1, 30)
        return ProbeResult(float(each.mean()), 4.0, 6.0, 20.0, 5.0, 0.1, each.tolist())

    monkeypatch.setattr(pacofr.analysis.table7, "probe", probe)
    config = EvidenceConfig(
        shards=tmp_path, helen=tmp_path, out=tmp_path / "out", minutes_per_run=0.08, seeds=2
    )
    return config, probed


def test_budget_is_the_methods_own_run(small):
    plan = make_plan(small[0], tuple(ABLATIONS))
    # 4.8 s for 50 crops: an eighth at 0.04 s a crop, the rest at 0.02 s
    assert plan.epochs == round(4.8 / 50 / 0.0225) == 4
    names = [job.name for job in jobs(plan)]
    assert names[:3] == [f"{row}-s0" for row in MAIN_ROWS]
    assert set(names[: len(ABLATIONS)]) == {f"{row}-s0" for row in ABLATIONS}
    assert names[len(ABLATIONS) :] == [f"{row}-s1" for row in MAIN_ROWS]


def test_every_row_warms_up_and_incubates_for_an_eighth(small):
    plan = make_plan(small[0], tuple(ABLATIONS))
    for job in jobs(plan):
        run = pacofr.analysis.table7.run_config(small[0], plan, job)
        steps = run.epochs * (50 // run.batch_size)
        assert run.model.predictor.incubation_steps == round(steps / 8)
        assert run.optim.warmup_epochs == run.epochs / 8


def test_a_stopped_comparison_goes_on_and_repeats_nothing(small, monkeypatch):
    config, probed = small
    runs = []

    def stopping(run, crops, options):
        runs.append((options.out.name, run.epochs * len(crops)))
        return 143 if len(runs) == 3 else pretrain(run, crops, options)

    monkeypatch.setattr(pacofr.analysis.table7, "pretrain", stopping)
    pilot = dataclasses.replace(config, pilot=True, minutes_per_run=0.2)
    assert reproduce_table7(pilot) == 143  # as pretrain leaves it after SIGTERM
    assert reproduce_table7(pilot) == 0
    names = [name for name, _ in runs]
    again = names.pop(2)
    assert names == ["perceptual", *(f"{row}-s{seed}" for seed in (0, 1) for row in MAIN_ROWS)]
    assert again == names[2]
    assert len({images for _, images in runs}) == 1
    assert sorted(probed) == sorted(["scratch:micro", *names])
    table = json.loads((config.out / "pilot/table.json").read_text())
    assert {row["row"] for row in table["rows"]} >= set(MAIN_ROWS)
    assert sorted(table["choices"]) == [f"{METHOD}-s0", f"{METHOD}-s1"]
    for choices in table["choices"].values():
        assert sum(choices["shares"]) == pytest.approx(1.0)
    assert "Not comparable with the paper's numbers" in (config.out / "pilot/table.md").read_text()
    with Image.open(config.out / "pilot/table.png") as chart:
        assert chart.mode == "RGB"
    count = len(runs)
    assert reproduce_table7(pilot) == 0
    assert len(runs) == count
    saved = json.loads(
        (config.out / f"pilot/runs/{METHOD}-s0/last/training/state.json").read_text()
    )
    assert saved["config"]["loss"]["perceptual_net"] == "self:perceptual"


def test_other_flags_are_refused(small):
    config, _ = small
    make_plan(config, tuple(ABLATIONS))
    with pytest.raises(UserError, match="give the same flags, or another --out"):
        make_plan(dataclasses.replace(config, seeds=5), tuple(ABLATIONS))
    for damage in ("{", "[]", '{"preset": "micro"}'):
        (config.out / "plan.json").write_text(damage)
        with pytest.raises(UserError, match="is no plan of this command"):
            make_plan(config, tuple(ABLATIONS))


def test_a_run_that_diverges_is_a_finding(small, monkeypatch):
    config, probed = small

    def diverging(run, crops, options):
        if options.out.name == "3x196-random-s0":
            raise NotFiniteError("step 3 is not finite")
        return pretrain(run, crops, options)

    monkeypatch.setattr(pacofr.analysis.table7, "pretrain", diverging)
    pilot = dataclasses.replace(config, pilot=True, minutes_per_run=0.2)
    assert reproduce_table7(pilot) == 0
    assert (
        "3x196-random-s0 failed: step 3 is not finite"
        in (config.out / "pilot/table.md").read_text()
    )
    assert "3x196-random-s0" not in probed


def test_without_a_perceptual_net_there_is_no_comparison(small, monkeypatch):
    def diverging(_run, _crops, _place):
        raise NotFiniteError("step 3 is not finite")

    monkeypatch.setattr(pacofr.analysis.table7, "pretrain", diverging)
    with pytest.raises(UserError, match="its own failed: step 3 is not finite"):
        reproduce_table7(small[0])


def test_torchrun_is_refused(small, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="one of torchrun's"):
        reproduce_table7(small[0])
