"""`mica-ext table8` on an artificial NoW set: figures, notes, predictions used again."""

import json

import numpy as np
import pytest
from helpers.command_output import one_line
from helpers.identity_tiny import write_identity_pack

from eval_now.scoring.result_files import load_result
from mica_ext.cli import main
from mica_ext.identity.weights import IMPORTED, JOINTLY
from mica_ext.models.pack import load_pack
from mica_ext.table8.run import AskedPack, asked_packs
from mica_ext.table8.table import markdown, measured_row


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The folder of a table of one pack over one person."""
    root = tmp_path_factory.mktemp("table8")
    made = ["synth-now", str(root / "now"), "--subjects", "1", "--size", "160"]
    assert main(made) == 0
    assert main(["table8", "--dataset", f"{root}/now", "--packs", "a=auto", "-o", f"{root}/t"]) == 0
    return root / "t"


def test_the_rows_are_the_results_figures(table):
    content = json.loads((table / "table8.json").read_text())
    (row,) = content["measured"]
    result = json.loads((table / "a" / "result.json").read_text())
    for entry in result["protocols"]:
        figures = row[entry["protocol"].replace("-", "_")]
        assert figures == {key: entry["pooled"][key] for key in ("median", "mean", "std")}
    assert (row["name"], row["identity"], row["images"], row["subjects"]) == ("a", "fit", 4, 1)
    paper = {entry["method"]: entry for entry in content["published"]}
    assert paper["MICA + PaCo-FR"]["metrical"] == {"median": 0.88, "mean": 1.18, "std": 1.11}
    assert len(paper) == 4


def test_figures_that_cannot_be_compared_say_so(table):
    text = (table / "table8.md").read_text()
    assert "not comparable with the paper: other data: 4 images of 1 subjects" in text
    assert "from the fit to points" in text
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {8}
    assert rows[-1][0].strip() == "a [1]"


def test_predictions_are_used_again(table, capsys):
    meshes = {path: path.stat().st_mtime_ns for path in table.glob("a/predictions/**/*.ply")}
    meshes |= {path: path.stat().st_mtime_ns for path in table.glob("a/predictions/**/*.obj")}
    assert len(meshes) == 4
    before = (table / "table8.json").read_text()
    data = str(table.parent / "now")
    assert main(["table8", "--dataset", data, "--packs", "a=auto", "-o", str(table)]) == 0
    assert {path: path.stat().st_mtime_ns for path in meshes} == meshes
    assert (table / "table8.json").read_text() == before
    assert np.isfinite(json.loads(before)["measured"][0]["metrical"]["median"])


@pytest.mark.parametrize(
    ("made_by", "kind", "told"),
    [
        (f"{IMPORTED} mica.tar", "mica", "MICA's row by construction"),
        (f"{JOINTLY} with an expression branch", "joint", "identity trained jointly with an"),
        ("-", "tiny", "trained on other data than the paper's"),
    ],
)
def test_rows_say_whose_identity_they_are(table, tmp_path, made_by, kind, told):
    """MICA's kept by --freeze-identity, or one that a branch was trained along with."""
    pack = load_pack(write_identity_pack(tmp_path / "pack"))
    path = pack.identity / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"made_by": made_by}))
    row = measured_row("mine", "mine", pack, load_result(table / "a"))
    assert row.identity == kind
    text = markdown([row])
    assert told in text
    assert f"| mine [1] | {kind} |" in text


def test_packs_have_names():
    assert asked_packs(("auto", "mine=auto")) == [
        AskedPack("auto", "auto"),
        AskedPack("mine", "auto"),
    ]


@pytest.mark.parametrize(
    ("packs", "words"),
    [
        (["auto", "auto"], "two rows are called auto"),
        (["../a=auto"], "NAME=PACK"),
        (["nowhere"], "expected a model pack"),
    ],
)
def test_packs_that_cannot_be_used_are_one_line(packs, words, tmp_path, capsys):
    code = main(["table8", "--dataset", str(tmp_path), "--packs", *packs, "-o", f"{tmp_path}/t"])
    assert code == 2
    assert words in one_line(capsys.readouterr().err)
    assert not (tmp_path / "t").exists()
