"""The evaluation: its measures, its baselines, and the promise of the shipped weights."""

import numpy as np
import pytest

from mica_ext.landmarks.evaluate import Baselines, face_of
from mica_ext.landmarks.samples import LabelledPhoto, read_labelled
from pacofr.faces.landmarks68 import nme


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
    baselines = Baselines.learn(five, points)
    new_five, new_points = shapes(30, seed=1)
    guesses = [baselines.apply(p) for p in new_five]
    truth = np.stack(new_points)
    mean_error = nme(np.stack([mean for mean, _ in guesses]), truth).mean()
    linear_error = nme(np.stack([mapped for _, mapped in guesses]), truth).mean()
    assert mean_error < 20
    assert linear_error < 0.8 * mean_error


@pytest.mark.slow
def test_shipped_weights_keep_their_promise_on_test_photos(shared_data):
    import torch

    from mica_ext.landmarks.detect import detect_landmarks
    from mica_ext.landmarks.network import load_landmark_network

    network = load_landmark_network()
    photos = [photo for _, photo in read_labelled(shared_data / "helen" / "testset")][:80]
    found = [(photo, face) for photo in photos if (face := face_of(photo)) is not None]
    points = [detect_landmarks(network, photo.image, face).landmarks_px for photo, face in found]
    truth = np.stack([photo.points for photo, _ in found])
    assert nme(torch.stack(points).numpy(), truth).mean() < 4.5


def test_the_marked_face_is_chosen_among_several(monkeypatch):
    from mica_ext.landmarks import evaluate as landmark_evaluation
    from pacofr.faces.detect import Face

    def face(x0, y0, x1, y1):
        return Face(np.array([x0, y0, x1, y1], np.float32), 1.0, np.zeros((5, 2), np.float32))

    points = np.random.default_rng(0).uniform(100, 160, (68, 2)).astype(np.float32)
    photo = LabelledPhoto(np.zeros((300, 300, 3), np.uint8), points)
    faces = [face(0, 0, 220, 220), face(95, 90, 165, 170), face(200, 200, 260, 260)]
    monkeypatch.setattr(landmark_evaluation, "detect", lambda image: faces)
    assert face_of(photo) is faces[1]
    monkeypatch.setattr(landmark_evaluation, "detect", lambda image: faces[2:])
    assert face_of(photo) is None


def test_wrong_folders_are_refused_in_one_line(tmp_path):
    from mica_ext.errors import UserError
    from mica_ext.landmarks.config import LandmarkEvaluationConfig
    from mica_ext.landmarks.evaluate import evaluate

    with pytest.raises(UserError, match="existing folder"):
        evaluate(LandmarkEvaluationConfig(helen=tmp_path, out=tmp_path / "missing" / "a.json"))
