"""Where a head's points fall in a photo, and how they follow every unknown of the fit."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from flame_assets.arkit import JAW_OPEN
from flame_assets.model.head import HeadModel
from mica_ext.fitting.geometry.jacobians import (
    Observations,
    jaw_jacobian,
    residuals_and_jacobian,
    rotation_jacobian,
)
from mica_ext.fitting.geometry.pose import Pose
from mica_ext.fitting.geometry.rotations import axis_angle_to_matrix
from mica_ext.fitting.points.basis import PointBasis


class FitState(NamedTuple):
    """The unknowns."""

    pose: Pose
    jaw: Float64[np.ndarray, "B 3"]
    """Rotation vector of a free jaw [rad]."""
    shape: Float64[np.ndarray, "B R"]
    """Along the axes of the `PointBasis`."""
    expression: Float64[np.ndarray, "B E"]
    noise: Float64[np.ndarray, "B K"]
    """Along the modes of the `PointNoise`."""

    @property
    def coefficients(self) -> Float64[np.ndarray, "B M"]:
        """All but the pose, in the order of the Jacobian."""
        return np.concatenate(self[1:], 1)


class PointModel(NamedTuple):
    """A basis of points, and how the jaw goes with the expression."""

    basis: PointBasis
    jaw_of_expression: Float64[np.ndarray, "3 E"]
    """Rotation vector of the jaw per unit of each expression [rad], about one axis; zero for heads
    whose jaw is free."""

    @classmethod
    def from_basis(cls, basis: PointBasis, head: HeadModel) -> "PointModel":
        """The jaws of "arkit" heads turn with jawOpen alone."""
        jaw = np.zeros((3, head.expression_count))
        if head.expression_convention == "arkit" and "jawOpen" in head.expression_names:
            jaw[0, head.expression_names.index("jawOpen")] = JAW_OPEN
        return cls(basis, jaw)

    @property
    def axes_count(self) -> int:
        """R."""
        return self.basis.shape_axes.shape[1]

    def split(self, pose: Pose, coefficients: Float64[np.ndarray, "B M"]) -> FitState:
        """The state of coefficients in the order of the Jacobian."""
        ends = np.cumsum([3, self.axes_count, self.jaw_of_expression.shape[1]])
        return FitState(pose, *np.split(coefficients, ends, 1))

    def jaw_rotation(self, state: FitState) -> Float64[np.ndarray, "B 3 3"]:
        """Of the free jaw and of the one that goes with the expression."""
        return axis_angle_to_matrix(state.jaw + state.expression @ self.jaw_of_expression.T)

    def neutral_points(self) -> Float64[np.ndarray, "L 3"]:
        """Of the mean head [m]."""
        return self.basis.points[:, :3, 0] + self.basis.points[:, 3:, 0]

    def eyes(self, state: FitState) -> Float64[np.ndarray, "B 2 3"]:
        """Centres of the left and the right eye on the head [m]."""
        q = np.concatenate([np.ones((len(state.jaw), 1)), state.shape, state.expression], 1)
        return np.einsum("exq,bq->bex", self.basis.eyes[..., : q.shape[1]], q)

    def residuals(
        self,
        state: FitState,
        observations: Observations,
        noise_modes_px: Float64[np.ndarray, "B L 2 K"],
    ) -> tuple[Float64[np.ndarray, "B L 2"], Float64[np.ndarray, "B L 2 N"]]:
        """Residuals [px] and d(predicted)/d(rotation, translation, coefficients).

        Head and jaw rotations are rotation vectors [rad] applied from the left.
        """
        jaw = self.jaw_rotation(state)
        points, jaw_points = self._points(state, jaw)
        rotated = points @ state.pose.rotation.transpose(0, 2, 1)
        camera_points = rotated + state.pose.translation[:, None]
        residuals, projection_jacobian = residuals_and_jacobian(camera_points, observations)
        residuals = residuals - (noise_modes_px @ state.noise[:, None, :, None])[..., 0]
        head_jacobian = projection_jacobian @ state.pose.rotation[:, None]  # by points of the head
        by_coefficients = self._by_coefficients(head_jacobian, state, jaw, jaw_points)
        rotation = rotation_jacobian(projection_jacobian, rotated)
        blocks = [rotation, projection_jacobian, by_coefficients, noise_modes_px]
        return residuals, np.concatenate(blocks, -1)

    def heights(
        self, state: FitState
    ) -> tuple[Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L C"]]:
        """How high points lie on the head [m], and the derivatives by jaw, shape, expression."""
        jaw = self.jaw_rotation(state)
        points, jaw_points = self._points(state, jaw)
        up = np.broadcast_to([0.0, 1.0, 0.0], (*points.shape[:2], 1, 3))
        return points[..., 1], self._by_coefficients(up, state, jaw, jaw_points)[..., 0, :]

    def _points(
        self, state: FitState, jaw: Float64[np.ndarray, "B 3 3"]
    ) -> tuple[Float64[np.ndarray, "B L 3"], Float64[np.ndarray, "B L 3"]]:
        """Points of the head [m], and their parts that turn with the jaw, about its joint."""
        q = [np.ones((len(jaw), 1)), state.shape, state.expression]
        if self.basis.has_jaw_correctives:
            q.append((jaw - np.eye(3)).reshape(-1, 9))
        flat = self.basis.points.reshape(-1, self.basis.points.shape[-1])
        parts = (np.concatenate(q, 1) @ flat.T).reshape(len(jaw), -1, 6)
        jaw_points = parts[..., 3:] @ jaw.transpose(0, 2, 1)
        return parts[..., :3] + jaw_points, jaw_points

    def _by_coefficients(
        self,
        rows: Float64[np.ndarray, "B L n 3"],
        state: FitState,
        jaw: Float64[np.ndarray, "B 3 3"],
        jaw_points: Float64[np.ndarray, "B L 3"],
    ) -> Float64[np.ndarray, "B L n C"]:
        """Derivatives by jaw, shape and expression of values whose `rows` are those by points."""
        by_basis = np.concatenate([rows, rows @ jaw[:, None]], -1) @ self.basis.points
        correctives = by_basis[..., -9:] if self.basis.has_jaw_correctives else None
        by_jaw = jaw_jacobian(rows, jaw_points, jaw, correctives)
        linear = by_basis[..., 1 : 1 + state.shape.shape[1] + state.expression.shape[1]]
        linear[..., state.shape.shape[1] :] += by_jaw @ self.jaw_of_expression
        return np.concatenate([by_jaw, linear], -1)
