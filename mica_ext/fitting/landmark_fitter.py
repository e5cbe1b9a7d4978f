"""From 68 image points to a head: a few batched Gauss-Newton steps.

Unknown are the head's turn and place before the camera, jaw, expression and identity. The focal
length is given or, for a photo of unknown origin, set so that the face stands about a metre away:
a crop tells nothing of the lens, and at portrait distances the error stays under a landmark's. It
is never shorter than a phone's main lens, though, or a small face near the photo's edge would be
taken for one that looks far to the side.

All that moves is linear but two rotations, so the derivatives are written out on a small table of
landmarks (`LandmarkBlend`), in NumPy: its calls cost a fraction of a tensor library's, and a step
is made of a hundred small ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.fitting.expression_prior import movement_precision
from mica_ext.fitting.landmark_basis import LandmarkBlend
from mica_ext.models.projection import Camera, project
from mica_ext.models.types import FaceParameters

RIGHT_EYE, LEFT_EYE = 36, 45
"""Outer eye corners, whose distance is the unit of errors."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How much the fit trusts the points and the priors."""

    distance_m: float = 1.0
    """From camera to face when the focal length is unknown, unless that makes it too short."""
    shortest_focal: float = 0.75
    """Least unknown focal length, in longer sides of the photo: 27 mm on 35 mm film."""
    pose_steps: int = 4
    """Steps for turn and place alone, from a frontal start."""
    steps: int = 6
    """Steps for everything."""
    noise: float = 0.014
    """Standard deviation of the inner points, in distances of the outer eye corners."""
    contour_noise: float = 0.03
    """The same for the 17 contour points, which slide along the outline."""
    outlier: float = 4.0
    """Points this many standard deviations off count half, further ones less."""
    identity_spread: float = 0.6
    """Standard deviation of the shape coefficients. Below the population's 1 on purpose: the
    points' errors are shared, and what they share would be taken for a person's features."""
    movement_scale: float = 2.0
    """How much wider than the drawn expressions the prior is."""
    weight_floor: float = 0.06
    """Standard deviation that every bounded expression weight keeps beside them."""
    jaw_spread: tuple[float, float, float] = (0.25, 0.03, 0.02)
    """Standard deviations of the jaw's rotation [rad]: opening, sideways, twist."""
    jaw_floor: float = 0.01
    """Standard deviation [rad] of the opening beside what goes with the drawn expressions."""
    jaw_low: tuple[float, float, float] = (0.0, -0.15, -0.1)
    jaw_high: tuple[float, float, float] = (0.55, 0.15, 0.1)
    """Bounds of the jaw's rotation [rad]."""


LIPS = ((61, 67), (62, 66), (63, 65))
"""Inner lip points, upper and lower."""
CLOSED = 0.025
"""Gaps of this share of the eye corners' distance are half noise: landmark networks leave about
0.02 on closed mouths."""


class PhotoFit(NamedTuple):
    """Fitted heads."""

    parameters: FaceParameters
    landmarks_px: Float[Tensor, "B 68 2"]
    """The fitted head's landmarks in the photo."""
    residual: Float[Tensor, " B"]
    """Mean distance to the given points, in distances of their outer eye corners."""


class State(NamedTuple):
    """The unknowns: head point p [m] -> camera point turn p + place."""

    turn: Float64[np.ndarray, "B 3 3"]
    place: Float64[np.ndarray, "B 3"]
    moves: Float64[np.ndarray, "B M"]
    """Jaw rotation vector, identity axes, expression."""


class Goal(NamedTuple):
    """What is fitted, per item."""

    points: Float64[np.ndarray, "B 68 2"]
    centre: Float64[np.ndarray, "B 2"]
    focal: Float64[np.ndarray, " B"]
    sigma: Float64[np.ndarray, "B 68"]
    """Standard deviation of the points [px]."""


