"""Fits pose, jaw, shape and expression of a head to 68 image landmarks.

Bounded Gauss-Newton with Cauchy weights (iteratively reweighted least squares) and Gaussian priors
on all coefficients, batched. Landmarks are linear in shape and expression for fixed head and jaw
rotations (`LandmarkBasis`), so the Jacobians are analytic (`jacobians`). In NumPy: a step is a
hundred small operations, whose overhead in torch exceeds the arithmetic.

The focal length, where unknown, is set so that the face stands `FitConfig.default_distance_m` away:
a face crop does not determine it (perspective at portrait distance is below the landmarks' noise).
`FitConfig.min_focal_ratio` bounds it below, so that a small face near the edge of a photo is not
explained by an extreme viewing angle.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.fitting.config import FitConfig
from mica_ext.fitting.expression_prior import expression_prior_precision
from mica_ext.fitting.gauss_newton import cauchy_weights, normal_equations, solve_free
from mica_ext.fitting.jacobians import (
    Observations,
    pose_feature_jacobian,
    residuals_and_jacobian,
    rotation_jacobian,
)
from mica_ext.fitting.landmark_basis import LandmarkBasis
from mica_ext.fitting.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from mica_ext.models.projection import project
from mica_ext.models.types import Camera, FaceParameters

RIGHT_EYE, LEFT_EYE = 36, 45
"""Outer eye corners; residuals are given in units of their distance."""
INNER_LIPS = ((61, 67), (62, 66), (63, 65))
"""Upper and lower landmarks of the inner lips."""
CLOSED_LIPS_GAP = 0.025
"""Lip gap, in distances of the outer eye corners, that is shrunk by 1 - 1/e: landmark networks
leave about 0.02 on closed mouths."""
PROFILE_EXTENT = 2.4
"""Extent of the 68 landmarks of a frontal face in distances of the outer eye corners."""


class FitResult(NamedTuple):
    """Fitted heads."""

    parameters: FaceParameters
    landmarks_px: Float[Tensor, "B 68 2"]
    """The fitted head's landmarks, projected into the photo."""
    residual: Float[Tensor, " B"]
    """Mean distance to the observed landmarks, in distances of their outer eye corners."""


class FitState(NamedTuple):
    """The unknowns: camera point = rotation @ head point + translation [m]."""

    rotation: Float64[np.ndarray, "B 3 3"]
    translation: Float64[np.ndarray, "B 3"]
    coefficients: Float64[np.ndarray, "B M"]
    """Jaw rotation vector [rad], shape axes of the `LandmarkBasis`, expression."""
    holds_shape: bool = False
    """Whether the shape axes are known and stay."""


