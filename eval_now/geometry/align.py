"""The NoW alignment: seven-landmark start, then a dogleg search over pose and scale.

Follows the official evaluator step by step, its quirks included, so that it ends where that ends:

- the start may be a reflection when that fits the landmarks better;
- in the metrical protocol the start's translation still comes from the scaled fit;
- the rotation turns about the scan's origin, and the variables are not scaled against each other;
- distances are unsigned and squared: no weights, no trimming, no test of normals;
- the search stops at the first accepted step that gains less than 1e-4 of the sum of squares.

The official penalty on a negative scale is a wall here: it is zero on every path that stays
positive, and beyond there is nothing to find. A metrical search whose mesh is several times too
large or small by its own landmarks is cut short: it would wander for minutes, to no use.

All lengths are millimetres of the scan.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from eval_now.geometry.bvh import Evaluation, build_tree, closest_distances, evaluate_moved

SMALLEST_GAIN = 1e-4
MOST_STEPS = 200
MOST_STEPS_IN_WRONG_UNIT = 25
WRONG_UNIT = 5.0
FIRST_RADIUS = 0.1
CG_TOLERANCE = 1e-5


class Similarity(NamedTuple):
    """x -> scale rotation x + shift; the rotation may hold a reflection."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]

    def apply(self, points: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "P 3"]:
        """Move points."""
        return self.scale * points @ self.rotation.T + self.shift

    def after(self, first: "Similarity") -> "Similarity":
        """The movement that does `first`, then this one."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.shift + self.shift,
        )


class Alignment(NamedTuple):
    """Where a prediction came to rest on a scan.

    start: where the search began, from the landmarks; refinement: on top of the start.
    distances: mm, one per cropped scan vertex, in their order. landmark_gaps: mm, how far each
    predicted landmark lies from the predicted surface. stopped: the stop rule ended the search, not
    the step limit.
    """

    start: Similarity
    refinement: Similarity
    distances: Float[np.ndarray, " P"]
    landmark_gaps: Float[np.ndarray, " 7"]
    steps: int
    stopped: bool


def landmark_similarity(
    source: Float[np.ndarray, "K 3"], target: Float[np.ndarray, "K 3"]
) -> Similarity:
    """Least-squares similarity taking `source` to `target`; a reflection if that fits better."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_rest, target_rest = source - source_mean, target - target_mean
    left, singular, right = np.linalg.svd(target_rest.T @ source_rest)
    rotation = left @ right
    scale = float(singular.sum() / max(float((source_rest**2).sum()), 1e-300))
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


class Ball(NamedTuple):
    """The part of a scan that the benchmark measures [mm]."""

    centre: Float[np.ndarray, " 3"]
    radius: float


def crop_ball(landmarks: Float[np.ndarray, "7 3"]) -> Ball:
    """A ball around the nose, as large as the face."""
    bridge = (landmarks[1] + landmarks[2]) / 2
    eyes = np.linalg.norm(landmarks[0] - landmarks[3])
    radius = 1.4 * (eyes + np.linalg.norm(bridge - landmarks[4])) / 2
    return Ball(landmarks[4] + 0.3 * (bridge - landmarks[4]), float(radius))


def crop_scan(
    vertices: Float[np.ndarray, "V 3"], landmarks: Float[np.ndarray, "7 3"]
) -> Bool[np.ndarray, " V"]:
    """Which scan vertices lie in the ball."""
    ball = crop_ball(landmarks)
    return np.linalg.norm(vertices - ball.centre, axis=1) <= ball.radius


