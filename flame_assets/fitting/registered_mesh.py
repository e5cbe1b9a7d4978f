"""Fits of a head model to registered meshes: meshes with the head's own vertices, in its order.

Shape is shared by a subject's frames; expression, jaw, neck and rigid motion belong to each frame.
The expression is eliminated from the linear systems of `LinearisedHead` in closed form (variable
projection, Golub and Pereyra 1973), which leaves Gauss-Newton steps of 12 pose unknowns with
analytic Jacobians; the shape follows from the same reduced systems of many frames at once (a Schur
complement). The start is a rigid alignment (Kabsch 1976).
"""

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from flame_assets.errors import UserError
from flame_assets.fitting.articulation import pose_vertices
from flame_assets.fitting.config import MeshFitConfig
from flame_assets.fitting.linearised_head import FrameState, LinearisedHead, ReducedSystem, Subject
from flame_assets.fitting.rigid_motion import rigid_alignment, to_flame_pose
from flame_assets.model.head import HeadModel

PLAUSIBLE_RMS = 0.15
"""Of a rigidly aligned mean head's distances, relative to its extent: 30 mm. Heads with any
expression lie below 0.1, vertices in another order above 0.3."""
FIRST_TOLERANCE_MM = 0.05
"""Tolerance of the first estimate of a shape, from a few frames, and of all frames' poses on it."""
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


class _ShapeSystem(NamedTuple):
    """Normal equations of the shape from a batch of frames, and what gives the frames' steps."""

    hessian: Float64[np.ndarray, "S S"]
    gradient: Float64[np.ndarray, " S"]
    coupling: Float64[np.ndarray, "B E 12"]
    """Of the frames' `System`."""
    reduced: ReducedSystem
    pose_by_shape: Float64[np.ndarray, "B 12 S"]
    """Minus the derivative of the pose step by the shape step."""


