"""478 points through crops: the detector's noise, wrong orientations, and what is no face."""

import json

import numpy as np
import pytest

from mica_ext.landmarks.detect import MIN_CONFIDENCE, detect_points, follow_points
from mica_ext.landmarks.readers import FaceMeshReader, StudentReader
from pacofr.faces.detect import Face, detect
from pacofr.faces.face_mesh.detect import detect_points as face_mesh_points
from pacofr.faces.face_mesh.topology import IBUG68, LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from pacofr.images import load_image


@pytest.fixture(scope="module")
def reader(shared_data):
    return FaceMeshReader(shared_data / "face_mesh" / "face_landmarker.task")


@pytest.fixture(scope="module")
def london(shared_data):
    photos = [
        load_image(path)
        for path in sorted((shared_data / "london" / "smiling_front").glob("*.jpg"))[:12:4]
    ]
    return [(photo, detect(photo)[0]) for photo in photos]


def distance(points, other):
    """Mean distance of points over the eye distance."""
    unit = np.linalg.norm(other[LEFT_EYE_OUTER] - other[RIGHT_EYE_OUTER])
    return float(np.linalg.norm(np.asarray(points) - np.asarray(other), axis=1).mean() / unit)


def test_face_mesh_reads_what_it_reads_by_itself(reader, london):
    for photo, face in london:
        found = detect_points(reader, photo, face)
        direct = face_mesh_points(reader.network, [photo], [face.points])
        assert distance(found.points_px, direct.points_px[0]) < 0.01
        assert found.confidence > 0.99
        assert found.visibility.shape == found.error.shape == (7,)


def test_profiles_that_face_mesh_does_not_see_are_read_by_the_student(shared_data):
    task_file = shared_data / "face_mesh" / "face_landmarker.task"
    alone = FaceMeshReader(task_file, StudentReader())
    both = FaceMeshReader(task_file, StudentReader(), student_reads_unseen=True)
    views = shared_data / "synthesis_views"
    photo = load_image(views / "12.jpg")
    info = json.loads((views / "12.info.json").read_text())
    true = np.array([mark["camera_space_pos"] for mark in info["landmarks"]])
    K = np.array(info["camera"]["intrinsics"])
    pixels = true[:, :2] / -true[:, 2:] * [K[0, 0], -K[1, 1]] + K[:2, 2]
    lips_and_nose = [27, 28, 29, 30, 33, 51, 57, 62, 66]
    height = np.ptp(pixels[:, 1])
    face = detect(photo)[0]
    seen, lost = (detect_points(each, photo, face) for each in (both, alone))
    errors = [
        np.linalg.norm(found.points_px.numpy()[IBUG68] - pixels, axis=1)[lips_and_nose].mean()
        for found in (seen, lost)
    ]
    assert lost.confidence < MIN_CONFIDENCE < seen.confidence
    assert errors[0] < 0.05 * height < errors[1]
    followed = follow_points(both, photo, seen.points_px.numpy())
    assert followed.confidence > MIN_CONFIDENCE
    assert "landmarks478" in both.source.name


def test_a_detector_well_off_the_face_does_not_matter(reader, london):
    for photo, face in london:
        right = detect_points(reader, photo, face).points_px
        size = np.linalg.norm(face.points[1] - face.points[0])
        centre = face.points.mean(0)
        off = face.points + 0.35 * size
        small = (face.points - centre) * 0.75 + centre
        for points in (off, small):
            again = detect_points(reader, photo, face._replace(points=points.astype(np.float32)))
            assert distance(again.points_px, right) < 0.03


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_face_taken_for_a_turned_one_is_found(reader, london, quarters):
    photo, face = london[0]
    right = detect_points(reader, photo, face).points_px
    turn = np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), quarters)
    centre = face.points.mean(0)
    points = ((face.points - centre) @ turn + centre).astype(np.float32)
    again = detect_points(reader, photo, face._replace(points=points))
    assert distance(again.points_px, right) < 0.03


def test_noise_is_no_face(reader):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    five = np.array([[120, 120], [180, 120], [150, 150], [130, 180], [170, 180]], np.float32)
    box = np.array([90, 80, 210, 220], np.float32)
    assert detect_points(reader, noise, Face(box, 1.0, five)).confidence < MIN_CONFIDENCE