class PhotoFitter:
    """Fits one head model; build once, call often."""

    def __init__(self, flame: HeadDecoder, options: FitOptions | None = None) -> None:
        self.options = o = options or FitOptions()
        self.head = flame.head
        self.flame = flame.landmark_head()
        self.blend = LandmarkBlend.of(flame)
        self.axes_count = self.blend.axes.shape[1]
        bounds = self.head.expression_bounds
        low, high = bounds or (-np.inf, np.inf)
        identity = np.full(self.axes_count, o.identity_spread**-2)
        free = np.full(self.axes_count, np.inf)
        expression = np.ones(self.head.expression_count)
        movements = movement_precision(
            self.head,
            scale=o.movement_scale,
            weight_floor=o.weight_floor,
            jaw_floor=(o.jaw_floor, *o.jaw_spread[1:]),
        )
        jaw = np.array(o.jaw_spread)
        self.precision = np.diag(np.concatenate([jaw**-2, identity, expression]))
        if movements is not None:
            moving = np.r_[:3, 3 + self.axes_count : len(self.precision)]
            self.precision[np.ix_(moving, moving)] = movements
        self.low = np.concatenate([o.jaw_low, -free, low * expression])
        self.high = np.concatenate([o.jaw_high, free, high * expression])
        self.noise = np.array([o.contour_noise] * 17 + [o.noise] * 51)

    def __call__(
        self,
        points_px: Float[Tensor, "B 68 2"],
        photo_size: tuple[int, int],
        focal_px: Float[Tensor, " B"] | None = None,
    ) -> PhotoFit:
        """Fit to points [px] in photos of `photo_size` (height, width) [px].

        The principal point is the photo's middle.

        Raises:
            UserError: if no head fits the points.
        """
        points = points_px.detach().cpu().double().numpy()
        focal = None if focal_px is None else focal_px.detach().cpu().double().numpy()
        _must_be_finite([points])
        state, goal = self._start(points, photo_size, focal)
        steps = [self._pose_step] * self.options.pose_steps + [self._step] * self.options.steps
        for step in steps:
            state = step(state, goal)
            _must_be_finite(state)
        return self._finish(state, goal, points_px)

    def _start(
        self,
        points: Float64[np.ndarray, "B 68 2"],
        photo_size: tuple[int, int],
        known_focal: Float64[np.ndarray, " B"] | None,
    ) -> tuple[State, Goal]:
        """Frontal head under the similarity that best brings its inner points to the image's."""
        mean = self.blend.inner[:, :3, 0] + self.blend.inner[:, 3:, 0]  # the template's
        seen = points[:, 17:]
        model = (mean[:, :2] - mean[:, :2].mean(0)) * [1, -1]  # image y points down
        target = seen - seen.mean(1, keepdims=True)
        norm = np.square(model).sum()
        a = (target * model).sum((1, 2)) / norm
        b = (target[..., 1] * model[:, 0] - target[..., 0] * model[:, 1]).sum(1) / norm
        scale, roll = np.hypot(a, b), np.arctan2(b, a)
        turn = rotation_of(np.stack([0 * roll, 0 * roll, -roll], -1))
        height, width = photo_size
        centre = np.tile([(width - 1) / 2, (height - 1) / 2], (len(points), 1))
        off = (seen.mean(1) - centre) / scale[:, None]
        shortest = self.options.shortest_focal * max(photo_size)
        guessed = np.maximum(scale * self.options.distance_m, shortest)
        focal = guessed if known_focal is None else known_focal
        at = np.stack([off[:, 0], -off[:, 1], -focal / scale], -1)
        unit = np.linalg.norm(points[:, RIGHT_EYE] - points[:, LEFT_EYE], axis=-1)
        span = np.ptp(points, axis=1).max(-1)
        unit = np.maximum(unit, span / 2.4)  # a profile's eyes lie close together
        moves = np.broadcast_to(np.clip(0.0, self.low, self.high), (len(points), len(self.low)))
        state = State(turn, at - turn @ mean.mean(0), moves)
        return state, Goal(_shut(points, unit), centre, focal, self.noise * unit[:, None])

    def _pose_step(self, state: State, goal: Goal) -> State:
        """One step for turn and place."""
        table = self.blend.at(state.turn)
        parts = table[..., 0]
        turned = (parts[..., :3] + parts[..., 3:]) @ state.turn.transpose(0, 2, 1)
        error, view = _seen(turned + state.place[:, None], goal)
        jacobian = np.concatenate([_crossed(view, turned), view], -1)
        H, g = _normal(jacobian, error, self._trust(error, goal))
        step = _solve(H, g, np.zeros(g.shape, bool))
        return State(rotation_of(step[:, :3]) @ state.turn, state.place + step[:, 3:], state.moves)

    def _step(self, state: State, goal: Goal) -> State:
        """One step for everything, within the bounds (projected Gauss-Newton)."""
        jaw = rotation_of(state.moves[:, :3])
        table = self.blend.at(state.turn)
        q = [np.ones((len(jaw), 1)), state.moves[:, 3:]]
        if self.blend.corrected:
            q.append((jaw - np.eye(3)).reshape(-1, 9))
        flat = table.reshape(len(jaw), 68 * 6, -1)
        parts = (flat @ np.concatenate(q, 1)[..., None]).reshape(-1, 68, 6)
        swung = parts[..., 3:] @ jaw.transpose(0, 2, 1)
        turned = (parts[..., :3] + swung) @ state.turn.transpose(0, 2, 1)
        error, view = _seen(turned + state.place[:, None], goal)
        own = view @ state.turn[:, None]
        blend = np.concatenate([own, own @ jaw[:, None]], -1) @ table
        hinge = _crossed(own, swung)
        if self.blend.corrected:
            hinge = hinge + blend[..., -9:] @ _feature_change(jaw)[:, None]
        weights = blend[..., 1 : state.moves.shape[1] - 2]
        jacobian = np.concatenate([_crossed(view, turned), view, hinge, weights], -1)
        H, g = _normal(jacobian, error, self._trust(error, goal))
        g[:, 6:] -= state.moves @ self.precision
        H[:, 6:, 6:] += self.precision
        stuck = (state.moves <= self.low) & (g[:, 6:] < 0)
        stuck |= (state.moves >= self.high) & (g[:, 6:] > 0)
        step = _solve(H, g, np.concatenate([np.zeros((len(g), 6), bool), stuck], 1))
        moves = np.clip(state.moves + step[:, 6:], self.low, self.high)
        return State(rotation_of(step[:, :3]) @ state.turn, state.place + step[:, 3:6], moves)

    def _trust(
        self, error: Float64[np.ndarray, "B 68 2"], goal: Goal
    ) -> Float64[np.ndarray, "B 68"]:
        """Weight of each point: its precision, less for outliers."""
        far = np.square(error).sum(-1) / np.square(self.options.outlier * goal.sigma)
        return 1 / (np.square(goal.sigma) * (1 + far))

    def _finish(self, state: State, goal: Goal, points_px: Float[Tensor, "B 68 2"]) -> PhotoFit:
        """In the head's own terms, with the landmarks of the exact head."""
        jaw, axes = state.moves[:, :3], state.moves[:, 3 : 3 + self.axes_count]
        expression = state.moves[:, 3 + self.axes_count :]
        shape = axes @ self.blend.axes.T
        zero = np.zeros_like(jaw)
        parts = (shape, expression, rotation_vector(state.turn), zero, jaw, zero, zero)
        head = HeadParameters(*(torch.from_numpy(part).float() for part in parts))
        with torch.no_grad():
            mesh = self.flame(head)
        coefficients = np.concatenate([shape, expression], 1)
        root = coefficients @ self.flame.joints_basis[:, 0].numpy()
        root += self.flame.joints_template[0].numpy()
        place = state.place - root + (state.turn @ root[..., None])[..., 0]
        seen_with = (goal.focal, goal.centre, place)
        camera = Camera(*(torch.from_numpy(part).float() for part in seen_with))
        landmarks = project(camera, mesh.landmarks)
        unit = (points_px[:, RIGHT_EYE] - points_px[:, LEFT_EYE]).norm(dim=-1)
        residual = (landmarks - points_px).norm(dim=-1).mean(1) / unit
        return PhotoFit(FaceParameters(head, camera), landmarks, residual)


