"""Fits of a head model to its 68 landmarks in space.

Maximum a posteriori by Gauss-Newton over shape, expression, jaw, neck and rigid motion, batched:
landmarks are weighted means of posed vertices, whose derivatives are analytic (`articulation`).
The contour is that of a frontal head.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from scipy.spatial.transform import Rotation

from flame_assets.errors import UserError
from flame_assets.fitting.articulation import (
    POSE_UNKNOWNS,
    BlendWeights,
    HeadPose,
    pose_feature,
    pose_jacobian,
    pose_vertices,
    unpose,
)
from flame_assets.fitting.config import LandmarkFitConfig
from flame_assets.fitting.rigid_motion import rigid_alignment, to_flame_pose
from flame_assets.model.head import HeadModel

MIN_LANDMARKS = 4
CLOSEST_POSE = 1e-9


class LandmarkFits(NamedTuple):
    """Fitted heads. The mesh of one is the decoder's of these parameters, plus `translation`."""

    shape: Float32[np.ndarray, "B S"]
    expression: Float32[np.ndarray, "B E"]
    global_pose: Float32[np.ndarray, "B 3"]
    """Axis-angle [rad], as the following ones."""
    neck_pose: Float32[np.ndarray, "B 3"]
    jaw_pose: Float32[np.ndarray, "B 3"]
    translation: Float32[np.ndarray, "B 3"]
    """[m]."""
    mean_distance_mm: Float32[np.ndarray, " B"]
    """Between fitted and given landmarks."""


