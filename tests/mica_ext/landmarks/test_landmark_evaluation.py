"""The evaluation: its measures, its baselines, and the promise of the shipped weights."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.errors import UserError
from mica_ext.landmarks.annotated_photos import LabelledPhoto, read_labelled
from mica_ext.landmarks.baselines import FivePointBaselines
from mica_ext.landmarks.config import LandmarkEvaluationConfig
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.evaluate import evaluate, identity_figures, match_face
from mica_ext.landmarks.readers import StudentReader
from pacofr.faces.detect import detect
from pacofr.faces.face_mesh.topology import IBUG68
from pacofr.faces.landmarks68 import (
    eye_aspect_ratio,
    mouth_opening,
    mouth_width,
    nme,
    write_pts,
)
from pacofr.images import load_image


def shapes(count, seed=0):
    """68 points that follow five points linearly, but for a little noise."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(8).uniform(-50, 50, (68, 2))
    base[36:42], base[42:48] = [-30, -20], [30, -20]
    base[30], base[48], base[54] = [0, 10], [-20, 40], [20, 40]
    mix = np.random.default_rng(9).normal(0, 0.6, (68, 5))
    five, points = [], []
    for _ in range(count):
        move = rng.normal(0, 3, (5, 2))
        shape = base + mix @ move
        own = np.array([[-30, -20], [30, -20], [0, 10], [-20, 40], [20, 40]]) + move
        angle, scale, at = rng.uniform(-0.5, 0.5), rng.uniform(0.5, 2), rng.uniform(100, 300, 2)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        five.append(own @ turn.T + at)
        points.append(shape @ turn.T + at)
    return five, points


def test_baselines_know_pose_and_the_linear_one_knows_the_shape():
    five, points = shapes(200)
    baselines = FivePointBaselines.fit(five, points)
    new_five, new_points = shapes(30, seed=1)
    guesses = [baselines.predict(p) for p in new_five]
    truth = np.stack(new_points)
    mean_error = nme(np.stack([mean for mean, _ in guesses]), truth).mean()
    linear_error = nme(np.stack([mapped for _, mapped in guesses]), truth).mean()
    assert mean_error < 20
    assert linear_error < 0.8 * mean_error


@pytest.fixture(scope="module")
def student():
    return StudentReader()


def test_shipped_weights_keep_their_promise_on_test_photos(shared_data, student):
    photos = [photo for _, photo in read_labelled(shared_data / "helen" / "testset")][::10]
    found = [(photo, face) for photo in photos if (face := match_face(photo)) is not None]
    points = [detect_points(student, photo.image, face).points_px for photo, face in found]
    truth = np.stack([photo.points for photo, _ in found])
    landmarks = torch.stack(points).numpy()[:, IBUG68]
    inner = np.linalg.norm(landmarks - truth, axis=2)[:, 17:].mean(1)
    assert (inner / np.linalg.norm(truth[:, 36] - truth[:, 45], axis=1)).mean() < 0.042
    for measure, least in (
        (lambda p: eye_aspect_ratio(p).mean(1), 0.83),
        (mouth_opening, 0.94),
        (mouth_width, 0.9),
    ):
        assert np.corrcoef(measure(landmarks), measure(truth))[0, 1] > least


def test_the_marked_face_is_chosen_among_several():
    image = load_image(EXAMPLE)
    small = cv2.resize(image, (320, 320), interpolation=cv2.INTER_AREA)
    both = np.full((512, 832, 3), 128, np.uint8)
    both[:, :512], both[100:420, 512:] = image, small
    box = match_box(image)
    marked = np.random.default_rng(0).uniform(box[:2], box[2:], (68, 2)) * 320 / 512 + [512, 100]
    face = match_face(LabelledPhoto(both, marked.astype(np.float32)))
    assert face is not None
    np.testing.assert_allclose(face.box, box * 320 / 512 + [512, 100, 512, 100], atol=12)
    beside = np.random.default_rng(0).uniform(0, 60, (68, 2)).astype(np.float32)
    assert match_face(LabelledPhoto(both, beside)) is None


