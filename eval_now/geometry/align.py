"""The NoW alignment: a start from seven landmarks, then a dogleg search over pose and scale.

Follows the official evaluator step by step, including what is unusual about it, to reach the same
local optimum:

- the start may be a reflection where that fits the landmarks better;
- in the metrical protocol the translation of the start still comes from the scaled landmark fit;
- the rotation is about the origin of the scan, and the variables are not scaled;
- distances are unsigned and squared, without weights, trimming or a test of normals;
- the search ends at the first accepted step that reduces the sum of squares by less than 1e-4 of
  it.

The official penalty on a negative scale is replaced by rejecting such steps; it is zero wherever
the scale is positive. A metrical search whose mesh is several times too large or too small by its
own landmarks is limited to a few steps, because it would not converge for minutes.

Lengths are millimetres of the scan.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval_now.geometry.closest_points.bvh import build_tree
from eval_now.geometry.closest_points.queries import (
    NormalEquations,
    closest_triangles,
    normal_equations,
)
from eval_now.geometry.dogleg import dogleg_step
from eval_now.geometry.rotation import rotation_jacobian
from eval_now.geometry.similarity import Similarity, fit_similarity

MIN_RELATIVE_DECREASE = 1e-4
MAX_STEPS = 200
MAX_STEPS_WRONG_UNIT = 25
WRONG_UNIT_FACTOR = 5.0
INITIAL_RADIUS = 0.1


class Alignment(NamedTuple):
    """A prediction aligned to a scan.

    initial: the start from the landmarks. refinement: applied after `initial`. distances [mm]: one
    per cropped scan vertex, in their order. landmark_distances [mm]: from each predicted landmark
    to the predicted surface. steps: accepted steps. converged: False if the step limit ended the
    search.
    """

    initial: Similarity
    refinement: Similarity
    distances: Float[np.ndarray, " P"]
    landmark_distances: Float[np.ndarray, " 7"]
    steps: int
    converged: bool


class _Objective:
    """Sum of squared scan-to-mesh distances over (scale, rotation vector, translation)."""

    def __init__(
        self,
        points: Float[np.ndarray, "P 3"],
        vertices: Float[np.ndarray, "V 3"],
        triangles: Int[np.ndarray, "F 3"],
    ) -> None:
        self.tree = build_tree(vertices, triangles)
        self.points = points
        self.closest_triangle = np.full(len(points), -1)

    def evaluate(self, variables: Float[np.ndarray, " 7"]) -> tuple[float, NormalEquations]:
        """The sum of squares and its normal equations."""
        rotation, derivatives = rotation_jacobian(variables[1:4])
        result = normal_equations(
            self.tree,
            self.points,
            self.closest_triangle,
            variables[0],
            rotation,
            derivatives,
            variables[4:],
        )
        return float(result.distances @ result.distances), result


def align(
    points: Float[np.ndarray, "P 3"],
    point_landmarks: Float[np.ndarray, "7 3"],
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    landmarks: Float[np.ndarray, "7 3"],
    unit_mm: float | None = None,
) -> Alignment:
    """Align a predicted mesh to the cropped scan `points`.

    Args:
        points: cropped scan vertices [mm].
        point_landmarks: landmarks of the scan [mm].
        vertices: of the prediction, in its own unit.
        triangles: of the prediction.
        landmarks: of the prediction, in its own unit.
        unit_mm: millimetres per unit of the prediction (metrical protocol); None fits the scale
            (non-metrical protocol).
    """
    fit = fit_similarity(landmarks, point_landmarks)
    initial = fit if unit_mm is None else fit._replace(scale=unit_mm)
    objective = _Objective(points, initial.apply(vertices), triangles)
    free = slice(0, 7) if unit_mm is None else slice(1, 7)
    plausible = 1 / WRONG_UNIT_FACTOR < initial.scale / fit.scale < WRONG_UNIT_FACTOR
    search = _search(objective, free, MAX_STEPS if plausible else MAX_STEPS_WRONG_UNIT)
    scale, rotation_vector, translation = np.split(search.variables, [1, 4])
    rotation = rotation_jacobian(rotation_vector).matrix
    from_surface = closest_triangles(
        objective.tree, initial.apply(np.asarray(landmarks, np.float64))
    )
    return Alignment(
        initial=initial,
        refinement=Similarity(float(scale[0]), rotation, translation.copy()),
        distances=search.state.distances,
        landmark_distances=from_surface.distances,
        steps=search.steps,
        converged=search.converged,
    )


class _SearchResult(NamedTuple):
    variables: Float[np.ndarray, " 7"]
    state: NormalEquations
    steps: int
    converged: bool


def _search(objective: _Objective, free: slice, max_steps: int) -> _SearchResult:
    """Minimise over the variables in `free`, starting from the identity."""
    variables = np.array([1.0, 0, 0, 0, 0, 0, 0])
    total, state = objective.evaluate(variables)
    radius, steps, converged = INITIAL_RADIUS, 0, False
    while steps < max_steps and not converged:
        steps += 1
        hessian, gradient = state.hessian[free, free], state.gradient[free]
        if not gradient.any():
            converged = True
            break
        while not converged:
            step = dogleg_step(hessian, gradient, radius)
            trial = variables.copy()
            trial[free] += step
            if np.array_equal(trial, variables) or not np.isfinite(trial).all():
                converged = True  # the radius has shrunk below rounding
                break
            if trial[0] <= 0:
                radius *= 0.25
                continue
            trial_total, trial_state = objective.evaluate(trial)
            decrease = total - trial_total
            ratio = decrease / float(2 * gradient @ step - step @ hessian @ step)
            length = float(np.linalg.norm(step))
            if ratio > 0.9:
                radius = max(radius, 2.5 * length)
            elif ratio < 0.05:
                radius *= 0.25
            if decrease > 0:
                converged = decrease / total < MIN_RELATIVE_DECREASE
                variables, total, state = trial, trial_total, trial_state
                break
    return _SearchResult(variables, state, steps, converged)
