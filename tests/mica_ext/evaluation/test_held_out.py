"""`mica-ext evaluate-expression`: distances by region and expression, and their baselines."""

import json

import numpy as np
import pytest
import torch
from helpers.branch_folders import sample_folder
from helpers.command_output import one_line
from helpers.expression_tiny import write_expression_pack
from helpers.identity_tiny import identity_head

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.cli import main
from mica_ext.data.branch.sample import sequence_of
from mica_ext.data.branch.shards import BranchDataset
from mica_ext.evaluation.held_out import mean_expression, true_vertices
from mica_ext.evaluation.posed_errors import FEATURES, face_regions, posed_errors
from mica_ext.identity.weights import load_identity_network
from mica_ext.preprocess.crop import arcface_input

HEAD = identity_head()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    root = tmp_path_factory.mktemp("held_out")
    pack = write_expression_pack(root / "pack", HEAD)
    sample_folder(root / "data", HEAD, train=5, val=3)
    words = ["evaluate-expression", root / "data", "--packs", f"mine={pack}", "--split", "val"]
    assert main([str(word) for word in (*words, "-o", root / "out")]) == 0
    return root


def test_alone_is_the_identity_network_s_neutral_head(measured):
    """By hand: the sample's crop, the network, the decoder, a rigid alignment by Procrustes."""
    content = json.loads((measured / "out" / "evaluation.json").read_text())
    rows = [face for face in content["faces"] if face["method"] == "alone, neutral"]
    assert [row["subject"] for row in rows] == ["person 0", "person 1", "person 2"]
    network = load_identity_network(measured / "pack" / "identity")
    decoder, samples = HeadDecoder(HEAD), BranchDataset(measured / "data" / "val")
    face = face_regions(decoder).face
    for row, sample in zip(rows, (samples[n] for n in range(3)), strict=True):
        crop = arcface_input(sample.picture, sample.five_points)
        with torch.no_grad():
            shape = network(crop[None]).shape
            head = HeadParameters.zeros(HEAD)._replace(shape=shape)
            found = decoder(head).vertices[0].double().numpy()[face]
        wanted = true_vertices(sample, decoder)[face]
        a, b = found - found.mean(0), wanted - wanted.mean(0)
        u, _, v = np.linalg.svd(b.T @ a)
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
        distance = 1000 * np.linalg.norm(a @ rotation.T - b, axis=1).mean()
        assert row["errors"]["face"] == pytest.approx(distance, rel=1e-4)


def test_every_method_is_a_row_of_the_table(measured):
    text = (measured / "out" / "evaluation.md").read_text()
    for method in (
        "alone, neutral", "mean expression", "fit to dense points", "network alone",
        "network, then fit",
    ):  # fmt: skip
        assert f"| mine | {method} | 3 |" in text
    assert "3 people" in text


def test_the_mean_expression_is_that_of_the_training_samples(measured):
    mean = mean_expression(measured / "data", HeadDecoder(HEAD))
    samples = BranchDataset(measured / "data" / "train")
    wanted = np.mean([samples[n].expression for n in range(5)], 0)
    np.testing.assert_allclose(mean.expression[0].numpy(), wanted, atol=1e-6)
    assert float(mean.global_pose.abs().sum()) == 0


def test_regions_hold_their_landmarks_and_nothing_inside_the_mouth():
    head = load_head("anthro")
    decoder = HeadDecoder(head)
    regions = face_regions(decoder)
    vertices = head.template[regions.face]
    with torch.no_grad():
        marks = decoder(HeadParameters.zeros(head)).landmarks[0].numpy()
    for name, group in FEATURES.items():
        own = vertices[regions.rows[name]]
        nearest = np.linalg.norm(own[:, None] - marks[group], axis=-1).min(1)
        assert nearest.max() < 0.012
        assert len(own) > 20
    for name in ("tongue", "upper_teeth", "left_eyeball", "scalp", "left_ear"):
        assert not set(head.regions[name].tolist()) & set(regions.face.tolist()), name
    parts = [set(regions.rows[name].tolist()) for name in (*FEATURES, "rest")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(regions.face)


def test_errors_are_in_millimetres_and_blind_to_the_pose():
    head = load_head("anthro")
    regions = face_regions(HeadDecoder(head))
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    moved = head.template @ turn.T + [0.1, 0.2, 0.3]
    assert max(posed_errors(moved, head.template, regions).values()) < 1e-3
    larger = posed_errors(1.01 * head.template, head.template, regions)
    centred = head.template[regions.face] - head.template[regions.face].mean(0)
    expected = 10 * np.linalg.norm(centred, axis=1).mean()
    assert larger["face"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rendered FaceTalk_1/bareteeth/bareteeth.000001 0", "bareteeth"),
        ("/data/images/FaMoS_subject_001/anger/000012/anger.000012.26_C.png", "anger"),
        ("heads-0-0000012", ""),
        ("/photos/anger/000012/other.000012.26_C.png", ""),
        ("/photos/face.jpg", ""),
    ],
)
def test_sequences_are_told_by_the_source(source, name):
    assert sequence_of(source) == name


def test_what_cannot_be_measured_is_one_line(measured, tmp_path, capsys):
    data = str(measured / "data")
    for words, told in (
        ([data, "--packs", "auto"], "its labels belong to the head"),
        ([data, "--packs", f"{measured / 'pack'}", "--split", "test"], "test"),
        ([str(tmp_path), "--packs", "auto"], "samples.json"),
    ):
        assert main(["evaluate-expression", *words, "-o", str(tmp_path / "out")]) == 2
        assert told in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
