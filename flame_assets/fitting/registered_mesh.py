"""Fits of a head model to registered meshes: meshes with the head's own vertices, in its order.

Shape is shared by a subject's frames; expression, jaw, neck and rigid motion belong to each frame.
Residuals are compared where the model is linear: each target vertex is carried back to rest by the
inverse of its skinning transform (`articulation.unpose`), so that the Jacobians by shape and
expression are the constant bases and their normal matrices are factored once. The expression is
eliminated in closed form (variable projection, Golub and Pereyra 1973), which leaves Gauss-Newton
steps of 12 pose unknowns with analytic Jacobians; the shape follows from the same reduced systems
of many frames at once (a Schur complement). The start is a rigid alignment (Kabsch 1976).

What skinning scales a residual by when it is carried back differs from 1 only where two parts
blend, by the cosine of half the angle between them: 1.5 % at a jaw opened by 20 degrees.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64

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
from flame_assets.fitting.config import MeshFitConfig
from flame_assets.fitting.rigid_motion import rigid_alignment, to_flame_pose
from flame_assets.fitting.vertex_selection import fitted_vertices
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder

DAMPING = 1e-9
"""Relative to the trace of a pose's normal matrix: keeps what a head cannot do (a jaw without
weights) at rest."""
PLAUSIBLE_RMS = 0.15
"""Of a rigidly aligned mean head's distances, relative to its extent: 30 mm. Heads with any
expression lie below 0.1, vertices in another order above 0.3."""
MAX_ROTATION_STEP = 0.5
"""[rad] of one step."""


class MeshFits(NamedTuple):
    """Fitted frames. The mesh of one is the decoder's of these parameters, plus `translation`."""

    expression: Float32[np.ndarray, "F E"]
    global_pose: Float32[np.ndarray, "F 3"]
    """Axis-angle [rad], as the following ones."""
    neck_pose: Float32[np.ndarray, "F 3"]
    jaw_pose: Float32[np.ndarray, "F 3"]
    translation: Float32[np.ndarray, "F 3"]
    """[m]."""
    mean_distance_mm: Float32[np.ndarray, " F"]
    """Between fitted and given vertices, over those compared."""
    max_distance_mm: Float32[np.ndarray, " F"]


class FrameState(NamedTuple):
    """Unknowns of a batch of frames."""

    pose: HeadPose
    expression: Float64[np.ndarray, "B E"]


class _Subject(NamedTuple):
    """A person: shape coefficients, and what follows from them at rest [m]."""

    shape: Float64[np.ndarray, " S"]
    vertices: Float32[np.ndarray, "3 N"]
    joints: Float64[np.ndarray, "3 3"]
    """Root, neck, jaw."""


class _System(NamedTuple):
    """A linearised batch: residuals and pose columns [m], and their products with the basis."""

    residual: Float32[np.ndarray, "B n"]
    columns: Float32[np.ndarray, "B 12 n"]
    gradient: Float64[np.ndarray, "B E"]
    """E^T residual - prior."""
    coupling: Float64[np.ndarray, "B E 12"]
    """E^T columns."""


class _Step(NamedTuple):
    """The reduced system of the pose: hessian step = gradient, and what gives the expression."""

    gram: Float64[np.ndarray, "B 12 12"]
    """Of the pose's columns, before the reduction."""
    hessian: Float64[np.ndarray, "B 12 12"]
    gradient: Float64[np.ndarray, "B 12"]
    expression: Float64[np.ndarray, "B E"]
    """Step of the expression where the pose stays."""
    coupling: Float64[np.ndarray, "B E 12"]
    """What the pose's step takes from it."""


