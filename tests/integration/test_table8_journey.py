"""The rows of Table 8 from the layouts of CoMA, FaMoS and MICA: jointly, and with MICA's kept."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.identity_tiny import identity_network
from helpers.registered_heads import face_ball
from helpers.registration_trees import coma_tree, famos_pictures
from helpers.task_trees import write_encoder

from flame_assets.model.fingerprint import weighted_sum
from flame_assets.model.head_io import save_head
from mica_ext.cli import main
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.identity.weights import save_identity_network


def run(*given):
    assert main([str(word) for word in given]) == 0


def write_people(root: Path) -> None:
    """MICA's layout: the parameters of a neutral scan, and an expressive photo of the person."""
    rng = np.random.default_rng(0)
    for actor in ("FL_001", "FL_002"):
        fits, photos = (root / "FLORENCE" / part / actor for part in ("FLAME_parameters", "images"))
        fits.mkdir(parents=True)
        photos.mkdir(parents=True)
        np.savez(fits / "neutral.npz", betas=0.1 * rng.normal(size=400), pose=np.zeros(15))
        shutil.copy(EXAMPLE, photos / "one.jpg")


@pytest.mark.slow
def test_both_rows_from_the_registrations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head = dataclasses.replace(face_ball(300), version="2020")
    save_head(head, tmp_path / "head")
    coma_tree(tmp_path / "coma", head, frames=2)
    famos_pictures(tmp_path / "famos", head)
    write_people(tmp_path / "mica_set")
    write_encoder(tmp_path / "enc")
    sums = {name: weighted_sum(getattr(head, name)) for name in ("template", "shape_basis")}
    about = {"name": "mica", "licence": "tests only", "made_by": "mica-ext import mica.tar"}
    save_identity_network(identity_network(), tmp_path / "init", **about, **sums)
    run("pack", "mica", "--identity", "init", "--head", "head")
    for source in ("coma", "famos"):
        run("fit", source, source, "--head", "head", "--out", f"fits/{source}", "--threads", 1)
        made = ("--fits", f"fits/{source}", "--head", "head", "--out", f"samples/{source}")
        run("samples", source, source, *made, "--threads", 1, "--val", 0.4, "--test", 0)

    run("samples", "mica", "mica_set", "--head", "head", "--out", "samples/mica", "--val", 0)

    train = ("--preset", "table8", "--encoder-weights", "enc", "--identity", "mica")
    train += ("--head", "head", "--regions", "uniform", "--data", "samples/coma", "samples/famos")
    train += ("samples/mica",)
    train += ("--steps", 2, "--batch", 4, "--held-out", 2, "--workers", 0, "--device", "cpu")
    train += ("--branch.width", 16, "--branch.heads", 2, "--branch.depth", 1, "--rendered", 0)
    train += ("--learning-rate", 0.01, "--warm-up", 0, "--ema-decay", 0.1)
    run("train", *train, "--out", "joint")
    run("train", *train, "--freeze-identity", "--out", "frozen")
    card = (tmp_path / "joint" / "README.md").read_text()
    assert "NoW benchmark" in card  # FaMoS and NoW share people: a trained pack's card says so
    assert "share people" in card
    run("evaluate-expression", "samples/famos", "--packs", "joint", "frozen", "--split", "val")
    text = (tmp_path / "expression" / "evaluation.md").read_text()
    assert "| joint | network alone |" in text
    assert "| pack | method | anger | head_rotation_left_right |" in text

    run("synth-now", "now", "--subjects", 1, "--size", 160)
    run("table8", "--dataset", "now", "--packs", "mica", "joint", "frozen", "-o", "t8")
    rows = json.loads((tmp_path / "t8" / "table8.json").read_text())["measured"]
    mica, joint, frozen = rows
    assert [row["identity"] for row in rows] == ["mica", "joint", "mica"]
    for protocol in ("non_metrical", "metrical"):
        assert frozen[protocol] == mica[protocol]
        assert not np.isclose(joint[protocol]["mean"], mica[protocol]["mean"], atol=1e-6)
    told = (tmp_path / "t8" / "table8.md").read_text()
    assert "frozen: MICA's own identity network, kept as it is" in told
    assert "identity trained jointly with an expression branch" in told
