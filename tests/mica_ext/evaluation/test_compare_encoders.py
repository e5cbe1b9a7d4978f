"""`mica-ext compare-encoders` in small: equal runs, paired differences, nothing done twice."""

import json
import shutil

import cv2
import numpy as np
import pytest
from helpers.command_output import one_line
from helpers.task_trees import write_encoder

from mica_ext.cli import main
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.evaluation.config import CompareEncodersConfig
from mica_ext.evaluation.encoder_report import (
    Pair,
    RunErrors,
    correlation_difference,
    markdown,
    pairs_of,
)
from mica_ext.evaluation.encoders import planned_runs, training_config
from mica_ext.evaluation.posed_errors import REGIONS
from pacofr.faces.landmarks68 import write_pts
from pacofr.images import load_image


def write_photos(folder):
    """Three photos of one man with 68 landmarks: as he is, smaller, and darker."""
    from mica_ext.reconstruct import Reconstructor

    folder.mkdir(parents=True)
    photo, reconstructor = load_image(EXAMPLE), Reconstructor.load()
    points = reconstructor.align(photo, reconstructor.detect(photo)[:1]).landmarks_px[0].numpy()
    half = cv2.resize(photo, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    bend = 1 + 0.02 * np.arange(68)[:, None] * [0, 1] / 68
    for name, picture, marks in (
        ("a", photo, points),
        ("b", half, points * 0.75),
        ("c", (photo * 0.8).astype(np.uint8), points * bend),
    ):
        cv2.imwrite(str(folder / f"{name}.jpg"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        write_pts(folder / f"{name}.pts", marks)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    write_encoder(root / "encoder")
    write_photos(root / "helen" / "testset")
    assert main(words(root)) == 0
    return root


def words(root, *more):
    run = root / "encoder"
    given = ["compare-encoders", f"mine=pacofr:{run}", f"none=random:{run}", "-o", root / "out"]
    given += ["--steps", 2, "--batch", 2, "--seeds", 0, 1, "--tuning", "frozen", "--people", 3]
    given += ["--workers", 0, "--device", "cpu", "--width", 16, "--head", "anthro"]
    return [str(word) for word in (*given, "--helen", root / "helen", *more)]


def test_runs_differ_in_encoder_and_seed_alone(compared):
    out = compared / "out"
    states = {}
    for name in ("mine-frozen-0", "mine-frozen-1", "none-frozen-0", "none-frozen-1"):
        (state,) = (out / name).glob("checkpoints/*/training/state.json")
        states[name] = json.loads(state.read_text())["config"]
    first = states["mine-frozen-0"]
    for name, config in states.items():
        apart = {key for key in first if first[key] != config[key]}
        assert apart <= {"seed", "encoder_patches"}, name
    assert states["mine-frozen-0"]["encoder_patches"] == states["mine-frozen-1"]["encoder_patches"]
    assert states["none-frozen-0"]["encoder_patches"] != states["none-frozen-1"]["encoder_patches"]


def test_tables_are_of_what_was_measured(compared):
    content = json.loads((compared / "out" / "encoders.json").read_text())
    for run in content["runs"]:
        name = run["encoder"].replace(", ", "-") + f"-{run['seed']}"
        measured = json.loads((compared / "out" / name / "measured.json").read_text())
        face = content["regions"].index("face")
        assert run["posed_mm"][face] == pytest.approx(np.mean(measured["posed_mm"], 0)[face])
        assert len(measured["posed_mm"]) == len(measured["nme"]) == len(measured["dense"]) == 3
        assert 0 < run["nme"] < 60
        assert 0 < run["dense"] < 60
        for name in ("mouth opening", "eye openness"):
            r = np.corrcoef(measured["movements"][name])[0, 1]
            assert run["correlations"][name] == pytest.approx(r)
    assert content["rest_mm"][0] > 1
    text = (compared / "out" / "encoders.md").read_text()
    assert "2 seeds: too few" in text
    assert "| mine, frozen | none, frozen | Helen NME % |" in text


def test_given_again_it_trains_and_measures_nothing(compared, capsys):
    out = compared / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    before |= {path: path.stat().st_mtime_ns for path in out.rglob("measured.json")}
    text = (out / "encoders.md").read_text()
    assert main(words(compared)) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (out / "encoders.md").read_text() == text
    assert text in capsys.readouterr().out
    moved = shutil.copytree(out, compared / "other")
    (moved / "mine-frozen-0" / "measured.json").write_text('{"asked": ')
    again = words(compared)
    again[again.index("-o") + 1] = str(moved)
    assert main(again) == 2
    assert "delete it, the same command measures again" in one_line(capsys.readouterr().err)


def test_each_seed_may_have_its_own_pre_training(compared, tmp_path):
    run = compared / "encoder"
    other = shutil.copytree(run, tmp_path / "other")
    config = CompareEncodersConfig(
        encoders=(f"mine=pacofr:{run},{other}", f"none=random:{run}"),
        out=tmp_path / "out",
        seeds=(0, 1),
        tuning=("frozen",),
    )
    runs = planned_runs(config)
    assert [(r.encoder.name, r.seed, r.weights) for r in runs] == [
        ("mine", 0, run), ("none", 0, run), ("mine", 1, other), ("none", 1, run),
    ]  # fmt: skip
    assert training_config(config, runs[2]).encoder_weights == other


def test_errors_of_another_training_are_not_taken_for_this_one(compared, capsys):
    more = words(compared)
    more[more.index("--steps") + 1] = "3"
    assert main(more) == 2
    assert "steps" in one_line(capsys.readouterr().err)


def runs_of(differences):
    """Three seeds of two encoders whose errors differ by this, and by noise on 50 faces."""
    rng = np.random.default_rng(0)
    base = rng.gamma(4, 0.5, (50, len(REGIONS)))
    runs = []
    for seed in range(3):
        for row, shift in (("a, frozen", 0.0), ("b, frozen", differences)):
            noise = rng.normal(0, 0.1, base.shape)
            runs.append(RunErrors(row, seed, base + shift + noise, base, {}, {}))
    return runs


def test_who_wins_is_said_only_where_the_interval_allows():
    (pair,) = pairs_of(runs_of(0.3))
    assert pair.decided
    assert pair.difference.mean == pytest.approx(-0.3, abs=0.05)
    assert "a, frozen is better" in markdown(runs_of(0.3))
    (pair,) = pairs_of(runs_of(0.0))
    assert not pair.decided
    assert "undecided" in markdown(runs_of(0.0))


def test_correlations_are_compared_over_the_same_photos():
    rng = np.random.default_rng(1)
    marked = rng.normal(0, 1, 300)
    good, poor = (marked + rng.normal(0, noise, (3, 300)) for noise in (0.5, 1.5))
    found = correlation_difference(good, poor, marked)
    wanted = 1 / np.sqrt(1.25) - 1 / np.sqrt(3.25)  # signal over signal and noise
    assert found.mean == pytest.approx(wanted, abs=0.05)
    assert 0.01 < found.half_interval < 0.2
    assert correlation_difference(good, good, marked).mean == 0
    pair = Pair("a", "b", "r of mouth opening", found, True)
    assert pair.verdict == "a is better"
    assert pair._replace(larger_is_better=False).verdict == "b is better"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["mine"], "expected NAME=KIND:WEIGHTS"),
        (["a=pacofr:{run}", "A=random:{run}"], "two encoders have one name"),
        (["a=scratch"], "expected the weights after KIND"),
        (["a=other:{run}"], "unknown encoder"),
        (["a=pacofr:nowhere"], "nowhere"),
        (["a=pacofr:{run}", "--helen", "{run}"], "expected photos NAME.jpg beside NAME.pts"),
        (["a=pacofr:{run}", "--seeds", "0", "0"], "each of --seeds and --tuning once"),
        (["a=pacofr:{run},{run}"], "one for each of the 3 seeds, got 2"),
    ],
)
def test_what_cannot_be_compared_is_one_line(compared, tmp_path, capsys, given, told):
    run = str(compared / "encoder")
    asked = [word.replace("{run}", run) for word in given]
    assert main(["compare-encoders", *asked, "-o", str(tmp_path / "out"), "--head", "anthro"]) == 2
    assert told in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
