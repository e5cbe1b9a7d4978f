"""Correspondences of the 478 points on heads, by what every face has."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.anchored_points import CALIBRATION, anchors_of, picture_of
from helpers.ict_head import ict_head

from flame_assets.arkit import arkit
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.fitting.correspondence.anchors import thin_plate_warp
from pacofr.faces.face_mesh.topology import (
    INNER_LIPS,
    LEFT_EYE,
    MIRROR,
    OUTER_LIPS,
    RIGHT_EYE,
    SKIN_POINTS,
)

ICT = Path(__file__).parents[4] / "shared/data/ict_facekit/ict_facekit_light.npz"


@pytest.fixture(scope="module", params=["anthro", "ict"])
def decoder(request):
    if request.param == "ict" and not ICT.exists():
        pytest.skip("needs ../shared/data/ict_facekit")
    return HeadDecoder(load_head("anthro") if request.param == "anthro" else ict_head(ICT))


@pytest.fixture(scope="module")
def spots(decoder):
    """The anchors' places on the neutral head [m]."""
    anchors = anchors_of(decoder)
    corners = decoder.head.template[decoder.head.triangles[anchors.triangles]]
    return np.einsum("lc,lcx->lx", anchors.barycentric, corners)


def test_anchors_with_their_offsets_explain_the_mean_picture(decoder, spots):
    anchors, picture = anchors_of(decoder), picture_of(decoder)
    pixels, _ = picture.project(spots + anchors.offsets)
    np.testing.assert_allclose(pixels, CALIBRATION.mean[:SKIN_POINTS], atol=1e-6)
    assert np.linalg.norm(anchors.offsets, axis=1).mean() < 0.002
    assert np.linalg.norm(anchors.offsets, axis=1).max() < 0.008


def test_barycentric_weights_are_inside_their_triangles(decoder):
    anchors = anchors_of(decoder)
    assert anchors.barycentric.min() >= 0
    np.testing.assert_allclose(anchors.barycentric.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(anchors.normals, axis=1), 1, atol=1e-9)
    assert (anchors.normals[:, 2] > -0.1).all()


def test_eyes_stay_open_and_lips_in_order(spots):
    for ring in (RIGHT_EYE, LEFT_EYE):
        opening = np.linalg.norm(spots[ring[12]] - spots[ring[4]])
        assert 0.006 < opening < 0.013
    upper, lower = INNER_LIPS[15], INNER_LIPS[5]
    assert spots[upper, 1] >= spots[lower, 1] - 5e-4
    assert spots[OUTER_LIPS[15], 1] > spots[upper, 1] > spots[OUTER_LIPS[5], 1]


def test_mirror_images_lie_on_mirrored_places(spots):
    mirrored = spots[MIRROR[:SKIN_POINTS]] * [-1, 1, 1]
    assert np.median(np.linalg.norm(spots - mirrored, axis=1)) < 1e-3
    away = CALIBRATION.mean[:SKIN_POINTS, 0]
    assert (spots[away > 0.05, 0] > 0).all()  # the subject's left is the picture's right


def test_lower_lip_points_go_with_the_jaw(decoder):
    """Where the lips touch, nearest spots alone would take the other lip."""
    anchors = anchors_of(decoder)
    pose = arkit({"jawOpen": 1.0}, decoder.head.expression_names)
    parameters = HeadParameters.zeros(decoder.head)._replace(
        expression=torch.from_numpy(pose.expression)[None],
        jaw_pose=torch.from_numpy(pose.jaw_pose)[None],
    )
    vertices = decoder(parameters).vertices[0].numpy()
    corners = vertices[decoder.head.triangles[anchors.triangles]]
    opened = np.einsum("lc,lcx->lx", anchors.barycentric, corners)
    lower, upper = INNER_LIPS[1:10], INNER_LIPS[19:10:-1]
    gap = opened[upper, 1] - opened[lower, 1]
    assert gap[2:7].min() > 0.012
    assert gap.min() > 0


def test_the_warp_meets_its_targets_and_keeps_straight_lines():
    rng = np.random.default_rng(0)
    sources = rng.uniform(-1, 1, (20, 2))
    matrix, shift = np.array([[1.1, 0.1], [-0.2, 0.9]]), np.array([0.3, -0.1])
    points = rng.uniform(-1, 1, (50, 2))
    moved = thin_plate_warp(points, sources, sources @ matrix + shift)
    np.testing.assert_allclose(moved, points @ matrix + shift, atol=1e-9)
    targets = sources + rng.normal(0, 0.01, (20, 2))
    assert np.abs(thin_plate_warp(sources, sources, targets) - targets).max() < 0.01
