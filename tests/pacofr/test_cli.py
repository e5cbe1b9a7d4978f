"""The command line: quick and torch-free help, errors in one line, presets and rows as given."""

import dataclasses
import importlib.metadata
import json
import typing

import pytest
import tyro
from helpers.cold_starts import cold_starts
from helpers.crops import write_annotated_photos, write_shards
from PIL import Image

from pacofr.cli import COMMANDS, main
from pacofr.pretraining.command import AnyPreset, RowName
from pacofr.pretraining.presets import ABLATIONS, PRESETS, preset

HEAVY = {"torch", "cv2", "scipy", "numba", "matplotlib"}


def test_help_imports_nothing_heavy():
    lines = ["--help", *(f"{name} --help" for name in COMMANDS), "pretrain micro --help"]
    for line, start in zip(lines, cold_starts("pacofr.cli", "main", lines), strict=True):
        assert (start.code, start.imported & HEAVY) == (0, set()), line
        assert "usage" in start.said


def test_the_overview_names_every_command(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)


def test_an_unknown_command_is_refused(capsys):
    assert main(["pretran"]) == 2
    assert "no command 'pretran'; use one of" in capsys.readouterr().err


def test_rows_are_those_of_table_7():
    assert set(typing.get_args(RowName)) == set(ABLATIONS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_the_flags_start_from(name):
    given = tyro.cli(AnyPreset, args=[name, "--shards", "a", "--out", "b"])
    assert given.config == preset(name)
    changed = tyro.cli(AnyPreset, args=[name, "--shards", "a", "-o", "b", "--optim.base-lr", "0.5"])
    assert changed.config.optim.base_lr == 0.5
    assert changed.config.model == given.config.model


TINY = ["--model.encoder.width", "8", "--model.encoder.depth", "1", "--model.decoder.width", "8"]


def test_a_row_changes_the_preset_as_it_says(tmp_path, capsys):
    """A run of one step, by flags alone."""
    shards = write_shards(tmp_path / "shards", crops=8)
    flags = ["--shards", str(shards), "-o", str(tmp_path / "run"), "--row", "5x196-random", *TINY]
    flags += ["--epochs", "1", "--data.workers", "0", "--device", "cpu", "--threads", "1"]
    assert main(["pretrain", "micro", *flags]) == 0
    assert capsys.readouterr().out == ""
    about = json.loads((tmp_path / "run/model/config.json").read_text())["model"]
    expected = preset("micro", "5x196-random").model
    assert about["codebook"] == dataclasses.asdict(expected.codebook)
    assert about["predictor"] == dataclasses.asdict(expected.predictor)
    assert about["encoder"]["width"] == 8
    assert (tmp_path / "run/metrics.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--shards", "nowhere"], "nowhere holds no finished shards"),
        (["--shards", "nowhere", "--batch-size", "0"], "must be at least 1"),
        (["--shards", "nowhere", "--seed", "-1"], "seed must be at least 0, not -1"),
        (["--shards", "nowhere", "--masking.ratio", "0.001"], "masks no patch at all"),
        (["--shards", "a", "--masking.ratio", "1.5"], "the mask ratio must lie between"),
        (["--shards", "a", "--model.encoder.patch-size", "0"], "patch size must be at least 1"),
        (["--shards", "a", "--model.encoder.heads", "0"], "heads must be at least 1, not 0"),
        (["--shards", "a", "--model.decoder.heads", "3"], "a multiple of 4 and of the 3 heads"),
        (["--shards", "a", "--model.predictor.drop", "1.5"], "drop must lie between 0 and 1"),
        (["--shards", "a", "--optim.base-lr", "nan"], "base lr must be at least 0, not nan"),
        (["--shards", "a", "--data.workers", "-1"], "workers must be at least 0, not -1"),
        (["--shards", "a", "--loss.perceptual-layers", "13"], "perceptual layers lie in 1..12"),
        (
            ["--shards", "a", "--masking.kind", "regions", "--data.resize", "random_crop"],
            "use resize with masking by regions",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(flags, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "micro", "--out", "run", *flags]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert line in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("show --shards a --out b", "at least one run is needed"),
        ("show run --shards a --out b --faces 0", "faces must be at least 1"),
        ("probe --photos a", "expected at least one encoder"),
        ("probe run --photos a --folds 1", "folds must be at least 2"),
        ("probe run --photos a --out .", "a JSON file to write, got the folder"),
        ("evidence --shards a --helen b --out c --seeds 0", "seeds must be at least 1"),
    ],
)
def test_other_commands_refuse_what_cannot_be(command, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert line in said
    assert not list(tmp_path.iterdir())


def test_sources_of_a_curation_come_first(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "a/blank.png")
    sources = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["curate", *sources, "--out", str(tmp_path / "c"), "--jobs", "1"]) == 2
    assert f"{tmp_path / 'b'} holds no image" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pacofr {importlib.metadata.version('pacofr')}\n"


def test_scores_name_no_path_of_this_machine(tmp_path, capsys):
    for name, count, seed in (("trainset", 8, 1), ("testset", 4, 2)):
        write_annotated_photos(tmp_path / "photos" / name, count, seed)
    out = tmp_path / "new" / "scores.json"
    flags = ["--photos", str(tmp_path / "photos"), "--copies", "1", "--test-copies", "1"]
    flags += ["--steps", "2", "--labels", "4"]
    assert main(["probe", "scratch:micro", *flags, "-o", str(out), "--threads", "1"]) == 0
    assert capsys.readouterr().out.startswith("scratch:micro: NME ")
    content = json.loads(out.read_text())
    assert str(tmp_path) not in out.read_text()
    assert content["config"]["photos"] == "photos"
    score = content["scores"]["scratch:micro"]
    assert len(score["each"]) == 4
    assert score["nme"] == pytest.approx(sum(score["each"]) / 4)
    assert score.keys() >= {"low", "high", "mean_shape_nme", "validation_nme", "strength"}
    kinds = [(readout["probe"], readout["labels"]) for readout in score["readouts"]]
    assert kinds == [("linear", 4), ("conv", 4)]
    assert len(score["readouts"][0]["each"]) == 3  # subsets
