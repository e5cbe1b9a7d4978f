"""The journey of the expression branch, as a user types it, on tiny data of the real layouts.

Pre-train an encoder on photos; fit CoMA's registrations; make samples; train the branch; pack it;
reconstruct a photo with it; draw the figure; evaluate on people held out; Table 8.
"""

import json
import shutil

import numpy as np
import pytest
from helpers.command_output import one_line
from helpers.registration_trees import coma_tree
from PIL import Image

from eval_now.io.meshes import load_mesh
from flame_assets.store import load_head
from mica_ext.cli import main as mica_ext
from mica_ext.cli import reconstruct
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.export.face_json import load_face
from pacofr.cli import main as pacofr

SMALL = ("--model.encoder.width", 32, "--model.encoder.depth", 2, "--model.encoder.heads", 2)
DECODER = ("--model.decoder.width", 32, "--model.decoder.heads", 2, "--model.predictor.hidden", 16)


def words(*given):
    return [str(word) for word in given]


@pytest.mark.slow
def test_from_photos_and_registrations_to_table_8(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    head = load_head("anthro")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, width in enumerate((512, 460, 420, 380)):
        Image.open(EXAMPLE).convert("RGB").resize((width, width)).save(photos / f"{number}.jpg")
    truth = coma_tree(tmp_path / "coma", head, frames=2)

    assert pacofr(words("curate", photos, "--out", "shards", "--jobs", 1)) == 0
    small = (*SMALL, *DECODER, "--loss.perceptual-net", "none", "--data.workers", 0)
    run = ("--epochs", 2, "--batch-size", 2, "--device", "cpu", "--pictures-every", 0)
    assert (
        pacofr(words("pretrain", "micro", "--shards", "shards", "--out", "enc", *small, *run)) == 0
    )

    assert mica_ext(words("fit", "coma", "coma", "--head", "anthro", "--out", "fits")) == 0
    made = ("samples", "coma", "coma", "--fits", "fits", "--head", "anthro", "--out", "samples")
    assert mica_ext(words(*made, "--val", 0, "--test", 0.4)) == 0
    about = json.loads((tmp_path / "samples" / "samples.json").read_text())
    assert about["people"] == {"train": 1, "test": 1}
    assert sum(about["samples"].values()) == sum(len(each.meshes) for each in truth.values())

    branch = ("--branch.width", 16, "--branch.heads", 2, "--branch.depth", 1)
    train = ("--encoder-weights", "enc", "--data", "samples", "--out", "branch", "--steps", 3)
    quick = ("--batch", 4, "--held-out", 2, "--workers", 0, "--device", "cpu")
    assert mica_ext(words("train", *train, *branch, *quick)) == 0
    packed = ("pack", "mine", "--expression", "branch/model", "--head", "anthro")
    assert mica_ext(words(*packed)) == 0
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "Samples of coma" in card
    assert "12 people, also those of VOCASET" in card

    capsys.readouterr()
    assert (
        reconstruct(words(EXAMPLE, "-o", "face.obj", "--model", "mine", "--params", "f.json")) == 0
    )
    saved = load_face(tmp_path / "f.json")
    assert saved.provenance.expression is not None
    assert len(load_mesh(tmp_path / "face.obj").vertices) == head.vertices_count
    assert mica_ext(words("figure", EXAMPLE, "--packs", "auto", "mine", "-o", "fig.pdf")) == 0
    assert (tmp_path / "fig.pdf").read_bytes().startswith(b"%PDF")

    capsys.readouterr()
    assert mica_ext(words("evaluate-expression", "samples", "--packs", "mine", "-o", "seen")) == 0
    told = capsys.readouterr().out
    rows = [line for line in told.splitlines() if line.startswith("| mine | network alone")]
    assert len(rows) == 2
    assert "| pack | method | bareteeth | mouth_open |" in told
    content = json.loads((tmp_path / "seen" / "evaluation.json").read_text())
    alone = [f["errors"]["face"] for f in content["faces"] if f["method"] == "alone, neutral"]
    assert 0.5 < np.mean(alone) < 15

    assert mica_ext(words("synth-now", "now", "--subjects", 1, "--size", 160)) == 0
    assert mica_ext(words("table8", "--dataset", "now", "--packs", "mine", "-o", "t8")) == 0
    (row,) = json.loads((tmp_path / "t8" / "table8.json").read_text())["measured"]
    assert row["name"] == "mine"
    assert np.isfinite(row["metrical"]["median"])

    shutil.rmtree(tmp_path / "samples" / "train")
    capsys.readouterr()
    assert mica_ext(words("train", *train[:4], "--out", "again", *branch, *quick)) == 2
    one_line(capsys.readouterr().err)
