"""Calibrations of points: files, the mean of neutral people, the photos they come from."""

import json

import numpy as np
import pytest
import torch
from helpers.anchored_points import CALIBRATION
from scipy.spatial.transform import Rotation

from mica_ext.errors import UserError
from mica_ext.fitting.correspondence.calibration import (
    FILE,
    load_calibration,
    save_calibration,
)
from mica_ext.landmarks.annotated_photos import photos_of
from mica_ext.landmarks.calibration.calibrate import neutral_mean, normalized
from mica_ext.landmarks.student.weights import SHIPPED
from pacofr.faces.face_mesh.topology import LEFT_EYE_OUTER, MIRROR, POINTS, RIGHT_EYE_OUTER

RESPONSE = np.linspace([0.5, 0.6], [1, 0.9], POINTS)


@pytest.fixture
def folder(tmp_path):
    save_calibration(
        tmp_path / FILE,
        CALIBRATION._replace(response=RESPONSE, closed_lips=0.03),
        licence="tests only",
        sources="none",
        command="-",
    )
    return tmp_path


def test_a_saved_calibration_comes_back(folder):
    loaded = load_calibration(folder)
    np.testing.assert_allclose(loaded.mean, CALIBRATION.mean, atol=1e-4)
    np.testing.assert_allclose(loaded.response, RESPONSE, atol=1e-4)
    assert loaded.closed_lips == 0.03


def test_a_folder_without_one_is_uncalibrated(tmp_path):
    loaded = load_calibration(tmp_path)
    np.testing.assert_array_equal(loaded.response, 1)
    np.testing.assert_allclose(loaded.mean[MIRROR] * [-1, 1], loaded.mean, atol=2e-4)


@pytest.mark.parametrize("folder_of", [SHIPPED, SHIPPED.with_name("face_mesh")])
def test_shipped_calibrations_are_faces_and_say_where_they_come_from(folder_of):
    loaded = load_calibration(folder_of)
    np.testing.assert_allclose(loaded.mean[LEFT_EYE_OUTER], [0.5, 0], atol=1e-3)
    np.testing.assert_allclose(loaded.mean[MIRROR] * [-1, 1], loaded.mean, atol=2e-4)
    assert 0.5 <= loaded.response.min() < loaded.response.max() == 1
    about = json.loads((folder_of / FILE).read_text())
    assert "research only" in about["licence"]
    assert "London" in about["sources"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 1}, "version 1"),
        ({"version": 1, "response": [1.0] * POINTS}, "make it anew"),
        ({"format": "other"}, "other"),
        ({"response": [[1.0, 1.0]]}, "478"),
        ({"response": [[3.0, 1.0]] * POINTS}, "outer eye corners"),
        ({"mean": [[9.0, 0.0]] * POINTS}, "outer eye corners"),
        ({"mean": [[float("nan"), 0.0]] * POINTS}, "finite"),
        ({"mean": "x"}, "mean"),
        ({"closed_lips": 0.5}, "closed_lips from 0 to 0.1, got 0.5"),
        ({"closed_lips": "x"}, "closed_lips"),
        ({"extra": 1}, "extra"),
    ],
)
def test_other_files_are_refused_in_one_line(folder, change, told):
    content = json.loads((folder / FILE).read_text()) | change
    (folder / FILE).write_text(json.dumps(content))
    with pytest.raises(UserError, match=told) as caught:
        load_calibration(folder)
    assert "\n" not in str(caught.value)


def test_normalized_points_do_not_depend_on_place_size_and_roll():
    points = CALIBRATION.mean
    turn = Rotation.from_euler("z", 25, degrees=True).as_matrix()[:2, :2]
    moved = 180 * points @ turn.T + [310.0, 90.0]
    np.testing.assert_allclose(normalized(moved), normalized(points), atol=1e-9)
    level = normalized(moved)[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER]]
    np.testing.assert_allclose(level, [[-0.5, 0], [0.5, 0]], atol=1e-9)


def test_the_mean_of_people_is_symmetric_and_rid_of_their_differences():
    rng = np.random.default_rng(0)
    people = 150 * (CALIBRATION.mean + rng.normal(0, 0.01, (400, POINTS, 2))) + 250
    mean = neutral_mean(torch.from_numpy(people))
    np.testing.assert_allclose(mean[MIRROR] * [-1, 1], mean, atol=1e-9)
    np.testing.assert_allclose(mean, CALIBRATION.mean, atol=3e-3)


def test_photos_are_taken_by_the_parity_of_their_subjects(tmp_path):
    for name in ("001_a.jpg", "002_a.jpg", "014_b.jpg", "x.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    names = {s: [p.name for p in photos_of(tmp_path, s)] for s in ("all", "even", "odd")}
    assert names["even"] == ["002_a.jpg", "014_b.jpg"]
    assert names["odd"] == ["001_a.jpg"]
    assert len(names["all"]) == 4
    (tmp_path / "001_a.jpg").unlink()
    with pytest.raises(UserError, match="found none"):
        photos_of(tmp_path, "odd")
