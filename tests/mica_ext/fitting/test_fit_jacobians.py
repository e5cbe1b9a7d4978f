"""Analytic Jacobians of the landmark fit against central differences and SciPy's rotations."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.anchored_points import CALIBRATION, points_of
from helpers.mica_toy import landmark_head
from scipy.spatial.transform import Rotation

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.fitting.geometry.gauss_newton import cauchy_weights, normal_equations, solve_free
from mica_ext.fitting.geometry.jacobians import (
    Observations,
    pose_feature_jacobian,
    residuals_and_jacobian,
    rotation_jacobian,
)
from mica_ext.fitting.geometry.pose import Pose, pose_residuals, scaled_pose
from mica_ext.fitting.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.fitting.points.model import FitState
from mica_ext.fitting.points.noise import FIT_POINTS

STEP = 1e-6
BATCH = 5


def central_differences(function, size):
    """d(function(x))/dx at x = 0, as the last axis."""
    columns = [
        (function(STEP * unit) - function(-STEP * unit)) / (2 * STEP) for unit in np.eye(size)
    ]
    return np.stack(columns, -1)


def rotated(vector, matrices):
    return Rotation.from_rotvec(vector).as_matrix() @ matrices


def random_state(model, modes, seed):
    """Turned heads with open jaws and coefficients well inside their bounds."""
    rng = np.random.default_rng(seed)
    shape, expression = model.axes_count, model.jaw_of_expression.shape[1]
    jaw = rng.uniform([0.1, -0.1, -0.08], [0.4, 0.1, 0.08], (BATCH, 3))
    jaw *= not model.jaw_of_expression.any()  # else it turns with the expression alone
    rotation = Rotation.from_rotvec(rng.normal(0, [0.2, 0.5, 0.2], (BATCH, 3))).as_matrix()
    pose = Pose(rotation, rng.normal([0, 0, -0.9], 0.05, (BATCH, 3)))
    rows = (rng.uniform(0.1, 0.6, (BATCH, count)) for count in (shape, expression, modes))
    return FitState(pose, jaw, *rows)


def random_observations(seed, points=68):
    rng = np.random.default_rng(seed)
    focal = rng.uniform(800, 2000, BATCH)
    centre = rng.uniform(200, 400, (BATCH, 2))
    return Observations(rng.uniform(0, 600, (BATCH, points, 2)), centre, focal)


@pytest.fixture(scope="module", params=["correctives", "anthro"])
def fitter(request):
    head = landmark_head() if request.param == "correctives" else load_head("anthro")
    fitter = LandmarkFitter(HeadDecoder(head), CALIBRATION)
    assert fitter.model.basis.has_jaw_correctives == (request.param == "correctives")
    return fitter


def test_projection_by_the_camera_point():
    observations = random_observations(0)
    points = np.random.default_rng(1).normal([0, 0, -0.8], 0.08, (BATCH, 68, 3))
    _, jacobian = residuals_and_jacobian(points, observations)
    numeric = central_differences(lambda x: -residuals_and_jacobian(points + x, observations)[0], 3)
    np.testing.assert_allclose(jacobian, numeric, rtol=1e-6, atol=1e-4)


def test_rotation_of_points_by_a_rotation_vector():
    rng = np.random.default_rng(2)
    rows, points = rng.normal(size=(BATCH, 68, 2, 3)), rng.normal(size=(BATCH, 68, 3))
    numeric = central_differences(
        lambda w: np.einsum("blrx,blx->blr", rows, points @ rotated(w, np.eye(3)).T), 3
    )
    np.testing.assert_allclose(rotation_jacobian(rows, points), numeric, rtol=1e-6, atol=1e-8)


def test_entries_of_a_rotation_by_a_further_rotation_vector():
    matrices = Rotation.from_rotvec(np.random.default_rng(3).normal(size=(BATCH, 3))).as_matrix()
    numeric = central_differences(lambda w: rotated(w, matrices).reshape(-1, 9), 3)
    np.testing.assert_allclose(pose_feature_jacobian(matrices), numeric, rtol=1e-6, atol=1e-8)


def test_pose_residuals_by_rotation_and_translation(fitter):
    pose = random_state(fitter.model, 0, 4).pose
    observations = random_observations(5, len(fitter.points))
    _, jacobian = pose_residuals(pose, fitter.points, observations)

    def predicted(x):
        moved = Pose(rotated(x[:3], pose.rotation), pose.translation + x[3:])
        return -pose_residuals(moved, fitter.points, observations)[0]

    numeric = central_differences(predicted, 6)
    np.testing.assert_allclose(jacobian, numeric, rtol=1e-5, atol=1e-3)


def test_residuals_by_every_unknown(fitter):
    """Head and jaw rotation (with its pose correctives), translation, shape, expression, noise."""
    model, modes = fitter.model, 4
    state, observations = random_state(model, modes, 6), random_observations(7, len(fitter.points))
    noise_modes = np.random.default_rng(8).normal(0, 5, (BATCH, len(fitter.points), 2, modes))
    _, jacobian = model.residuals(state, observations, noise_modes)
    jaw = Rotation.from_rotvec(state.jaw).as_matrix()

    def predicted(x):
        pose = Pose(rotated(x[:3], state.pose.rotation), state.pose.translation + x[3:6])
        moved = model.split(pose, state.coefficients + np.r_[np.zeros(3), x[9:]])
        moved = moved._replace(jaw=Rotation.from_matrix(rotated(x[6:9], jaw)).as_rotvec())
        return -model.residuals(moved, observations, noise_modes)[0]

    numeric = central_differences(predicted, jacobian.shape[-1])
    if model.jaw_of_expression.any():
        numeric[..., 6:9] = jacobian[..., 6:9]  # the jaw is not free
    assert np.abs(numeric[..., 6:9]).max() > 1  # the jaw does move points [px/rad]
    np.testing.assert_allclose(jacobian, numeric, rtol=1e-5, atol=2e-3)


def test_points_are_those_of_the_head_module(fitter):
    """The linear basis against the posed mesh, lids left to themselves, both projected."""
    model = fitter.model
    state, observations = random_state(model, 0, 8), random_observations(9, len(fitter.points))
    state = state._replace(expression=0.05 * state.expression)
    shape = state.shape @ model.basis.shape_axes.T
    pose = Rotation.from_matrix(state.pose.rotation).as_rotvec()
    zero = np.zeros_like(pose)
    jaw = state.jaw + state.expression @ model.jaw_of_expression.T
    rows = (shape, state.expression, pose, zero, jaw, zero, zero)
    parameters = HeadParameters(*(torch.from_numpy(row).float() for row in rows))
    head = dataclasses.replace(fitter.head, lid_closures=(), lid_contacts=())
    decoder = HeadDecoder(head)
    points = points_of(decoder, parameters).double().numpy()[:, FIT_POINTS]
    root = decoder(parameters).joints[:, 0].double().numpy()
    turned_root = (state.pose.rotation @ root[..., None])[..., 0]
    points = points + (turned_root - root + state.pose.translation)[:, None]
    expected, _ = residuals_and_jacobian(points, observations)
    no_noise = np.zeros((*observations.points_px.shape, 0))
    residuals, _ = model.residuals(state, observations, no_noise)
    np.testing.assert_allclose(residuals, expected, atol=0.05)


def test_the_orthographic_pose_of_exact_points_is_exact():
    rng = np.random.default_rng(12)
    points = rng.normal(0, 0.05, (40, 3))
    rotation = Rotation.from_rotvec(rng.normal(0, 1.2, (BATCH, 3))).as_matrix()
    scale, offset = rng.uniform(500, 3000, BATCH), rng.uniform(0, 500, (BATCH, 2))
    rows = rotation[:, :2] * scale[:, None, None] * [[1], [-1]]
    observed = np.einsum("brx,lx->blr", rows, points) + offset[:, None]
    pose = scaled_pose(points, observed, rng.uniform(0.5, 2, 40))
    np.testing.assert_allclose(pose.rotation, rotation, atol=1e-9)
    np.testing.assert_allclose(pose.scale, scale)
    np.testing.assert_allclose(pose.offset, offset)


def test_normal_equations_give_the_weighted_least_squares_step():
    rng = np.random.default_rng(10)
    jacobian, residuals = rng.normal(size=(2, 20, 2, 7)), rng.normal(size=(2, 20, 2))
    weights = rng.uniform(0.1, 2, (2, 20))
    H, g = normal_equations(jacobian, residuals, weights)
    fixed = np.zeros((2, 7), bool)
    fixed[1, [2, 5]] = True
    step = solve_free(H, g, fixed)
    for item in range(2):
        free = ~fixed[item]
        root = np.sqrt(weights[item]).repeat(2)
        J, r = jacobian[item].reshape(40, 7)[:, free], residuals[item].ravel()
        expected = np.linalg.lstsq(root[:, None] * J, root * r, rcond=None)[0]
        np.testing.assert_allclose(step[item, free], expected, rtol=1e-5)
    assert (step[fixed] == 0).all()


def test_cauchy_weights_are_the_derivative_of_the_cauchy_loss():
    """IRLS weight = loss'(r) / r of loss(r) = c^2 / 2 log(1 + (r / (c sigma))^2)."""
    sigma, threshold = 2.0, 4.0

    def loss(r):
        return 0.5 * threshold**2 * np.log1p((r / (threshold * sigma)) ** 2)

    for r in (0.5, 8.0, 60.0):
        slope = (loss(r + STEP) - loss(r - STEP)) / (2 * STEP)
        residuals = np.array([[[0.6 * r, -0.8 * r]]])
        weight = cauchy_weights(residuals, np.array([[sigma]]), threshold)
        assert weight[0, 0] == pytest.approx(slope / r, rel=1e-6)
    assert cauchy_weights(np.array([[[8.0, 0.0]]]), np.array([[2.0]]), 4.0) == pytest.approx(0.125)


def test_rotations_are_those_of_scipy():
    rng = np.random.default_rng(11)
    vectors = rng.normal(0, 1, (200, 3))
    vectors *= (rng.uniform(0, np.pi, 200) / np.linalg.norm(vectors, axis=1))[:, None]
    vectors[:3] = 0.0, 1e-9, 1e-5
    matrices = axis_angle_to_matrix(vectors)
    expected = Rotation.from_rotvec(vectors).as_matrix()
    np.testing.assert_allclose(matrices, expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(matrix_to_axis_angle(expected), vectors, rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [np.pi, np.pi - 1e-10, np.pi - 1e-6])
def test_half_turns_keep_their_axis(angle):
    axes = np.array([[0.0, 0.0, 1.0], [0.6, -0.8, 0.0], [-0.36, 0.48, 0.8]])
    matrices = Rotation.from_rotvec(angle * axes).as_matrix()
    again = axis_angle_to_matrix(matrix_to_axis_angle(matrices))
    np.testing.assert_allclose(again, matrices, rtol=0, atol=1e-9)