class RegisteredMeshFitter:
    """Fits one head model; build once, call for every subject. Threads may share it."""

    def __init__(self, head: HeadModel, config: MeshFitConfig | None = None) -> None:
        self.head, self.config = head, config or MeshFitConfig()
        self.linear = LinearisedHead(head, self.config)

    def fit_shape(
        self, meshes: Float[np.ndarray, "F V 3"], threads: int = 1
    ) -> Float32[np.ndarray, " S"]:
        """Shape coefficients that a subject's frames share, whatever their expressions.

        Args:
            meshes: of the subject [m].
            threads: that work on them; the result is the same.

        Raises:
            UserError: the meshes are no heads of this size.
        """
        count = min(self.config.shape_frames, len(meshes))
        targets = self._targets(meshes[_spread(len(meshes), count)])
        shape = np.zeros(self.head.shape_count)
        few = targets[_spread(count, min(self.config.chunk, count))]
        with ThreadPoolExecutor(threads) as pool:
            if len(few) < count:  # a start near the end at a fraction of the cost
                shape = self._shared_shape([few], shape, FIRST_TOLERANCE_MM, pool)
            shape = self._shared_shape(self._chunks(targets), shape, 0.0, pool)
        return shape.astype(np.float32)

    def _shared_shape(
        self,
        parts: Sequence[Float32[np.ndarray, "_ 3 N"]],
        shape: Float64[np.ndarray, " S"],
        tolerance_mm: float,
        pool: Executor,
    ) -> Float64[np.ndarray, " S"]:
        """Fit the shape of all frames, from an estimate.

        With an estimate other than zero, poses and expressions are first fitted to it.

        Args:
            parts: vertices of batches of frames [m].
            shape: the estimate.
            tolerance_mm: at which it ends, if larger than the configuration's.
            pool: works on the batches.
        """
        tolerance_mm = max(tolerance_mm, self.config.tolerance_mm)
        estimate = self.linear.subject(shape)
        states = [self.linear.start(part, estimate) for part in parts]
        if shape.any():
            fit = partial(self._fit_poses, subject=estimate, tolerance_mm=FIRST_TOLERANCE_MM)
            states = list(pool.map(fit, parts, states))
        last = 0.0
        for _ in range(self.config.shape_iterations):
            subject = self.linear.subject(shape)
            hessian = self.linear.prior * np.eye(len(shape))
            gradient = -self.linear.prior * shape
            systems = list(pool.map(partial(self._shape_system, subject=subject), parts, states))
            for system in systems:
                hessian += system.hessian
                gradient += system.gradient
            step = np.linalg.solve(hessian, gradient)
            shape = shape + step
            moved = _rms_mm(self.linear.shape_basis @ step.astype(np.float32))
            expression = self.linear.expression_inverse @ (self.linear.shape_by_expression @ step)
            for index, (_, _, coupling, reduced, pose_by_shape) in enumerate(systems):
                pose_step = reduced.pose_step() - pose_by_shape @ step
                change = reduced.expression_step(pose_step) - expression
                states[index] = _moved(states[index], pose_step, change, None)
                moved = max(moved, self.linear.rms_mm(coupling, reduced, pose_step, change))
            if _remaining_mm(moved, last) < tolerance_mm:
                break
            last = moved
        return shape

    def _shape_system(
        self, targets: Float32[np.ndarray, "B 3 N"], state: FrameState, subject: Subject
    ) -> _ShapeSystem:
        """Normal equations of the shape, the frames' poses and expressions eliminated."""
        system = self.linear.linearise(targets, state, subject)
        reduced = self.linear.reduce(system, None)
        by_pose, gradient = self.linear.couple_shape(system, reduced)
        pose_by_shape = np.linalg.solve(reduced.hessian, by_pose.transpose(0, 2, 1))
        hessian = len(targets) * self.linear.shape_hessian - np.einsum(
            "bsp,bpt->st", by_pose, pose_by_shape, optimize=True
        )
        gradient -= np.einsum("bps,bp->s", pose_by_shape, reduced.gradient)
        return _ShapeSystem(hessian, gradient, system.coupling, reduced, pose_by_shape)

    def _fit_poses(
        self,
        targets: Float32[np.ndarray, "B 3 N"],
        state: FrameState,
        subject: Subject,
        tolerance_mm: float,
        bounds: tuple[float, float] | None = None,
    ) -> FrameState:
        """Fit pose and expression of frames of a known shape, until the movement that remains is
        below the tolerance."""
        last = 0.0
        for _ in range(self.config.iterations):
            system = self.linear.linearise(targets, state, subject)
            free = None if bounds is None else self.linear.free(state, system)
            reduced = self.linear.reduce(system, free)
            pose_step = reduced.pose_step()
            change = reduced.expression_step(pose_step)
            state = _moved(state, pose_step, change, bounds)
            moved = self.linear.rms_mm(system.coupling, reduced, pose_step, change)
            if _remaining_mm(moved, last) < tolerance_mm:
                break
            last = moved
        return state

    def fit_frames(
        self, meshes: Float[np.ndarray, "F V 3"], shape: Float[np.ndarray, " S"]
    ) -> MeshFits:
        """Expression and pose of frames [m] of a subject with this shape.

        Raises:
            UserError: the meshes are no heads of this size.
        """
        targets, subject = self._targets(meshes), self.linear.subject(shape.astype(np.float64))
        fits = [self._fit_chunk(part, subject) for part in self._chunks(targets)]
        return MeshFits(*(np.concatenate(parts) for parts in zip(*fits, strict=True)))

    def plausible(self, mesh: Float[np.ndarray, "V 3"]) -> bool:
        """Whether a mesh [m] can be a head with its vertices in this order.

        One stranger among a subject's frames would spoil the identity of all.

        Raises:
            UserError: the mesh has another number of vertices.
        """
        targets = self._targets(mesh[None])
        template = self.linear.template.astype(np.float64)
        rotation, translation = rigid_alignment(template.T, targets.transpose(0, 2, 1))
        distance = rotation[0] @ template + translation[0][:, None] - targets[0]
        rms = np.sqrt(np.square(distance).sum(0).mean())
        return bool(rms < PLAUSIBLE_RMS * np.ptp(template, axis=1).max())

    def _fit_chunk(self, targets: Float32[np.ndarray, "B 3 N"], subject: Subject) -> MeshFits:
        state = self.linear.start(targets, subject)
        bounds = self.head.expression_bounds
        state = self._fit_poses(targets, state, subject, self.config.tolerance_mm, bounds)
        return self._result(targets, state, subject)

    def _targets(self, meshes: Float[np.ndarray, "F V 3"]) -> Float32[np.ndarray, "F 3 N"]:
        if meshes.shape[1] != self.head.vertices_count:
            raise UserError(
                f"expected meshes of {self.head.vertices_count} vertices, those of "
                f"{self.head.name}, got {meshes.shape[1]}"
            )
        return np.ascontiguousarray(meshes[:, self.linear.vertices].transpose(0, 2, 1), np.float32)

    def _chunks(self, targets: Float32[np.ndarray, "F 3 N"]) -> list[np.ndarray]:
        size = self.config.chunk
        return [targets[at : at + size] for at in range(0, len(targets), size)]

    def _result(
        self,
        targets: Float32[np.ndarray, "B 3 N"],
        state: FrameState,
        subject: Subject,
    ) -> MeshFits:
        pose, joints = state.pose, self.linear.joints_of(state, subject)
        rest = self.linear.rest(state, subject)
        found = pose_vertices(rest, pose, joints[:, 1:], self.linear.weights)
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


def _spread(length: int, count: int) -> Int[np.ndarray, " n"]:
    """Indices of `count` frames spread evenly over `length`."""
    return np.linspace(0, length - 1, count).round().astype(int)


def _remaining_mm(step: float, last: float) -> float:
    """Sum of the coming steps as a geometric series with the ratio of the last two; `last` is the
    one before `step`, 0 where there is none."""
    ratio = step / last if last else 1.0
    return step * ratio / (1 - ratio) if ratio < 0.5 else step


def _rms_mm(movement: Float32[np.ndarray, " n"]) -> float:
    """Root mean square length [mm] of the vertices' movements [m], given as one row."""
    return 1000 * float(np.sqrt(3 * np.square(movement).mean()))