def _must_be_finite(arrays: Iterable[Float64[np.ndarray, "..."]]) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise UserError(
            "expected 68 landmarks of a face, got points that no head fits; is there a face in the"
            " photo?"
        )


def rotation_of(vector: Float64[np.ndarray, "B 3"]) -> Float64[np.ndarray, "B 3 3"]:
    """Axis-angle [rad] -> rotation matrices."""
    x, y, z = vector.T
    zero = np.zeros_like(x)
    K = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    angle = np.linalg.norm(vector, axis=-1)[:, None, None]
    half = np.sinc(angle / (2 * np.pi))
    return np.eye(3) + np.sinc(angle / np.pi) * K + 0.5 * half * half * (K @ K)


def rotation_vector(rotation: Float64[np.ndarray, "B 3 3"]) -> Float64[np.ndarray, "B 3"]:
    """Rotation matrices -> axis-angle [rad], for angles short of a half turn."""
    skew = rotation - rotation.transpose(0, 2, 1)
    axis = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], -1) / 2  # sin(angle) axis
    sine = np.linalg.norm(axis, axis=-1)
    cosine = (np.trace(rotation, axis1=1, axis2=2) - 1) / 2
    angle = np.arctan2(sine, cosine)
    return axis * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 1.0)[:, None]


def _shut(
    points: Float64[np.ndarray, "B 68 2"], unit: Float64[np.ndarray, " B"]
) -> Float64[np.ndarray, "B 68 2"]:
    """The points with lips that all but touch drawn together."""
    points = points.copy()
    upper, lower = (np.array(side) for side in zip(*LIPS, strict=True))
    half = (points[:, lower] - points[:, upper]) / 2
    middle = points[:, upper] + half
    gap = 2 * np.linalg.norm(half, axis=-1) / unit[:, None]
    half *= 1 - np.exp(-np.square(gap / CLOSED))[..., None]
    points[:, upper], points[:, lower] = middle - half, middle + half
    return points


