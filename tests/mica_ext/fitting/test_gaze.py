"""Eye rotations from irises, against heads whose eyes are turned."""

import numpy as np
import pytest
import torch
from helpers.anchored_points import CALIBRATION, points_of
from scipy.spatial.transform import Rotation

from flame_assets.arkit import arkit, eye_look_weights
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.fitting.gaze import EyeObservations, estimate_gaze, iris_rotations
from mica_ext.fitting.geometry.jacobians import Observations
from mica_ext.fitting.geometry.pose import Pose
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.models.projection import project
from mica_ext.models.types import Camera


@pytest.fixture(scope="module")
def anthro():
    return HeadDecoder(load_head("anthro"))


def look(decoder, eye, yaw=0.0):
    """A head turned by `yaw` whose eyes have the rotation vector `eye`; its points [px]."""
    zeros = HeadParameters.zeros(decoder.head)
    turn = torch.tensor([[0.0, yaw, 0.0]])
    eyes = torch.tensor([eye], dtype=torch.float32)
    truth = zeros._replace(global_pose=turn, left_eye_pose=eyes, right_eye_pose=eyes)
    camera = Camera(
        torch.tensor([1500.0]), torch.tensor([[320.0, 240.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    )
    return truth, project(camera, points_of(decoder, truth))


def test_rotations_of_irises_seen_by_a_pinhole():
    rng = np.random.default_rng(0)
    rotation = Rotation.from_rotvec(rng.normal(0, 0.4, (6, 3))).as_matrix()
    pose = Pose(rotation, rng.normal([0, 0, -0.8], 0.05, (6, 3)))
    eyes = np.array([[0.031, 0.0, 0.07], [-0.031, 0.0, 0.07]]) + np.zeros((6, 1, 1))
    gaze = np.concatenate([rng.normal(0, 0.3, (6, 2, 2)), np.zeros((6, 2, 1))], -1)
    turned = Rotation.from_rotvec(gaze.reshape(-1, 3)).apply([0, 0, 0.0115]).reshape(6, 2, 3)
    camera_points = (eyes + turned) @ rotation.transpose(0, 2, 1) + pose.translation[:, None]
    focal, centre = np.full(6, 1200.0), np.full((6, 2), 256.0)
    px = camera_points[..., :2] / -camera_points[..., 2:] * [1, -1] * 1200 + 256
    found = iris_rotations(px, eyes, pose, Observations(px, centre, focal))
    np.testing.assert_allclose(found, gaze, atol=1e-6)


@pytest.mark.parametrize("yaw", [0.0, 0.5])
@pytest.mark.parametrize("eye", [(0.3, 0.0, 0.0), (-0.2, 0.0, 0.0), (0.0, 0.35, 0.0)])
def test_eyes_turn_to_where_the_irises_are(anthro, eye, yaw):
    fitter = LandmarkFitter(anthro, CALIBRATION)
    straight = fitter(look(anthro, (0.0, 0.0, 0.0), yaw)[1], (480, 640)).parameters.head
    turned = fitter(look(anthro, eye, yaw)[1], (480, 640)).parameters.head
    change = (turned.left_eye_pose - straight.left_eye_pose)[0].numpy()
    assert np.dot(change, eye) > 0.6 * np.dot(eye, eye)
    assert np.linalg.norm(change - eye) < np.radians(8)


def test_eye_look_weights_belong_to_the_rotations(anthro):
    fit = LandmarkFitter(anthro, CALIBRATION)(look(anthro, (0.3, 0.3, 0.0))[1], (480, 640))
    head, names = fit.parameters.head, anthro.head.expression_names
    weights = dict(zip(names, head.expression[0].tolist(), strict=True))
    assert weights["eyeLookDownLeft"] > 0.3
    assert weights["eyeLookOutLeft"] > 0.3
    assert weights["eyeLookInRight"] > 0.3
    again = arkit(weights, names)
    np.testing.assert_allclose(again.left_eye_pose, head.left_eye_pose[0].numpy(), atol=1e-5)


def test_weights_of_rotations_are_the_inverse_of_arkit():
    weights = {"eyeLookUpLeft": 0.4, "eyeLookInLeft": 0.7, "eyeLookDownRight": 0.2}
    pose = arkit(weights)
    found = eye_look_weights(pose.left_eye_pose[None], pose.right_eye_pose[None])
    for name, value in found.items():
        assert value[0] == pytest.approx(weights.get(name, 0.0), abs=1e-6)


def test_closed_eyes_look_straight_ahead(anthro):
    _, points = look(anthro, (0.0, 0.0, 0.0))
    shut = points.double().numpy().copy()
    for upper, lower in ((159, 145), (386, 374)):
        shut[:, upper] = shut[:, lower]
    eyes = EyeObservations.from_points(shut, np.ones((1, 478)))
    np.testing.assert_array_equal(eyes.visibility, 0)
    assert not estimate_gaze(np.full((1, 2, 3), 0.5), eyes.visibility).any()
    eyes = EyeObservations.from_points(points.double().numpy(), np.ones((1, 478)))
    np.testing.assert_array_equal(eyes.visibility, 1)
