"""The shipped network tells which regions are hidden, and what is no photo of a face."""

import numpy as np
import pytest
from bench.hidden_regions import Rates, Told, clean_faces, rates, told_by
from helpers.occlusions import line_drawing, occlusions

from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.readers import StudentReader
from mica_ext.landmarks.regions import REGIONS
from mica_ext.models.quality import HIDDEN_BELOW
from pacofr.faces.detect import detect
from pacofr.images import load_image


@pytest.fixture(scope="module")
def student():
    return StudentReader()


@pytest.fixture(scope="module")
def example(student):
    """The portrait, its face and its points."""
    image = load_image(EXAMPLE)
    (face,) = detect(image)
    return image, face, detect_points(student, image, face).points_px.numpy()


def test_every_region_has_a_threshold():
    assert HIDDEN_BELOW.keys() == REGIONS.keys()


def test_of_the_portrait_nothing_is_told(student, example):
    image, face, _ = example
    assert told_by(student)(image, face) == Told(frozenset(), True)


@pytest.mark.parametrize("number", range(7))
def test_what_is_covered_on_the_portrait_is_told(student, example, number):
    image, face, points = example
    painted = list(occlusions(image, points, np.random.default_rng(3)))
    assert len(painted) == 7
    told = told_by(student)(painted[number].image, face)
    assert told.hidden >= set(painted[number].hidden), painted[number].name
    assert told.is_face


def test_a_line_drawing_of_the_portrait_is_no_photo(student, example):
    image, face, _ = example
    told = told_by(student)(line_drawing(image), face)
    assert not told.is_face or len(told.hidden) >= 2


def test_rates_count_pictures():
    told = [
        Told(frozenset({"mouth"}), True),
        Told(frozenset({"mouth", "nose"}), True),
        Told(frozenset({"nose"}), False),
        Told(frozenset(), True),
    ]
    assert rates(told, frozenset({"mouth"})) == Rates(50.0, 50.0, 25.0)
    assert rates(told, frozenset()) == Rates(100.0, 75.0, 25.0)


@pytest.mark.slow
def test_clean_and_covered_test_photos_are_told_apart(shared_data, student):
    tell, rng = told_by(student), np.random.default_rng(0)
    clean, covered = [], []
    for image, face in clean_faces(shared_data / "helen" / "testset", every=8):
        clean.append(tell(image, face))
        points = detect_points(student, image, face).points_px.numpy()
        for painted in occlusions(image, points, rng):
            told = tell(painted.image, face)
            covered.append(set(painted.hidden) <= told.hidden)
    assert np.mean([bool(each.hidden) or not each.is_face for each in clean]) <= 0.05
    assert np.mean(covered) > 0.8