def _skew(vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """The matrix whose product with y is the cross product of `vector` and y."""
    return np.cross(vector, np.eye(3)).T


def rotation_and_turns(
    vector: Float[np.ndarray, " 3"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3 3"]]:
    """Rotation matrix of a rotation vector, and its derivative along each of the three variables.

    The derivative is the closed form of Gallego and Yezzi, arXiv 1312.0788.
    """
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3), np.stack([_skew(axis) for axis in np.eye(3)])
    cross = _skew(vector)
    rotation = (
        np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross
    )
    swept = np.cross(vector, (np.eye(3) - rotation).T)  # row k: vector x (I - R) e_k
    turns = np.stack(
        [(vector[k] * cross + _skew(swept[k])) / angle**2 @ rotation for k in range(3)]
    )
    return rotation, turns


def _gauss_newton_step(
    matrix: Float[np.ndarray, "N N"], gradient: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Plain conjugate gradients from zero, stopped as early as the official solver stops."""
    step, residual = np.zeros_like(gradient), gradient.copy()
    direction, squared = residual.copy(), float(residual @ residual)
    limit = CG_TOLERANCE * np.sqrt(squared)
    for _ in range(10 * len(gradient)):
        if np.sqrt(squared) <= limit:
            break
        image = matrix @ direction
        length = squared / float(direction @ image)
        step += length * direction
        residual -= length * image
        squared, previous = float(residual @ residual), squared
        direction = residual + squared / previous * direction
    return step


def _dogleg_step(
    matrix: Float[np.ndarray, "N N"], gradient: Float[np.ndarray, " N"], radius: float
) -> Float[np.ndarray, " N"]:
    """Powell's step: along the gradient to its minimum, then to Gauss-Newton, within `radius`."""
    cauchy = float(gradient @ gradient) / float(gradient @ matrix @ gradient) * gradient
    if np.linalg.norm(cauchy) >= radius:
        return radius / np.linalg.norm(cauchy) * cauchy
    newton = _gauss_newton_step(matrix, gradient)
    if np.linalg.norm(newton) <= radius:
        return newton
    leg = newton - cauchy
    a, b = float(leg @ leg), 2 * float(cauchy @ leg)
    c = float(cauchy @ cauchy) - radius**2
    return cauchy + (-b + np.sqrt(b * b - 4 * a * c)) / (2 * a) * leg


class _Search:
    """The moving mesh as a function of (scale, rotation vector, shift)."""

    def __init__(
        self,
        points: Float[np.ndarray, "P 3"],
        vertices: Float[np.ndarray, "V 3"],
        triangles: Int[np.ndarray, "F 3"],
    ) -> None:
        self.tree = build_tree(vertices, triangles)
        self.points = points
        self.found = np.full(len(points), -1)

    def evaluate(self, variables: Float[np.ndarray, " 7"]) -> tuple[float, Evaluation]:
        """Sum of squared distances and its normal equations."""
        rotation, turns = rotation_and_turns(variables[1:4])
        result = evaluate_moved(
            self.tree, self.points, self.found, variables[0], rotation, turns, variables[4:]
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
    """Bring a predicted mesh to rest on the cropped scan `points`.

    unit_mm: millimetres per unit of the prediction for the metrical protocol; None lets the scale
    follow the landmarks and the refinement (non-metrical).
    """
    fit = landmark_similarity(landmarks, point_landmarks)
    start = fit if unit_mm is None else fit._replace(scale=unit_mm)
    search = _Search(points, start.apply(vertices), triangles)
    free = slice(0, 7) if unit_mm is None else slice(1, 7)
    variables = np.array([1.0, 0, 0, 0, 0, 0, 0])
    total, state = search.evaluate(variables)
    radius, steps, stopped = FIRST_RADIUS, 0, False
    sized = 1 / WRONG_UNIT < start.scale / fit.scale < WRONG_UNIT
    most_steps = MOST_STEPS if sized else MOST_STEPS_IN_WRONG_UNIT
    while steps < most_steps and not stopped:
        steps += 1
        matrix, gradient = state.normal[free, free], state.gradient[free]
        if not gradient.any():
            stopped = True
            break
        while not stopped:
            step = _dogleg_step(matrix, gradient, radius)
            trial = variables.copy()
            trial[free] += step
            if np.array_equal(trial, variables) or not np.isfinite(trial).all():
                stopped = True  # the radius has shrunk below rounding, or no direction is left
                break
            if trial[0] <= 0:
                radius *= 0.25
                continue
            trial_total, trial_state = search.evaluate(trial)
            gain = total - trial_total
            ratio = gain / float(2 * gradient @ step - step @ matrix @ step)
            size = float(np.linalg.norm(step))
            if ratio > 0.9:
                radius = max(radius, 2.5 * size)
            elif ratio < 0.05:
                radius *= 0.25
            if gain > 0:
                stopped = gain / total < SMALLEST_GAIN
                variables, total, state = trial, trial_total, trial_state
                break
    rotation, _ = rotation_and_turns(variables[1:4])
    refinement = Similarity(float(variables[0]), rotation, variables[4:].copy())
    gaps, _ = closest_distances(search.tree, start.apply(np.asarray(landmarks, np.float64)))
    return Alignment(start, refinement, state.distances, gaps, steps, stopped)