def _seen(
    points: Float64[np.ndarray, "B 68 3"], goal: Goal
) -> tuple[Float64[np.ndarray, "B 68 2"], Float64[np.ndarray, "B 68 2 3"]]:
    """How far camera points [m] miss their goals [px], and how image points follow them [px/m]."""
    scale = -goal.focal[:, None] / points[..., 2]
    place = scale[..., None] * points[..., :2] * [1, -1]
    view = np.zeros((*points.shape[:2], 2, 3))
    view[..., 0, 0], view[..., 1, 1] = scale, -scale
    view[..., 2] = -place / points[..., 2:]
    return goal.points - goal.centre[:, None] - place, view


def _crossed(
    rows: Float64[np.ndarray, "B 68 2 3"], points: Float64[np.ndarray, "B 68 3"]
) -> Float64[np.ndarray, "B 68 2 3"]:
    """points x rows: how a small turn of the points about the origin moves what the rows see."""
    a, b, c = np.moveaxis(points[:, :, None], -1, 0)
    x, y, z = np.moveaxis(rows, -1, 0)
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], -1)


def _feature_change(rotation: Float64[np.ndarray, "B 3 3"]) -> Float64[np.ndarray, "B 9 3"]:
    """Derivative of the entries of R by a further rotation vector applied from the left."""
    turned = np.cross(np.eye(3)[None, :, :, None], rotation[:, None], axisa=2, axisb=2, axisc=2)
    return turned.transpose(0, 2, 3, 1).reshape(-1, 9, 3)


def _normal(
    jacobian: Float64[np.ndarray, "B 68 2 N"],
    error: Float64[np.ndarray, "B 68 2"],
    trust: Float64[np.ndarray, "B 68"],
) -> tuple[Float64[np.ndarray, "B N N"], Float64[np.ndarray, "B N"]]:
    """Normal equations H step = g of the weighted errors."""
    root = np.sqrt(trust)[..., None]
    J = (jacobian * root[..., None]).reshape(len(error), 136, -1)
    r = (error * root).reshape(len(error), -1, 1)
    Jt = J.transpose(0, 2, 1)
    return Jt @ J, (Jt @ r)[..., 0]


def _solve(
    H: Float64[np.ndarray, "B N N"], g: Float64[np.ndarray, "B N"], stuck: Bool[np.ndarray, "B N"]
) -> Float64[np.ndarray, "B N"]:
    """H step = g with the stuck unknowns left where they are."""
    free = ~stuck
    H = H * (free[:, :, None] & free[:, None, :])
    diagonal = np.arange(g.shape[1])
    H[:, diagonal, diagonal] = np.where(stuck, 1.0, H[:, diagonal, diagonal] * (1 + 1e-6) + 1e-9)
    return np.linalg.solve(H, (g * free)[..., None])[..., 0]
