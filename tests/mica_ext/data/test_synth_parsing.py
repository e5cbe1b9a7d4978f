"""Region labels of rendered heads: where the landmarks say, in the layout that is trained on."""

import dataclasses

import cv2
import numpy as np
import pytest

from flame_assets.store import load_head
from mica_ext.cli import main
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.data.synthetic.parsing import ParsingFaces, landmarks106
from mica_ext.data.synthetic.region_labels import (
    EARS,
    HAIR,
    INNER_MOUTH,
    LEFT_EYE,
    LOWER_LIP,
    NECK,
    NOSE,
    RIGHT_EYE,
    SKIN,
    UPPER_LIP,
    base_regions,
)
from mica_ext.errors import UserError
from pacofr.tasks.augment.matrices import ALIGNED_POINTS_512, aligned_matrix
from pacofr.tasks.parsing.classes import SYNTHETIC
from pacofr.tasks.parsing.labels import read_photo_and_labels
from pacofr.tasks.parsing.layouts import load_parsing_split

FACES = 8


@pytest.fixture(scope="module")
def faces():
    return ParsingFaces(load_head("anthro"), seed=5, size=192)


@pytest.fixture(scope="module")
def labelled(faces):
    return [faces.labelled(index) for index in range(FACES)]


def seen(face, points):
    """Regions of the pixels at some points in the picture [px]."""
    size = len(face.labels)
    at = np.round(points).astype(int)
    inside = ((at >= 0) & (at < size)).all(axis=1)
    return face.labels[at[inside, 1], at[inside, 0]].tolist()


def test_labels_leave_the_picture_as_it_is(faces, labelled):
    plain = SyntheticFaces(faces.head, seed=5, size=192)
    for index in (0, 3):
        np.testing.assert_array_equal(plain.sample(index).image, labelled[index].image)


@pytest.mark.parametrize(
    ("landmarks", "region"),
    [
        ([29, 30], {NOSE}),
        ([50, 51, 52], {UPPER_LIP, SKIN}),
        ([56, 57, 58], {LOWER_LIP, SKIN}),
        ([61, 62, 63, 65, 66, 67], {UPPER_LIP, LOWER_LIP, INNER_MOUTH}),
        ([17, 21, 22, 26], {SKIN, 2, 3, HAIR}),
    ],
)
def test_landmarks_lie_in_their_regions(landmarks, region, labelled):
    """Some are hidden by hair, hands or the head itself."""
    found = [value for face in labelled for value in seen(face, face.landmarks_px[landmarks])]
    assert np.isin(found, list(region)).mean() > 0.75


def test_the_eye_that_is_left_in_the_picture_is_the_left_one(labelled):
    both = 0
    for face in labelled:
        left, right = (np.argwhere(face.labels == eye) for eye in (LEFT_EYE, RIGHT_EYE))
        if len(left) > 20 and len(right) > 20:
            both += 1
            across = face.landmarks_px[42:48].mean(axis=0) - face.landmarks_px[36:42].mean(axis=0)
            assert (right.mean(axis=0) - left.mean(axis=0))[::-1] @ across > 0
            gap = np.linalg.norm(left.mean(axis=0)[::-1] - face.landmarks_px[36:42].mean(axis=0))
            assert gap < 0.15 * np.linalg.norm(across)
    assert both >= 3


def test_every_region_is_somewhere(labelled):
    together = np.concatenate([face.labels.ravel() for face in labelled])
    counts = np.bincount(together, minlength=13)
    assert len(counts) == len(SYNTHETIC) == 13
    assert (counts > 0).all()
    assert counts[SKIN] > counts[NOSE] > counts[UPPER_LIP]
    assert counts[NECK] > counts[EARS]


def test_landmarks_are_lapas():
    points = np.random.default_rng(0).normal(100, 30, (68, 2))
    rows = landmarks106(points)
    assert rows.shape == (106, 2)
    np.testing.assert_allclose(rows[:33:2], points[:17])
    np.testing.assert_allclose(rows[84:104], points[48:68])
    five = rows[[104, 105, 54, 84, 90]]
    eyes = [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]
    np.testing.assert_allclose(five, [*eyes, points[30], points[48], points[54]])


def test_the_command_writes_what_the_parser_trains_on(tmp_path, capsys):
    out = tmp_path / "heads"
    flags = ["--train", "2", "--val", "1", "--test", "1", "--size", "96"]
    assert main(["synth-parsing", str(out), *flags]) == 0
    assert "--data synthetic:" in capsys.readouterr().out
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        samples = load_parsing_split("synthetic", out, split).samples
        assert len(samples) == count
        photo, labels = read_photo_and_labels(samples[0], 13)
        assert photo.shape == (96, 96, 3)
        assert set(np.unique(labels)) >= {0, SKIN, NOSE}
        matrix = aligned_matrix(samples[0].points, 512)
        placed = samples[0].points @ matrix[:, :2].T + matrix[:, 2]
        assert np.abs(placed - ALIGNED_POINTS_512).mean() < 60
    pictures = [cv2.imread(str(out / f"train/images/00000{i}.jpg")) for i in (0, 1)]
    assert not np.array_equal(*pictures)
    assert main(["synth-parsing", str(out)]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err


def test_a_head_without_regions_is_refused(faces):
    bare = dataclasses.replace(faces.head, regions={})
    landmarks = np.zeros((68, 3), np.float32)
    with pytest.raises(UserError, match="expected a head with the regions left_ear, left_eyeball"):
        base_regions(bare, faces.appearances, landmarks)