class LandmarkFitter:
    """Fits one head model; build once, call often."""

    def __init__(self, head: HeadDecoder, config: FitConfig | None = None) -> None:
        self.config = c = config or FitConfig()
        self.head = head.head
        self.landmark_head = head.landmark_head()
        self.basis = LandmarkBasis.from_head(head)
        self.axes_count = self.basis.shape_axes.shape[1]
        self.shape_columns = slice(3, 3 + self.axes_count)
        bounds = self.head.expression_bounds
        low, high = bounds or (-np.inf, np.inf)
        shape = np.full(self.axes_count, c.shape_sigma**-2)
        unbounded = np.full(self.axes_count, np.inf)
        expression = np.ones(self.head.expression_count)
        joint_prior = expression_prior_precision(
            self.head,
            scale=c.expression_prior_scale,
            sigma_floor=c.expression_sigma_floor,
            jaw_sigma_floor=(c.jaw_opening_sigma_floor, *c.jaw_sigma[1:]),
        )
        jaw = np.array(c.jaw_sigma)
        self.prior_precision = np.diag(np.concatenate([jaw**-2, shape, expression]))
        if joint_prior is not None:
            jaw_and_expression = np.r_[:3, 3 + self.axes_count : len(self.prior_precision)]
            self.prior_precision[np.ix_(jaw_and_expression, jaw_and_expression)] = joint_prior
        self.lower = np.concatenate([c.jaw_min, -unbounded, low * expression])
        self.upper = np.concatenate([c.jaw_max, unbounded, high * expression])
        self.relative_sigma = np.array([c.contour_sigma] * 17 + [c.landmark_sigma] * 51)

    def __call__(
        self,
        landmarks_px: Float[Tensor, "B 68 2"],
        photo_size: tuple[int, int] | Int[Tensor, "B 2"],
        focal_px: Float[Tensor, " B"] | None = None,
        *,
        shape: Float[Tensor, "B S"] | None = None,
    ) -> FitResult:
        """Fit to landmarks [px] in photos of `photo_size` (height, width) [px], of all or of each.

        The principal point is the photo's centre. With `shape` the identity is not fitted: these
        coefficients are the result's.

        Raises:
            UserError: if the fit diverges or the landmarks are not finite.
        """
        landmarks = landmarks_px.detach().cpu().double().numpy()
        focal = None if focal_px is None else focal_px.detach().cpu().double().numpy()
        _check_finite([landmarks])
        known = None if shape is None else shape.detach().cpu().double().numpy()
        state, observations = self._initialize(landmarks, photo_size, focal, known)
        c = self.config
        steps = [self._pose_step] * c.pose_iterations + [self._step] * c.iterations
        for step in steps:
            state = step(state, observations)
            _check_finite(state[:3])
        return self._result(state, observations, landmarks_px, shape)

    def _initialize(
        self,
        landmarks: Float64[np.ndarray, "B 68 2"],
        photo_size: tuple[int, int] | Int[Tensor, "B 2"],
        known_focal: Float64[np.ndarray, " B"] | None,
        known_shape: Float64[np.ndarray, "B S"] | None,
    ) -> tuple[FitState, Observations]:
        """Frontal mean head under the least-squares similarity of its inner landmarks."""
        mean = self.basis.inner[:, :3, 0] + self.basis.inner[:, 3:, 0]
        inner = landmarks[:, 17:]
        model = (mean[:, :2] - mean[:, :2].mean(0)) * [1, -1]  # image y points down
        target = inner - inner.mean(1, keepdims=True)
        norm = np.square(model).sum()
        a = (target * model).sum((1, 2)) / norm
        b = (target[..., 1] * model[:, 0] - target[..., 0] * model[:, 1]).sum(1) / norm
        scale, roll = np.hypot(a, b), np.arctan2(b, a)
        rotation = axis_angle_to_matrix(np.stack([0 * roll, 0 * roll, -roll], -1))
        sizes = np.broadcast_to(np.asarray(photo_size), (len(landmarks), 2))
        principal_point = (sizes[:, ::-1] - 1) / 2
        offset = (inner.mean(1) - principal_point) / scale[:, None]
        min_focal = self.config.min_focal_ratio * sizes.max(1)
        default_focal = np.maximum(scale * self.config.default_distance_m, min_focal)
        focal = default_focal if known_focal is None else known_focal
        centre = np.stack([offset[:, 0], -offset[:, 1], -focal / scale], -1)
        unit = np.linalg.norm(landmarks[:, RIGHT_EYE] - landmarks[:, LEFT_EYE], axis=-1)
        extent = np.ptp(landmarks, axis=1).max(-1)
        unit = np.maximum(unit, extent / PROFILE_EXTENT)  # a profile's eye corners lie close
        zero = np.clip(0.0, self.lower, self.upper)
        coefficients = np.tile(zero, (len(landmarks), 1))
        if known_shape is not None:
            coefficients[:, self.shape_columns] = known_shape @ self.basis.shape_axes
        start = centre - rotation @ mean.mean(0)
        state = FitState(rotation, start, coefficients, known_shape is not None)
        sigma_px = self.relative_sigma * unit[:, None]
        observed = close_lips(landmarks, unit)
        return state, Observations(observed, principal_point, focal, sigma_px)

    def pose_residuals(
        self, state: FitState, observations: Observations
    ) -> tuple[Float64[np.ndarray, "B 68 2"], Float64[np.ndarray, "B 68 2 6"]]:
        """Residuals [px] of the mean head, and d(projected)/d(rotation, translation).

        Rotation is a rotation vector [rad] applied from the left.
        """
        parts = self.basis.at_rotation(state.rotation)[..., 0]
        rotated = (parts[..., :3] + parts[..., 3:]) @ state.rotation.transpose(0, 2, 1)
        camera_points = rotated + state.translation[:, None]
        residuals, projection_jacobian = residuals_and_jacobian(camera_points, observations)
        rotation = rotation_jacobian(projection_jacobian, rotated)
        return residuals, np.concatenate([rotation, projection_jacobian], -1)

    def residuals(
        self, state: FitState, observations: Observations
    ) -> tuple[Float64[np.ndarray, "B 68 2"], Float64[np.ndarray, "B 68 2 N"]]:
        """Residuals [px] and d(projected)/d(rotation, translation, coefficients).

        Head and jaw rotations are rotation vectors [rad] applied from the left.
        """
        jaw = axis_angle_to_matrix(state.coefficients[:, :3])
        basis = self.basis.at_rotation(state.rotation)
        q = [np.ones((len(jaw), 1)), state.coefficients[:, 3:]]
        if self.basis.has_jaw_correctives:
            q.append((jaw - np.eye(3)).reshape(-1, 9))
        flat = basis.reshape(len(jaw), 68 * 6, -1)
        parts = (flat @ np.concatenate(q, 1)[..., None]).reshape(-1, 68, 6)
        jaw_points = parts[..., 3:] @ jaw.transpose(0, 2, 1)
        rotated = (parts[..., :3] + jaw_points) @ state.rotation.transpose(0, 2, 1)
        camera_points = rotated + state.translation[:, None]
        residuals, projection_jacobian = residuals_and_jacobian(camera_points, observations)
        head_jacobian = projection_jacobian @ state.rotation[:, None]  # by points of the head
        q_jacobian = np.concatenate([head_jacobian, head_jacobian @ jaw[:, None]], -1) @ basis
        jaw_jacobian = rotation_jacobian(head_jacobian, jaw_points)
        if self.basis.has_jaw_correctives:
            jaw_jacobian = jaw_jacobian + q_jacobian[..., -9:] @ pose_feature_jacobian(jaw)[:, None]
        linear = q_jacobian[..., 1 : state.coefficients.shape[1] - 2]
        rotation = rotation_jacobian(projection_jacobian, rotated)
        blocks = [rotation, projection_jacobian, jaw_jacobian, linear]
        return residuals, np.concatenate(blocks, -1)

    def _pose_step(self, state: FitState, observations: Observations) -> FitState:
        """Gauss-Newton step of rotation and translation."""
        residuals, jacobian = self.pose_residuals(state, observations)
        H, g = normal_equations(jacobian, residuals, self._weights(residuals, observations))
        step = solve_free(H, g, np.zeros(g.shape, bool))
        return FitState(
            axis_angle_to_matrix(step[:, :3]) @ state.rotation,
            state.translation + step[:, 3:],
            state.coefficients,
            state.holds_shape,
        )

    def _step(self, state: FitState, observations: Observations) -> FitState:
        """Projected Gauss-Newton step of all unknowns: bounds by active set and clipping."""
        residuals, jacobian = self.residuals(state, observations)
        H, g = normal_equations(jacobian, residuals, self._weights(residuals, observations))
        g[:, 6:] -= state.coefficients @ self.prior_precision
        H[:, 6:, 6:] += self.prior_precision
        active_set = (state.coefficients <= self.lower) & (g[:, 6:] < 0)
        active_set |= (state.coefficients >= self.upper) & (g[:, 6:] > 0)
        active_set[:, self.shape_columns] |= state.holds_shape
        pose_free = np.zeros((len(g), 6), bool)
        step = solve_free(H, g, np.concatenate([pose_free, active_set], 1))
        return FitState(
            axis_angle_to_matrix(step[:, :3]) @ state.rotation,
            state.translation + step[:, 3:6],
            np.clip(state.coefficients + step[:, 6:], self.lower, self.upper),
            state.holds_shape,
        )

    def _weights(
        self, residuals: Float64[np.ndarray, "B 68 2"], observations: Observations
    ) -> Float64[np.ndarray, "B 68"]:
        return cauchy_weights(residuals, observations.sigma_px, self.config.robust_threshold)

    def _result(
        self,
        state: FitState,
        observations: Observations,
        landmarks_px: Float[Tensor, "B 68 2"],
        known_shape: Float[Tensor, "B S"] | None,
    ) -> FitResult:
        """Parameters of the head model, with landmarks of the exact model (lid contacts too)."""
        jaw, axes = state.coefficients[:, :3], state.coefficients[:, self.shape_columns]
        expression = state.coefficients[:, self.shape_columns.stop :]
        shape = axes @ self.basis.shape_axes.T
        if known_shape is not None:
            shape = known_shape.detach().cpu().numpy()
        zero = np.zeros_like(jaw)
        pose = matrix_to_axis_angle(state.rotation)
        parts = (shape, expression, pose, zero, jaw, zero, zero)
        head = HeadParameters(*(torch.from_numpy(part).float() for part in parts))
        with torch.no_grad():
            mesh = self.landmark_head(head)
        coefficients = np.concatenate([shape, expression], 1)
        root = coefficients @ self.landmark_head.joints_basis[:, 0].numpy()
        root += self.landmark_head.joints_template[0].numpy()
        # the model rotates about its root joint, the fit about the origin
        translation = state.translation - root + (state.rotation @ root[..., None])[..., 0]
        parts = (observations.focal_px, observations.principal_point, translation)
        camera = Camera(*(torch.from_numpy(part).float() for part in parts))
        fitted = project(camera, mesh.landmarks)
        unit = (landmarks_px[:, RIGHT_EYE] - landmarks_px[:, LEFT_EYE]).norm(dim=-1)
        residual = (fitted - landmarks_px).norm(dim=-1).mean(1) / unit
        return FitResult(FaceParameters(head, camera), fitted, residual)


def close_lips(
    landmarks: Float64[np.ndarray, "B 68 2"], unit: Float64[np.ndarray, " B"]
) -> Float64[np.ndarray, "B 68 2"]:
    """Landmarks with the inner lips drawn together where they almost touch.

    A gap d (in `unit` [px]) becomes d (1 - exp(-(d / CLOSED_LIPS_GAP)^2)) about its centre.
    """
    landmarks = landmarks.copy()
    upper, lower = (np.array(side) for side in zip(*INNER_LIPS, strict=True))
    half = (landmarks[:, lower] - landmarks[:, upper]) / 2
    centre = landmarks[:, upper] + half
    gap = 2 * np.linalg.norm(half, axis=-1) / unit[:, None]
    half *= 1 - np.exp(-np.square(gap / CLOSED_LIPS_GAP))[..., None]
    landmarks[:, upper], landmarks[:, lower] = centre - half, centre + half
    return landmarks


def _check_finite(arrays: Iterable[Float64[np.ndarray, "..."]]) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise UserError(
            "expected 68 landmarks of a face, got points that no head fits; is there a face in the"
            " photo?"
        )
