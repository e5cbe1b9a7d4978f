"""Analytic Jacobians of the landmark fit against central differences and SciPy's rotations."""

import numpy as np
import pytest
import torch
from helpers.mica_toy import landmark_head
from scipy.spatial.transform import Rotation

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.fitting.gauss_newton import cauchy_weights, normal_equations, solve_free
from mica_ext.fitting.jacobians import (
    Observations,
    pose_feature_jacobian,
    residuals_and_jacobian,
    rotation_jacobian,
)
from mica_ext.fitting.landmark_basis import contour_row
from mica_ext.fitting.landmark_fitter import FitState, LandmarkFitter
from mica_ext.fitting.rotations import axis_angle_to_matrix, matrix_to_axis_angle

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


def random_state(fitter, seed):
    """Turned heads with open jaws and coefficients well inside their bounds."""
    rng = np.random.default_rng(seed)
    count = len(fitter.lower)
    coefficients = rng.uniform(0.1, 0.6, (BATCH, count))
    coefficients[:, :3] = rng.uniform([0.1, -0.1, -0.08], [0.4, 0.1, 0.08], (BATCH, 3))
    rotation = Rotation.from_rotvec(rng.normal(0, [0.2, 0.5, 0.2], (BATCH, 3))).as_matrix()
    translation = rng.normal([0, 0, -0.9], 0.05, (BATCH, 3))
    return FitState(rotation, translation, coefficients)


def random_observations(seed):
    rng = np.random.default_rng(seed)
    focal = rng.uniform(800, 2000, BATCH)
    centre = rng.uniform(200, 400, (BATCH, 2))
    return Observations(rng.uniform(0, 600, (BATCH, 68, 2)), centre, focal, np.ones((BATCH, 68)))


@pytest.fixture(scope="module", params=["correctives", "anthro"])
def fitter(request):
    head = landmark_head() if request.param == "correctives" else load_head("anthro")
    fitter = LandmarkFitter(HeadDecoder(head))
    assert fitter.basis.has_jaw_correctives == (request.param == "correctives")
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
    state, observations = random_state(fitter, 4), random_observations(5)
    _, jacobian = fitter.pose_residuals(state, observations)

    def predicted(x):
        moved = state._replace(
            rotation=rotated(x[:3], state.rotation), translation=state.translation + x[3:]
        )
        assert (contour_row(moved.rotation) == contour_row(state.rotation)).all()
        return -fitter.pose_residuals(moved, observations)[0]

    numeric = central_differences(predicted, 6)
    np.testing.assert_allclose(jacobian, numeric, rtol=1e-5, atol=1e-3)


def test_residuals_by_every_unknown(fitter):
    """Head rotation, translation, jaw rotation (with its pose correctives), shape, expression."""
    state, observations = random_state(fitter, 6), random_observations(7)
    _, jacobian = fitter.residuals(state, observations)
    jaw = Rotation.from_rotvec(state.coefficients[:, :3]).as_matrix()

    def predicted(x):
        coefficients = state.coefficients + np.r_[np.zeros(3), x[9:]]
        coefficients[:, :3] = Rotation.from_matrix(rotated(x[6:9], jaw)).as_rotvec()
        moved = FitState(rotated(x[:3], state.rotation), state.translation + x[3:6], coefficients)
        return -fitter.residuals(moved, observations)[0]

    numeric = central_differences(predicted, jacobian.shape[-1])
    assert np.abs(numeric[..., 6:9]).max() > 1  # the jaw does move landmarks [px/rad]
    np.testing.assert_allclose(jacobian, numeric, rtol=1e-5, atol=1e-3)


def test_landmarks_are_those_of_the_head_module(fitter):
    """The linear basis against the head module, both projected; no lid touches its globe."""
    state, observations = random_state(fitter, 8), random_observations(9)
    axes = 3 + fitter.axes_count
    state.coefficients[:, axes:] *= 0.05
    shape = state.coefficients[:, 3:axes] @ fitter.basis.shape_axes.T
    pose = Rotation.from_matrix(state.rotation).as_rotvec()
    zero = np.zeros_like(pose)
    jaw, expression = state.coefficients[:, :3], state.coefficients[:, axes:]
    rows = (shape, expression, pose, zero, jaw, zero, zero)
    parameters = HeadParameters(*(torch.from_numpy(row) for row in rows))
    module = HeadDecoder(fitter.head).landmark_head().double()
    mesh = module(parameters)
    root = module.joints_template[0] + torch.einsum(
        "kc,bk->bc", module.joints_basis[:, 0], torch.cat(parameters[:2], 1)
    )
    about_root = mesh.landmarks.numpy() - root.numpy()[:, None]
    turned_root = (state.rotation @ root.numpy()[..., None])[:, None, :, 0]
    points = about_root + turned_root + state.translation[:, None]
    expected, _ = residuals_and_jacobian(points, observations)
    residuals, _ = fitter.residuals(state, observations)
    np.testing.assert_allclose(residuals[:, :36], expected[:, :36], atol=0.02)
    np.testing.assert_allclose(residuals[:, 48:], expected[:, 48:], atol=0.02)


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