class RegisteredMeshFitter:
    """Fits one head model; build once, call for every subject. Threads may share it."""

    def __init__(self, head: HeadModel, config: MeshFitConfig | None = None) -> None:
        self.head, self.config = head, config or MeshFitConfig()
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
        self.prior = (self.config.sigma_mm / 1000) ** 2
        basis = self.expression_basis.astype(np.float64)
        self.expression_gram = basis.T @ basis
        self.expression_hessian = self.expression_gram + self.prior * np.eye(basis.shape[1])
        self.expression_inverse = np.linalg.inv(self.expression_hessian)
        shapes = self.shape_basis.astype(np.float64)
        cross = basis.T @ shapes
        self.shape_by_expression = cross
        self.shape_hessian = shapes.T @ shapes - cross.T @ self.expression_inverse @ cross
        self.decoder = HeadDecoder(head) if head.lid_closures or head.lid_contacts else None

    def fit_shape(self, meshes: Float[np.ndarray, "F V 3"]) -> Float32[np.ndarray, " S"]:
        """Shape coefficients that a subject's frames [m] share, whatever their expressions.

        Raises:
            UserError: the meshes are no heads of this size.
        """
        config = self.config
        count = min(config.shape_frames, len(meshes))
        chosen = np.linspace(0, len(meshes) - 1, count).round().astype(int)
        targets = self._targets(meshes[chosen])
        shape = np.zeros(self.head.shape_count)
        mean = self._subject(shape)
        states = [self._start(part, mean) for part in self._chunks(targets)]
        for _ in range(config.shape_iterations):
            subject = self._subject(shape)
            hessian = self.prior * np.eye(len(shape))
            gradient = -self.prior * shape
            steps = []
            for part, state in zip(self._chunks(targets), states, strict=True):
                system = self._linearise(part, state, subject)
                reduced = self._reduce(system, None)
                by_pose, by_shape = self._couple_shape(system, reduced)
                pull = np.linalg.solve(reduced.hessian, by_pose.transpose(0, 2, 1))
                hessian += len(part) * self.shape_hessian - np.einsum("bsp,bpt->st", by_pose, pull)
                gradient += by_shape - np.einsum("bps,bp->s", pull, reduced.gradient)
                steps.append((system, reduced, pull))
            step = np.linalg.solve(hessian, gradient)
            shape = shape + step
            moved = _rms_mm(self.shape_basis @ step.astype(np.float32))
            for index, (system, reduced, pull) in enumerate(steps):
                pose_step = np.linalg.solve(reduced.hessian, reduced.gradient[..., None])[..., 0]
                pose_step -= pull @ step
                expression = self.expression_inverse @ (self.shape_by_expression @ step)
                change = reduced.expression - expression
                change -= (reduced.coupling @ pose_step[..., None])[..., 0]
                states[index] = _moved(states[index], pose_step, change, None)
                moved = max(moved, self._rms_mm(system, reduced, pose_step, change))
            if moved < config.tolerance_mm:
                break
        return shape.astype(np.float32)

    def fit_frames(
        self, meshes: Float[np.ndarray, "F V 3"], shape: Float[np.ndarray, " S"]
    ) -> MeshFits:
        """Expression and pose of frames [m] of a subject with this shape.

        Raises:
            UserError: the meshes are no heads of this size.
        """
        targets, subject = self._targets(meshes), self._subject(shape.astype(np.float64))
        fits = [self._fit_chunk(part, subject) for part in self._chunks(targets)]
        return MeshFits(*(np.concatenate(parts) for parts in zip(*fits, strict=True)))

    def plausible(self, mesh: Float[np.ndarray, "V 3"]) -> bool:
        """Whether a mesh [m] can be a head with its vertices in this order.

        One stranger among a subject's frames would spoil the identity of all.

        Raises:
            UserError: the mesh has another number of vertices.
        """
        targets = self._targets(mesh[None])
        template = self.template.astype(np.float64)
        rotation, translation = rigid_alignment(template.T, targets.transpose(0, 2, 1))
        distance = rotation[0] @ template + translation[0][:, None] - targets[0]
        rms = np.sqrt(np.square(distance).sum(0).mean())
        return bool(rms < PLAUSIBLE_RMS * np.ptp(template, axis=1).max())

    def _fit_chunk(self, targets: Float32[np.ndarray, "B 3 N"], subject: _Subject) -> MeshFits:
        state = self._start(targets, subject)
        for _ in range(self.config.iterations):
            system = self._linearise(targets, state, subject)
            reduced = self._reduce(system, self._free(state, system))
            pose_step = np.linalg.solve(reduced.hessian, reduced.gradient[..., None])[..., 0]
            change = reduced.expression - (reduced.coupling @ pose_step[..., None])[..., 0]
            state = _moved(state, pose_step, change, self.head.expression_bounds)
            if self._rms_mm(system, reduced, pose_step, change) < self.config.tolerance_mm:
                break
        return self._result(targets, state, subject)

    def _targets(self, meshes: Float[np.ndarray, "F V 3"]) -> Float32[np.ndarray, "F 3 N"]:
        if meshes.shape[1] != self.head.vertices_count:
            raise UserError(
                f"expected meshes of {self.head.vertices_count} vertices, those of "
                f"{self.head.name}, got {meshes.shape[1]}"
            )
        return _rows(meshes[:, self.vertices].transpose(0, 2, 1))

    def _chunks(self, targets: Float32[np.ndarray, "F 3 N"]) -> list[np.ndarray]:
        size = self.config.chunk
        return [targets[at : at + size] for at in range(0, len(targets), size)]

    def _start(self, targets: Float32[np.ndarray, "B 3 N"], subject: _Subject) -> FrameState:
        """The neutral head, rigidly aligned."""
        model = subject.vertices.astype(np.float64)
        rotation, translation = rigid_alignment(model.T, targets.transpose(0, 2, 1))
        identity = np.tile(np.eye(3), (len(targets), 1, 1))
        bounds = self.head.expression_bounds
        neutral = 0.0 if bounds is None else float(np.clip(0.0, *bounds))
        expression = np.full((len(targets), self.head.expression_count), neutral)
        return FrameState(HeadPose(rotation, translation, identity, identity), expression)

    def _subject(self, shape: Float64[np.ndarray, " S"]) -> _Subject:
        offsets = (self.shape_basis @ shape.astype(np.float32)).reshape(self.template.shape)
        return _Subject(shape, self.template + offsets, self.joints + self.joints_by_shape @ shape)

    def _joints(self, state: FrameState, subject: _Subject) -> Float64[np.ndarray, "B 3 3"]:
        """Root, neck and jaw of heads at rest [m]."""
        moved = np.einsum("jck,bk->bjc", self.joints_by_expression, state.expression)
        return subject.joints + moved

    def _rest(self, state: FrameState, subject: _Subject) -> Float32[np.ndarray, "B 3 N"]:
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

    def _linearise(
        self,
        targets: Float32[np.ndarray, "B 3 N"],
        state: FrameState,
        subject: _Subject,
    ) -> _System:
        joints = self._joints(state, subject)[:, 1:]
        rest = self._rest(state, subject)
        unposed = unpose(targets, state.pose, joints, self.weights)
        columns = pose_jacobian(rest, unposed, state.pose, joints, self.weights, self.pose_basis)
        count = len(targets)
        residual = (unposed.points - rest).reshape(count, -1)
        columns = columns.reshape(count, POSE_UNKNOWNS, -1)
        rows = np.concatenate([residual[:, None], columns], 1).reshape(count * 13, -1)
        products = (rows @ self.expression_basis).astype(np.float64).reshape(count, 13, -1)
        gradient = products[:, 0] - self.prior * state.expression
        return _System(residual, columns, gradient, products[:, 1:].transpose(0, 2, 1))

    def _free(self, state: FrameState, system: _System) -> Bool[np.ndarray, "B E"] | None:
        """Expression coefficients that are not held by a bound; None: all, always."""
        if self.head.expression_bounds is None:
            return None
        low, high = self.head.expression_bounds
        held = (state.expression <= low) & (system.gradient < 0)
        return ~(held | ((state.expression >= high) & (system.gradient > 0)))

    def _reduce(self, system: _System, free: Bool[np.ndarray, "B E"] | None) -> _Step:
        """Eliminate the expression."""
        joined = np.concatenate([system.gradient[..., None], system.coupling], 2)
        if free is None:
            solved = self.expression_inverse @ joined
        else:
            both = free[:, :, None] & free[:, None, :]
            hessian = np.where(both, self.expression_hessian, np.eye(free.shape[1]))
            solved = np.linalg.solve(hessian, joined * free[..., None])
        columns = system.columns
        gram = (columns @ columns.transpose(0, 2, 1)).astype(np.float64)
        gradient = (columns @ system.residual[..., None])[..., 0].astype(np.float64)
        turned = system.coupling.transpose(0, 2, 1)
        hessian = gram - turned @ solved[:, :, 1:]
        gradient -= (turned @ solved[:, :, :1])[..., 0]
        trace = np.trace(hessian, axis1=1, axis2=2)[:, None, None]
        hessian += (DAMPING * trace + self.prior) * np.eye(POSE_UNKNOWNS)
        return _Step(gram, hessian, gradient, solved[:, :, 0], solved[:, :, 1:])

    def _couple_shape(
        self, system: _System, reduced: _Step
    ) -> tuple[Float64[np.ndarray, "B S 12"], Float64[np.ndarray, " S"]]:
        """Reduced products of the shape basis with the pose columns, and summed with residuals."""
        count = len(system.residual)
        rows = np.concatenate([system.residual[:, None], system.columns], 1)
        products = rows.reshape(count * 13, -1) @ self.shape_basis
        products = products.astype(np.float64).reshape(count, 13, -1).transpose(0, 2, 1)
        cross = self.shape_by_expression.T
        by_pose = products[:, :, 1:] - cross @ reduced.coupling
        by_shape = products[:, :, 0] - reduced.expression @ cross.T
        return by_pose, by_shape.sum(0)

    def _rms_mm(
        self,
        system: _System,
        reduced: _Step,
        pose_step: Float64[np.ndarray, "B 12"],
        change: Float64[np.ndarray, "B E"],
    ) -> float:
        """Largest root mean square movement of a mesh by a step [mm]."""
        squares = np.einsum("bp,bpq,bq->b", pose_step, reduced.gram, pose_step)
        squares += 2 * np.einsum("be,bep,bp->b", change, system.coupling, pose_step)
        squares += np.einsum("be,ef,bf->b", change, self.expression_gram, change, optimize=True)
        vertices = self.template.shape[1]
        return 1000 * float(np.sqrt(max(squares.max(), 0.0) / vertices))

    def _result(
        self,
        targets: Float32[np.ndarray, "B 3 N"],
        state: FrameState,
        subject: _Subject,
    ) -> MeshFits:
        pose, joints = state.pose, self._joints(state, subject)
        rest = self._rest(state, subject)
        found = pose_vertices(rest, pose, joints[:, 1:], self.weights)
        distance_mm = 1000 * np.linalg.norm(found - targets, axis=1)
        return MeshFits(
            state.expression.astype(np.float32),
            *to_flame_pose(pose, joints),
            distance_mm.mean(1),
            distance_mm.max(1),
        )


def _moved(
    state: FrameState,
    pose_step: Float64[np.ndarray, "B 12"],
    change: Float64[np.ndarray, "B E"],
    bounds: tuple[float, float] | None,
) -> FrameState:
    """The state after a step, rotations by at most `MAX_ROTATION_STEP`, expressions in bounds."""
    turns = np.abs(np.delete(pose_step, [3, 4, 5], 1)).max(1, keepdims=True)
    pose_step = pose_step * np.minimum(1, MAX_ROTATION_STEP / np.maximum(turns, 1e-12))
    expression = state.expression + change
    if bounds is not None:
        expression = expression.clip(*bounds)
    return FrameState(state.pose.moved(pose_step), expression)


def _rms_mm(movement: Float32[np.ndarray, " n"]) -> float:
    """Root mean square length [mm] of the vertices' movements [m], given as one row."""
    return 1000 * float(np.sqrt(3 * np.square(movement).mean()))


def _rows(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)