def match_box(image):
    (face,) = detect(image)
    return face.box


def test_identities_that_are_opposite_about_the_mean_head_spread_and_share_no_offset():
    decoder = HeadDecoder(load_head("anthro"))
    sizes = decoder.head.shape_basis.shape[-1], len(decoder.head.expression_names)
    people = HeadParameters(*(torch.zeros(2, n) for n in (*sizes, 3, 3, 3, 3, 3)))
    people.shape[0, :5], people.shape[1, :5] = 1.0, -1.0
    people.expression[:] = 0.5  # left out of neutral heads
    figures = identity_figures(decoder, people)
    vertices = decoder(people._replace(expression=0 * people.expression)).vertices
    moved = 500 * float((vertices[0] - vertices[1]).norm(dim=1).mean())
    assert figures.offset_mm == pytest.approx(0, abs=0.02)  # lids are no linear function
    assert 0.2 * moved < figures.spread_mm < 2 * moved


def test_wrong_folders_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="existing folder"):
        evaluate(LandmarkEvaluationConfig(helen=tmp_path, out=tmp_path / "missing" / "a.json"))


def test_photos_without_a_face_are_refused_in_one_line(tmp_path):
    (tmp_path / "trainset").mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"trainset/{name}.jpg"), np.full((80, 80, 3), 90, np.uint8))
        write_pts(tmp_path / f"trainset/{name}.pts", np.random.default_rng(0).random((68, 2)) * 80)
    with pytest.raises(UserError, match="marked face is detected in 0 of 2"):
        evaluate(LandmarkEvaluationConfig(helen=tmp_path))


def test_figures_of_a_set_with_known_errors(tmp_path, student):
    """Every annotation lies 5 % of the eye distance beside the network's own landmarks."""
    image = load_image(EXAMPLE)
    for part in ("trainset", "testset"):
        folder = tmp_path / "helen" / part
        folder.mkdir(parents=True)
        for number in range(2):
            shifted = np.roll(image, 8 * number, axis=1)
            cv2.imwrite(str(folder / f"{number}.jpg"), shifted[:, :, ::-1])
            upright = load_image(folder / f"{number}.jpg")
            detected = detect_points(student, upright, detect(upright)[0])
            points = detected.points_px.numpy()[IBUG68]
            eyes = np.linalg.norm(points[45] - points[36])
            write_pts(folder / f"{number}.pts", points + [0.03 * eyes, -0.04 * eyes])
    for kind in ("neutral_front", "smiling_front"):
        (tmp_path / "london" / kind).mkdir(parents=True)
        shutil.copy(EXAMPLE, tmp_path / "london" / kind / "001_03.jpg")
    out = tmp_path / "figures.json"
    config = LandmarkEvaluationConfig(
        helen=tmp_path / "helen", london=tmp_path / "london", head="anthro", out=out
    )
    figures = {figure.name: figure for figure in evaluate(config)}
    assert figures["Helen: faces found"].value == 100
    assert figures["Helen: points"].value == pytest.approx(5.0, abs=0.02)
    assert 3 < figures["Helen: fitted head"].value < 9
    assert figures["London: pairs"].value == 1
    assert figures["Helen: closed eyes"].value == 0
    assert figures["Helen: open eyes closed"].value == 0
    # the same photo twice, of one person
    assert figures["London: smile scored higher"].value == 0
    assert figures["London: gain of its width"].value == pytest.approx(0, abs=1e-6)
    assert figures["London: spread of identities"].value == pytest.approx(0, abs=1e-3)
    assert 0.2 < figures["London: common offset of identities"].value < 5
    assert figures["London: largest mean weight, neutral"].value > 0.05  # the portrait smiles
    written = json.loads(out.read_text())
    assert [each["value"] for each in written] == [each.value for each in figures.values()]
