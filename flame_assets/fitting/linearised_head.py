"""Linear systems of a head's vertices by pose, expression and shape, at rest.

Residuals are compared where the model is linear: each target vertex is carried back to rest by the
inverse of its skinning transform (`articulation.unpose`), so that the Jacobians by shape and
expression are the constant bases and their normal matrices are factored once.

What skinning scales a residual by when it is carried back differs from 1 only where two parts
blend, by the cosine of half the angle between them: 1.5 % at a jaw opened by 20 degrees.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

from flame_assets.fitting.articulation import (
    POSE_UNKNOWNS,
    BlendWeights,
    HeadPose,
    pose_feature,
    pose_jacobian,
    unpose,
)
from flame_assets.fitting.config import MeshFitConfig
from flame_assets.fitting.rigid_motion import rigid_alignment
from flame_assets.fitting.vertex_selection import fitted_vertices
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder

DAMPING = 1e-9
"""Relative to the trace of a pose's normal matrix: keeps what a head cannot do (a jaw without
weights) at rest."""


class FrameState(NamedTuple):
    """Unknowns of a batch of frames."""

    pose: HeadPose
    expression: Float64[np.ndarray, "B E"]


class Subject(NamedTuple):
    """A person: shape coefficients, and what follows from them at rest [m]."""

    shape: Float64[np.ndarray, " S"]
    vertices: Float32[np.ndarray, "3 N"]
    joints: Float64[np.ndarray, "3 3"]
    """Root, neck, jaw."""


class System(NamedTuple):
    """A batch linearised at a state: residuals and Jacobian by pose [m], and their products with
    the expression basis."""

    rows: Float32[np.ndarray, "B 13 n"]
    """The residuals first, then the columns of the Jacobian by pose."""
    gradient: Float64[np.ndarray, "B E"]
    """E^T residual - prior."""
    coupling: Float64[np.ndarray, "B E 12"]
    """E^T columns, the mixed block of the normal equations."""


class ReducedSystem(NamedTuple):
    """Normal equations of the pose alone, the expression eliminated (a Schur complement)."""

    gram: Float64[np.ndarray, "B 12 12"]
    """Columns^T columns of the pose, before the elimination."""
    hessian: Float64[np.ndarray, "B 12 12"]
    gradient: Float64[np.ndarray, "B 12"]
    expression: Float64[np.ndarray, "B E"]
    """Expression step for a pose step of zero."""
    coupling: Float64[np.ndarray, "B E 12"]
    """Minus the derivative of the expression step by the pose step."""

    def pose_step(self) -> Float64[np.ndarray, "B 12"]:
        """The Gauss-Newton step of the pose."""
        return np.linalg.solve(self.hessian, self.gradient[..., None])[..., 0]

    def expression_step(self, pose_step: Float64[np.ndarray, "B 12"]) -> Float64[np.ndarray, "B E"]:
        """The expression step that belongs to a pose step."""
        return self.expression - (self.coupling @ pose_step[..., None])[..., 0]


class LinearisedHead:
    """The linear systems of one head and prior; threads may share it."""

    def __init__(self, head: HeadModel, config: MeshFitConfig) -> None:
        self.head = head
        self.weights = BlendWeights.of_head(head, fitted_vertices(head))
        kept = self.vertices = self.weights.vertices
        self.template = _rows(head.template[kept].T)
        self.shape_basis = _rows(
            head.shape_basis[kept].transpose(1, 0, 2).reshape(-1, head.shape_count)
        )
        self.expression_basis = _rows(
            head.expression_basis[kept].transpose(1, 0, 2).reshape(-1, head.expression_count)
        )
        correctives = head.pose_basis[kept][:, :, :18].transpose(2, 1, 0)
        self.pose_basis = _rows(correctives) if correctives.any() else None
        regressor = head.joint_regressor[:3].astype(np.float64)  # root, neck, jaw
        self.joints = regressor @ head.template
        self.joints_by_shape = np.einsum("jv,vck->jck", regressor, head.shape_basis)
        self.joints_by_expression = np.einsum("jv,vck->jck", regressor, head.expression_basis)
        self.prior = (config.sigma_mm / 1000) ** 2
        basis = self.expression_basis.astype(np.float64)
        self.expression_gram = basis.T @ basis
        self.expression_hessian = self.expression_gram + self.prior * np.eye(basis.shape[1])
        self.expression_inverse = np.linalg.inv(self.expression_hessian)
        shapes = self.shape_basis.astype(np.float64)
        cross = basis.T @ shapes
        self.shape_by_expression = cross
        self.shape_hessian = shapes.T @ shapes - cross.T @ self.expression_inverse @ cross
        self.decoder = HeadDecoder(head) if head.lid_closures or head.lid_contacts else None

    def start(self, targets: Float32[np.ndarray, "B 3 N"], subject: Subject) -> FrameState:
        """The neutral head, rigidly aligned."""
        model = subject.vertices.astype(np.float64)
        rotation, translation = rigid_alignment(model.T, targets.transpose(0, 2, 1))
        identity = np.tile(np.eye(3), (len(targets), 1, 1))
        bounds = self.head.expression_bounds
        neutral = 0.0 if bounds is None else float(np.clip(0.0, *bounds))
        expression = np.full((len(targets), self.head.expression_count), neutral)
        return FrameState(HeadPose(rotation, translation, identity, identity), expression)

    def subject(self, shape: Float64[np.ndarray, " S"]) -> Subject:
        """A person with these coefficients."""
        offsets = (self.shape_basis @ shape.astype(np.float32)).reshape(self.template.shape)
        return Subject(shape, self.template + offsets, self.joints + self.joints_by_shape @ shape)

    def joints_of(self, state: FrameState, subject: Subject) -> Float64[np.ndarray, "B 3 3"]:
        """Root, neck and jaw of heads at rest [m]."""
        moved = np.einsum("jck,bk->bjc", self.joints_by_expression, state.expression)
        return subject.joints + moved

    def rest(self, state: FrameState, subject: Subject) -> Float32[np.ndarray, "B 3 N"]:
        """Rest vertices with all that moves them before skinning [m]."""
        rest = state.expression.astype(np.float32) @ self.expression_basis.T
        if self.pose_basis is not None:
            feature = pose_feature(state.pose).astype(np.float32)
            rest += feature @ self.pose_basis.reshape(18, -1)
        rest = rest.reshape(len(rest), *self.template.shape)
        rest += subject.vertices
        return rest if self.decoder is None else rest + self._lids(state, subject.shape)

    def _lids(
        self, state: FrameState, shape: Float64[np.ndarray, " S"]
    ) -> Float32[np.ndarray, "B 3 N"]:
        """What closures and contacts of the lids add to the linear model [m]."""
        assert self.decoder is not None
        shapes = np.tile(shape.astype(np.float32), (len(state.expression), 1))
        expression = torch.from_numpy(state.expression.astype(np.float32))
        with torch.no_grad():
            offsets = self.decoder.lid_offsets(torch.from_numpy(shapes), expression)
        return _rows(offsets.numpy()[:, self.vertices].transpose(0, 2, 1))

    def linearise(
        self,
        targets: Float32[np.ndarray, "B 3 N"],
        state: FrameState,
        subject: Subject,
    ) -> System:
        """Residuals of frames [m] and their Jacobian by pose, at a state."""
        joints = self.joints_of(state, subject)[:, 1:]
        rest = self.rest(state, subject)
        unposed = unpose(targets, state.pose, joints, self.weights)
        rows = np.empty((len(targets), 1 + POSE_UNKNOWNS, *rest.shape[1:]), np.float32)
        np.subtract(unposed.points, rest, out=rows[:, 0])
        weights, basis = self.weights, self.pose_basis
        pose_jacobian(rest, unposed, state.pose, joints, weights, basis, out=rows[:, 1:])
        rows = rows.reshape(*rows.shape[:2], -1)
        products = _products(rows, self.expression_basis)
        gradient = products[:, 0] - self.prior * state.expression
        return System(rows, gradient, products[:, 1:].transpose(0, 2, 1))

    def free(self, state: FrameState, system: System) -> Bool[np.ndarray, "B E"] | None:
        """Expression coefficients that are not held by a bound; None: all, always."""
        if self.head.expression_bounds is None:
            return None
        low, high = self.head.expression_bounds
        held = (state.expression <= low) & (system.gradient < 0)
        return ~(held | ((state.expression >= high) & (system.gradient > 0)))

    def reduce(self, system: System, free: Bool[np.ndarray, "B E"] | None) -> ReducedSystem:
        """Eliminate the expression; `free` of `LinearisedHead.free`."""
        joined = np.concatenate([system.gradient[..., None], system.coupling], 2)
        if free is None:
            solved = self.expression_inverse @ joined
        else:
            both = free[:, :, None] & free[:, None, :]
            hessian = np.where(both, self.expression_hessian, np.eye(free.shape[1]))
            solved = np.linalg.solve(hessian, joined * free[..., None])
        grams = (system.rows @ system.rows.transpose(0, 2, 1)).astype(np.float64)
        gram, gradient = grams[:, 1:, 1:], grams[:, 1:, 0]
        mixed = system.coupling.transpose(0, 2, 1)
        hessian = gram - mixed @ solved[:, :, 1:]
        gradient = gradient - (mixed @ solved[:, :, :1])[..., 0]
        trace = np.trace(hessian, axis1=1, axis2=2)[:, None, None]
        hessian += (DAMPING * trace + self.prior) * np.eye(POSE_UNKNOWNS)
        return ReducedSystem(gram, hessian, gradient, solved[:, :, 0], solved[:, :, 1:])

    def couple_shape(
        self, system: System, reduced: ReducedSystem
    ) -> tuple[Float64[np.ndarray, "B S 12"], Float64[np.ndarray, " S"]]:
        """Mixed block of shape and pose, and the gradient of the shape summed over frames, the
        expression eliminated."""
        products = _products(system.rows, self.shape_basis).transpose(0, 2, 1)
        cross = self.shape_by_expression.T
        by_pose = products[:, :, 1:] - cross @ reduced.coupling
        by_shape = products[:, :, 0] - reduced.expression @ cross.T
        return by_pose, by_shape.sum(0)

    def rms_mm(
        self,
        coupling: Float64[np.ndarray, "B E 12"],
        reduced: ReducedSystem,
        pose_step: Float64[np.ndarray, "B 12"],
        change: Float64[np.ndarray, "B E"],
    ) -> float:
        """Largest root mean square movement of a mesh by a step [mm]."""
        squares = np.einsum("bp,bpq,bq->b", pose_step, reduced.gram, pose_step)
        squares += 2 * np.einsum("be,bep,bp->b", change, coupling, pose_step)
        squares += np.einsum("be,ef,bf->b", change, self.expression_gram, change, optimize=True)
        vertices = self.template.shape[1]
        return 1000 * float(np.sqrt(max(squares.max(), 0.0) / vertices))


def _products(
    rows: Float32[np.ndarray, "B 13 n"], basis: Float32[np.ndarray, "n m"]
) -> Float64[np.ndarray, "B 13 m"]:
    flat = rows.reshape(-1, rows.shape[2]) @ basis
    return flat.astype(np.float64).reshape(*rows.shape[:2], -1)


def _rows(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)
