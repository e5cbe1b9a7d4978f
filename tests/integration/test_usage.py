"""Arguments that the parsers of all programs refuse: one line, exit code 2."""

import pytest

from eval_now.cli import main as eval_now
from flame_assets.cli import main as flame_assets
from mica_ext.cli import main as mica_ext
from mica_ext.cli import reconstruct
from pacofr.cli import main as pacofr


@pytest.mark.parametrize(
    ("program", "arguments", "parts"),
    [
        (reconstruct, ["a.jpg", "--ou", "b"], ["--ou, b", "perhaps --out", "reconstruct --help"]),
        (reconstruct, ["a.jpg", "--min-face", "x"], ["--min-face", "'x'"]),
        (reconstruct, ["a.jpg", "--format", "doc"], ["'doc'", "'obj'"]),
        (reconstruct, ["a.jpg", "--out"], ["Missing value", "--out"]),
        (mica_ext, ["recon"], ["recon; available subcommands: reconstruct, rebuild"]),
        (mica_ext, ["import"], ["required", "mica-ext import --help"]),
        (flame_assets, ["gett"], ["gett", "get", "flame-assets --help"]),
        (eval_now, ["--splitt", "val"], ["perhaps --split", "eval-now --help"]),
        (pacofr, ["task", "train"], ["{parsing, alignment}"]),
        (pacofr, ["pretrain", "--epocs", "3"], ["perhaps --epochs"]),
        (pacofr, ["pretrain", "micro", "--out", "s3://bucket/run"], ["s3://", "got a URL"]),
        (reconstruct, ["a.jpg", "-o", "https://host/a.obj"], ["-o https://", "got a URL"]),
        (mica_ext, ["fit", "coma", "a", "--out=gs://b/c"], ["--out gs://", "got a URL"]),
        (eval_now, ["--dataset", "a", "--out", "s3://b/c"], ["--out s3://", "got a URL"]),
        (flame_assets, ["convert", "a", "--out", "s3://b/c"], ["--out s3://", "got a URL"]),
    ],
)
def test_refused_arguments_get_one_line(capsys, program, arguments, parts):
    assert program(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert "  " not in said.err
    for part in parts:
        assert part in said.err
