"""Which points cut which crop."""

import numpy as np
import pytest
import torch

from mica_ext.preprocess.align_face import DetectedPoints, align_face
from mica_ext.preprocess.crop import arcface_input, encoder_input
from pacofr.faces.align import ARCFACE_POINTS_112
from pacofr.faces.detect import Face
from pacofr.faces.face_mesh.topology import IBUG68
from pacofr.faces.landmarks68 import five_points

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (300, 320, 3), np.uint8)
FIVE = 2.0 * ARCFACE_POINTS_112 + [40.0, 30.0]


def points_near(five):
    """478 points whose iBUG landmarks imply these five."""
    points = np.zeros((478, 2))
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48], landmarks[30] = five[0], five[1], five[2]
    landmarks[48:60], landmarks[54] = five[3], five[4]
    points[IBUG68] = landmarks
    return points


def aligned(moved_px, **options):
    """The face, whose dense points lie aside of the detector's five, and the five they imply."""
    points = torch.from_numpy(points_near(FIVE + moved_px)).float()
    sure = torch.ones(7)
    face = Face(np.array([40, 30, 264, 254], np.float32), 1.0, FIVE.astype(np.float32))
    found = align_face(PHOTO, face, lambda *_: DetectedPoints(points, sure, sure, 1.0), **options)
    return found, five_points(found.landmarks_px.double().numpy())


@pytest.mark.parametrize(
    ("moved_px", "options", "of_detector"),
    [
        ([3.0, -2.0], {}, (True, False)),  # an ordinary difference: ArcFace's as it was trained
        ([30.0, 20.0], {}, (False, False)),  # the detector was wrong
        ([30.0, 20.0], {"exact_points": True}, (True, True)),
    ],
)
def test_arcface_s_crop_is_the_detector_s_and_the_encoder_s_the_dense_points(
    moved_px, options, of_detector
):
    face, implied = aligned(moved_px, **options)
    five = FIVE.astype(np.float32).astype(np.float64)
    arcface, encoder = (five if own else implied for own in of_detector)
    assert np.abs(implied - five).max() > 1
    torch.testing.assert_close(face.arcface, arcface_input(PHOTO, arcface))
    wanted = encoder_input(PHOTO, encoder)
    torch.testing.assert_close(face.crop, wanted.crop)
    torch.testing.assert_close(face.crop_to_image, wanted.crop_to_image)