class Landmark3dFitter:
    """Fits one head model to landmarks; build once, call often."""

    def __init__(self, head: HeadModel, config: LandmarkFitConfig | None = None) -> None:
        self.head, self.config = head, config or LandmarkFitConfig()
        faces = np.concatenate([head.static_contour_triangles, head.landmark_triangles])
        shares = np.concatenate([head.static_contour_barycentric, head.landmark_barycentric])
        corners = head.triangles[faces]
        self.weights = BlendWeights.of_head(head, np.unique(corners))
        position = np.full(head.vertices_count, -1)
        position[self.weights.vertices] = np.arange(len(self.weights.vertices))
        self.mix = np.zeros((len(faces), len(self.weights.vertices)), np.float32)
        for corner in range(3):
            np.add.at(
                self.mix, (np.arange(len(faces)), position[corners[:, corner]]), shares[:, corner]
            )
        kept = self.weights.vertices
        basis = np.concatenate([head.shape_basis, head.expression_basis], 2)
        self.template = head.template[kept].T.astype(np.float32)
        self.basis = np.ascontiguousarray(basis[kept].transpose(2, 1, 0), np.float32)
        correctives = head.pose_basis[kept][:, :, :18].transpose(2, 1, 0)
        self.pose_basis = np.ascontiguousarray(correctives) if correctives.any() else None
        regressor = head.joint_regressor[:3].astype(np.float64)
        self.joints = regressor @ head.template
        self.joints_basis = np.einsum("jv,vck->jck", regressor, basis)
        self.precision = self._precision()

    def __call__(
        self,
        landmarks: Float[np.ndarray, "B 68 3"],
        *,
        seen: Bool[np.ndarray, "B 68"] | None = None,
        shape: Float[np.ndarray, "B S"] | None = None,
    ) -> LandmarkFits:
        """Fit to landmarks [m].

        Args:
            landmarks: iBUG's 68; those that are not `seen` may be anything finite.
            seen: which of them are known; None: all.
            shape: identities that are kept; None: fitted too.

        Raises:
            UserError: fewer than 4 landmarks of a head are known.
        """
        known = np.ones(landmarks.shape[:2], bool) if seen is None else seen
        if (known.sum(1) < MIN_LANDMARKS).any():
            raise UserError(
                f"expected {MIN_LANDMARKS} or more known landmarks of a head, got "
                f"{known.sum(1).min()}"
            )
        targets = landmarks.astype(np.float64)
        counts = len(self.basis)
        coefficients = np.zeros((len(targets), counts))
        if shape is not None:
            coefficients[:, : self.head.shape_count] = shape
        held = np.zeros(POSE_UNKNOWNS + counts, bool)
        held[POSE_UNKNOWNS : POSE_UNKNOWNS + self.head.shape_count] = shape is not None
        pose = self._start(targets, known, coefficients)
        for _ in range(self.config.iterations):
            points, columns = self.points_and_jacobian(pose, coefficients)
            step = self._step(targets - points, columns, known, pose, coefficients, held)
            pose = pose.moved(step[:, :POSE_UNKNOWNS])
            coefficients = coefficients + step[:, POSE_UNKNOWNS:]
            if self.head.expression_bounds is not None:
                own = coefficients[:, self.head.shape_count :]
                own[:] = own.clip(*self.head.expression_bounds)
            moved = np.einsum("blxk,bk->blx", columns, step)
            rms = np.sqrt(np.square(moved).sum(2).mean(1))
            if 1000 * rms.max() < self.config.tolerance_mm:
                break
        return self._result(targets, known, pose, coefficients)

    def points_and_jacobian(
        self, pose: HeadPose, coefficients: Float64[np.ndarray, "B K"]
    ) -> tuple[Float64[np.ndarray, "B 68 3"], Float64[np.ndarray, "B 68 3 _"]]:
        """Landmarks [m] and their derivatives by a step of the pose (12) and the coefficients.

        Joints are taken as fixed: coefficients move them by less than they move the landmarks.
        """
        joints = self._joints(coefficients)[:, 1:]
        rest = self._rest(pose, coefficients)
        world = pose_vertices(rest, pose, joints, self.weights)
        unposed = unpose(world, pose, joints, self.weights)
        local = pose_jacobian(rest, unposed, pose, joints, self.weights, self.pose_basis)
        count, vertices = len(rest), rest.shape[2]
        linear = np.broadcast_to(self.basis, (count, *self.basis.shape))
        columns = np.concatenate([local, linear], 1)
        still = HeadPose(pose.rotation, np.zeros_like(pose.translation), pose.neck, pose.jaw)
        flat = columns.reshape(-1, 3, vertices)
        repeated = HeadPose(*(np.repeat(part, columns.shape[1], 0) for part in still))
        no_joints = np.zeros((len(flat), 2, 3))  # directions turn about no point
        turned = pose_vertices(flat, repeated, no_joints, self.weights)
        jacobian = (turned @ self.mix.T).reshape(count, -1, 3, len(self.mix))
        points = (world @ self.mix.T).transpose(0, 2, 1)
        return points.astype(np.float64), jacobian.transpose(0, 3, 2, 1).astype(np.float64)

    def _precision(self) -> Float64[np.ndarray, " n"]:
        """Of the priors on pose steps and coefficients, times the landmarks' variance [m^2]."""
        config = self.config
        rows = np.full(POSE_UNKNOWNS + len(self.basis), 1.0)
        rows[:6] = CLOSEST_POSE
        rows[6:9], rows[9:12] = config.neck_sigma**-2, config.jaw_sigma**-2
        return rows * (config.sigma_mm / 1000) ** 2

    def _start(
        self,
        targets: Float64[np.ndarray, "B 68 3"],
        known: Bool[np.ndarray, "B 68"],
        coefficients: Float64[np.ndarray, "B K"],
    ) -> HeadPose:
        identity = np.tile(np.eye(3), (len(targets), 1, 1))
        still = HeadPose(identity, np.zeros((len(targets), 3)), identity, identity)
        neutral = self._rest(still, coefficients) @ self.mix.T
        pairs = [
            rigid_alignment(points[:, mask].T.astype(np.float64), goal[None, mask])
            for points, goal, mask in zip(neutral, targets, known, strict=True)
        ]
        rotation, translation = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return HeadPose(rotation, translation, identity, identity)

    def _joints(self, coefficients: Float64[np.ndarray, "B K"]) -> Float64[np.ndarray, "B 3 3"]:
        return self.joints + np.einsum("jck,bk->bjc", self.joints_basis, coefficients)

    def _rest(
        self, pose: HeadPose, coefficients: Float64[np.ndarray, "B K"]
    ) -> Float32[np.ndarray, "B 3 N"]:
        rest = self.template + np.einsum("kxn,bk->bxn", self.basis, coefficients)
        if self.pose_basis is not None:
            rest = rest + np.einsum("kxn,bk->bxn", self.pose_basis, pose_feature(pose))
        return rest.astype(np.float32)

    def _step(
        self,
        residual: Float64[np.ndarray, "B 68 3"],
        columns: Float64[np.ndarray, "B 68 3 n"],
        known: Bool[np.ndarray, "B 68"],
        pose: HeadPose,
        coefficients: Float64[np.ndarray, "B K"],
        held: Bool[np.ndarray, " n"],
    ) -> Float64[np.ndarray, "B n"]:
        """Gauss-Newton step; what is held does not move."""
        J = (columns * known[..., None, None]).reshape(len(columns), -1, columns.shape[3])
        Jt = J.transpose(0, 2, 1)
        neck, jaw = (Rotation.from_matrix(part).as_rotvec() for part in (pose.neck, pose.jaw))
        state = np.concatenate([np.zeros((len(jaw), 6)), neck, jaw, coefficients], 1)
        gradient = (Jt @ residual.reshape(len(J), -1, 1))[..., 0] - self.precision * state
        hessian = Jt @ J + np.diag(self.precision)
        free = np.tile(~held, (len(J), 1))
        if self.head.expression_bounds is not None:
            low, high = self.head.expression_bounds
            at = POSE_UNKNOWNS + self.head.shape_count
            own, slope = state[:, at:], gradient[:, at:]
            free[:, at:] &= ~(((own <= low) & (slope < 0)) | ((own >= high) & (slope > 0)))
        both = free[:, :, None] & free[:, None, :]
        hessian = np.where(both, hessian, np.eye(len(held)))
        return np.linalg.solve(hessian, (gradient * free)[..., None])[..., 0]

    def _result(
        self,
        targets: Float64[np.ndarray, "B 68 3"],
        known: Bool[np.ndarray, "B 68"],
        pose: HeadPose,
        coefficients: Float64[np.ndarray, "B K"],
    ) -> LandmarkFits:
        joints = self._joints(coefficients)
        world = pose_vertices(self._rest(pose, coefficients), pose, joints[:, 1:], self.weights)
        distance = np.linalg.norm((world @ self.mix.T).transpose(0, 2, 1) - targets, axis=2)
        shape, expression = np.split(coefficients, [self.head.shape_count], 1)
        return LandmarkFits(
            shape.astype(np.float32),
            expression.astype(np.float32),
            *to_flame_pose(pose, joints),
            (1000 * (distance * known).sum(1) / known.sum(1)).astype(np.float32),
        )
