"""The landmark network: reading of its maps, its file, its search for a badly cropped face."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mica_ext.errors import UserError
from mica_ext.landmarks.detect import MAX_CROPS, detect_landmarks
from mica_ext.landmarks.network import LandmarkNetwork
from mica_ext.landmarks.weights import (
    SHIPPED,
    load_landmark_network,
    read_landmark_config,
    save_landmark_network,
)
from pacofr.faces.detect import Face

ABOUT = {"name": "landmarks68", "command": "none", "seed": 3, "score": "none"}


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(1)
    network = LandmarkNetwork().eval()
    save_landmark_network(network, tmp_path / "w", **ABOUT)
    return network, tmp_path / "w"


def test_a_single_lit_cell_is_read_at_its_centre():
    network = LandmarkNetwork()
    logits = torch.full((1, 68, 1024), -50.0)
    logits[0, :, 5 * 32 + 9] = 50.0  # row 5, column 9 of cells six crop pixels wide, from pixel 16
    expected = torch.tensor([16 + 9 * 6 + 2.5, 16 + 5 * 6 + 2.5]).expand(68, 2)
    torch.testing.assert_close(network.decode(logits)[0], expected)


def test_size_stays_within_what_may_be_shipped(saved):
    network, folder = saved
    assert sum(p.numel() for p in network.parameters()) <= 2_000_000
    assert (folder / "model.safetensors").stat().st_size <= 4_000_000


def test_weights_come_back_to_half_precision(saved):
    network, folder = saved
    again = load_landmark_network(folder)
    face = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(again(face), network(face), atol=0.2, rtol=0)
    assert read_landmark_config(folder).seed == 3


def test_a_changed_file_is_refused(saved):
    _, folder = saved
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="sha256"):
        load_landmark_network(folder)


def test_weights_of_another_network_are_refused(saved):
    import hashlib

    _, folder = saved
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["stranger"] = tensors.pop("maps.bias")
    save_file(tensors, path)
    about = json.loads((folder / "config.json").read_text())
    about["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="differing in maps.bias"):
        load_landmark_network(folder)


def test_missing_and_foreign_configs_are_refused(tmp_path):
    with pytest.raises(UserError, match="train-landmarks"):
        load_landmark_network(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="config of landmark weights"):
        load_landmark_network(tmp_path)


def test_shipped_weights_load_and_name_their_licence():
    if not (SHIPPED / "config.json").exists():
        pytest.skip("missing: the shipped landmark weights")
    load_landmark_network()
    assert "research only" in read_landmark_config().licence


class Pretending(LandmarkNetwork):
    """Answers with a fixed face `shift` crop pixels off the one that the crop was aligned to."""

    def __init__(self, shift, certainty):
        super().__init__()
        self.shift, self.certainty, self.calls = shift, certainty, 0

    def predict(self, face):
        self.calls += 1
        points = torch.full((len(face), 68, 2), 112.0)
        points[:, 36:42] = torch.tensor([90.26, 106.98])
        points[:, 42:48] = torch.tensor([132.74, 107.0])
        points[:, 30] = torch.tensor([112.25, 130.2])
        points[:, 48], points[:, 54] = torch.tensor([92.1, 152.0]), torch.tensor([130.9, 152.0])
        return points + self.shift, torch.tensor([self.certainty(face)])


def upright_face():
    points = np.array([[90, 107], [133, 107], [112, 130], [92, 152], [131, 152]], np.float32)
    return Face(np.array([70, 60, 150, 180], np.float32), 1.0, points)


def test_a_good_detection_is_looked_at_once():
    network = Pretending(torch.zeros(2), lambda face: 0.15)
    found = detect_landmarks(network, np.zeros((240, 240, 3), np.uint8), upright_face())
    assert network.calls == 1
    assert found.landmarks_px.shape == (68, 2)


def test_a_face_that_is_not_where_it_was_detected_is_followed():
    network = Pretending(torch.tensor([0.0, 12.0]), lambda face: 0.15)
    found = detect_landmarks(network, np.zeros((400, 240, 3), np.uint8), upright_face())
    assert network.calls == MAX_CROPS
    assert found.landmarks_px[30, 1] > 130 + 2.5 * 12


def test_a_face_taken_to_be_upside_down_is_turned_back():
    photo = np.zeros((240, 240, 3), np.uint8)
    photo[:130] = 200  # light from above tells which way is up

    def sure_when_upright(face):
        return 0.2 if face[0, :, 40:90].mean() > face[0, :, 140:190].mean() + 0.3 else 0.05

    upright = upright_face()
    middle = upright.points.mean(0)
    network = Pretending(torch.zeros(2), sure_when_upright)
    found = detect_landmarks(network, photo, upright._replace(points=2 * middle - upright.points))
    assert found.confidence == pytest.approx(0.2)
    np.testing.assert_allclose(found.landmarks_px[30], upright.points[2], atol=2.5)
