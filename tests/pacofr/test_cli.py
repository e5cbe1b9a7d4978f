"""The command line: quick and torch-free help, errors in one line, presets and rows as given."""

import subprocess
import sys
import typing

import pytest
import tyro

from pacofr.cli import COMMANDS, main
from pacofr.pretraining.command import AnyPreset, RowName
from pacofr.pretraining.presets import ABLATIONS, PRESETS, preset

FAST = """
import sys, time
began = time.process_time()
from pacofr.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
spent = time.process_time() - began
heavy = {"torch", "cv2", "scipy", "numba", "matplotlib"} & sys.modules.keys()
print(code, round(spent, 2), sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["pretrain", "micro"]])
def test_help_imports_nothing_heavy(command):
    done = subprocess.run(
        [sys.executable, "-c", FAST, *command, "--help"], capture_output=True, text=True, check=True
    )
    code, seconds, heavy = done.stderr.strip().splitlines()[-1].split(" ", 2)
    assert (code, heavy) == ("0", "[]"), done.stderr
    assert float(seconds) < 1.0  # of processor time; 0.2 to 0.5 on an idle machine
    assert "usage" in done.stdout


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


def test_a_row_changes_the_preset_as_it_says(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        "pacofr.pretraining.train.pretrain", lambda config, *_: seen.append(config) or 0
    )
    monkeypatch.setattr("pacofr.pretraining.data.ShardCrops", lambda *_args, **_named: None)
    flags = ["--shards", str(tmp_path), "--out", str(tmp_path / "run"), "--row", "5x196-random"]
    assert main(["pretrain", "micro", *flags]) == 0
    assert seen == [preset("micro", "5x196-random")]


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


def test_sources_of_a_curation_come_first(monkeypatch, tmp_path, capsys):
    from pacofr.data.curation.config import CurateStats

    seen = []
    stats = CurateStats(5, 4, (), 1, 5, 0.1, True)
    monkeypatch.setattr(
        "pacofr.data.curation.curate.curate", lambda config: seen.append(config) or stats
    )
    assert main(["curate", "a", "b.tar", "--out", "c", "--sample", "3"]) == 0
    assert [str(path) for path in seen[0].sources] == ["a", "b.tar"]
    assert (str(seen[0].out), seen[0].sample) == ("c", 3)
    assert "4 of 5 photos kept" in capsys.readouterr().out
