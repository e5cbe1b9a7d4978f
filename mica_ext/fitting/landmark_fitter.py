"""Fits pose, shape, expression and gaze of a head to the 478 points of a face.

Maximum a posteriori by bounded Gauss-Newton with Cauchy weights (iteratively reweighted least
squares), batched. Points are linear in shape and expression for fixed head and jaw rotations
(`PointBasis`), so the Jacobians are analytic. What the errors of points share (`PointNoise.modes`)
is fitted along under a unit normal prior, which equals weighting by their full covariance without
its matrices. Gaze is in closed form, before each step. In NumPy: a step is a hundred small
operations, whose overhead in torch exceeds the arithmetic.

The focal length, where unknown, is set so that the face stands `FitConfig.default_distance_m` away:
a face crop does not determine it (perspective at portrait distance is below the points' noise).
`FitConfig.min_focal_ratio` bounds it below, so that a small face near the edge of a photo is not
explained by an extreme viewing angle.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from flame_assets.arkit import JAW_OPEN, eye_look_weights
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.fitting.config import FitConfig
from mica_ext.fitting.correspondence.anchors import locate_points
from mica_ext.fitting.correspondence.calibration import PointCalibration
from mica_ext.fitting.correspondence.mean_picture import mean_picture
from mica_ext.fitting.expectation import SURE, Expectation, FacePrior, told_by_points
from mica_ext.fitting.gaze import IRISES, EyeObservations, estimate_gaze, iris_rotations
from mica_ext.fitting.geometry.gauss_newton import (
    cauchy_weights,
    normal_equations,
    solve_bounded,
    solve_shared,
)
from mica_ext.fitting.geometry.jacobians import Observations
from mica_ext.fitting.geometry.pose import (
    Pose,
    moved,
    perspective_pose,
    pose_step,
    scaled_pose,
)
from mica_ext.fitting.geometry.rotations import matrix_to_axis_angle
from mica_ext.fitting.lip_seam import LipSeam, lip_gaps
from mica_ext.fitting.points.basis import PointBasis
from mica_ext.fitting.points.model import FitState, PointModel
from mica_ext.fitting.points.noise import FIT_POINTS, PhotoNoise, PointNoise, noise_in_photos
from mica_ext.fitting.points.response import PointResponse
from mica_ext.fitting.priors import CoefficientPrior
from mica_ext.models.projection import project
from mica_ext.models.types import Camera, FaceParameters
from pacofr.faces.face_mesh.topology import INNER_LIPS
from pacofr.faces.landmarks68 import inter_ocular

MIN_CONFIDENCE = 1e-4


class FitResult(NamedTuple):
    """Fitted heads."""

    parameters: FaceParameters
    landmarks_px: Float[Tensor, "B 68 2"]
    """The fitted head's iBUG landmarks, projected into the photo."""
    residual: Float[Tensor, " B"]
    """Mean distance to the observed points, in distances of the outer eye corners."""
    lips_closed: Bool[np.ndarray, " B"]
    """Whether the points show closed lips."""


class LandmarkFitter:
    """Fits one head model; build once, call often."""

    def __init__(
        self,
        decoder: HeadDecoder,
        calibration: PointCalibration,
        config: FitConfig | None = None,
        noise: PointNoise | None = None,
    ) -> None:
        self.config = config or FitConfig()
        self.noise = noise or PointNoise.by_region()
        self.head = decoder.head
        self.landmark_head = decoder.landmark_head()
        with torch.no_grad():
            neutral = decoder(HeadParameters.zeros(self.head)).vertices
            landmarks = decoder.frontal_landmarks(neutral)[0].double().numpy()
        self.unit_m = float(inter_ocular(landmarks[None])[0])
        picture = mean_picture(landmarks, calibration.mean)
        anchors = locate_points(decoder, picture).select(FIT_POINTS)
        response = PointResponse.of_fitted_points(calibration.response)
        basis = PointBasis.from_head(decoder, anchors, response)
        self.model = PointModel.from_basis(basis, self.head)
        self.lips = LipSeam.of_head(decoder, basis.shape_axes)
        self.closed_lips = calibration.closed_lips
        self.points, self.normals = self.model.neutral_points(), anchors.normals
        modes = len(self.noise.modes)
        self.prior = CoefficientPrior.of_head(self.head, self.model.axes_count, modes, self.config)
        self.mean_gaze = iris_rotations(
            calibration.mean[None, IRISES],
            basis.eyes[None, ..., 0],
            picture.pose,
            picture.observations,
        )
        names = self.head.expression_names
        is_arkit = self.head.expression_convention == "arkit"
        self.eye_looks = {
            name: index for index, name in enumerate(names) if is_arkit and "eyeLook" in name
        }
        end = 3 + self.model.axes_count
        head_expressions = self.head.expression_count
        columns = np.arange(len(self.prior.lower))
        opens_by_weight = is_arkit and "jawOpen" in names
        self.jaw_column = end + names.index("jawOpen") if opens_by_weight else 0
        self.shape_columns = (columns >= 3) & (columns < end)
        self.noise_columns = columns >= end + head_expressions
        self.gaze_columns = np.isin(columns, [end + index for index in self.eye_looks.values()])

    def __call__(
        self,
        points_px: Float[Tensor, "B 478 2"],
        photo_size: tuple[int, int] | Int[Tensor, "B 2"],
        focal_px: Float[Tensor, " B"] | None = None,
        *,
        confidence: Float[Tensor, "B 478"] | None = None,
        shape: Float[Tensor, "B S"] | None = None,
        expected: HeadParameters | None = None,
        one_person: bool = False,
        closed_lips: float | None = None,
        jaw_limit: Float[Tensor, " B"] | None = None,
    ) -> FitResult:
        """Fit to points [px] in photos of `photo_size` (height, width) [px], of all or of each.

        `confidence`, 0 to 1, divides the variance of each point; 1 without it. With `shape` the
        identity is not fitted: these coefficients are the result's; with `one_person` one identity
        is fitted to all photos together, whose evidence counts as much as one photo's: a network
        errs alike on all photos of a face. `expected` movements are where the fit starts, and
        decide what the points do not tell; see `fitting.expectation`. The principal point is the
        photo's centre. Lips that are less than `closed_lips` apart in the points meet, by default
        the calibration's; see `lip_openings`. Jaws open no further than `jaw_limit`, in units of
        ARKit's jawOpen; see `fitting.teeth`.

        Raises:
            UserError: if the fit diverges or the points are not finite.
        """
        points = points_px.detach().cpu().double().numpy()
        focal = None if focal_px is None else focal_px.detach().cpu().double().numpy()
        _check_finite([points])
        trust = np.ones(points.shape[:2])
        if confidence is not None:
            trust = confidence.detach().cpu().double().numpy().clip(MIN_CONFIDENCE, 1)
        pose, observations = self._pose(points, photo_size, focal, trust)
        expectation = None
        most = self.closed_lips if closed_lips is None else closed_lips
        closed = lip_gaps(points, self._unit_px(pose, observations)) < most
        held_jaw = np.zeros(len(points))
        if jaw_limit is not None:  # nothing is seen between closed lips
            limit = jaw_limit.detach().cpu().double().numpy().clip(0, 1)
            held_jaw = np.where(closed, 0.0, 1 - limit)
        sure = trust[:, INNER_LIPS].mean(1) >= SURE  # else the points' gap is a guess
        upper = self._upper_bounds(held_jaw, closed & sure)
        start = np.clip(np.zeros_like(upper), self.prior.lower, upper)
        if expected is not None:
            expectation = Expectation.of(expected, self.model, self.prior)
            start = np.minimum(expectation.coefficients, upper)
            closed &= sure
        held = self.gaze_columns
        if shape is not None:
            known = shape.detach().cpu().double().numpy()
            start[:, self.shape_columns] = known @ self.model.basis.shape_axes
            held = held | self.shape_columns
        state = self.model.split(pose, start)
        prior = self._prior(state, observations, trust, expectation)
        eyes = EyeObservations.from_points(points, trust)
        unseen = _unseen_gaze(trust, expectation)
        gaze = self._gaze(state, eyes, observations) + unseen
        for _ in range(self.config.iterations):
            noise = self._photo_noise(state.pose, observations, trust)
            noise = noise.with_precise_inner_lips(held_jaw)
            state = self._step(
                self._look(state, gaze), observations, noise, held, prior, upper, one_person
            )
            _check_finite([*state.pose, *state[1:]])
            gaze = self._gaze(state, eyes, observations) + unseen
        state = self.lips.brought_together(state, closed, self.prior.lower, upper)
        return self._result(self._look(state, gaze), gaze, observations, shape, closed)

    def lip_openings(
        self,
        points_px: Float[Tensor, "B 478 2"],
        photo_size: tuple[int, int],
        focal_px: Float[Tensor, " B"],
    ) -> Float64[np.ndarray, " B"]:
        """How far the inner lips of the points are apart, over the outer eye corners' distance.

        Seen from the front; arguments as of the fit.
        """
        points = points_px.double().numpy()
        focal = focal_px.double().numpy()
        pose, observations = self._pose(points, photo_size, focal, np.ones(points.shape[:2]))
        return lip_gaps(points, self._unit_px(pose, observations))

    def close_lips(self, heads: HeadParameters, closed: Bool[np.ndarray, " B"]) -> HeadParameters:
        """Fitted heads whose expression was changed since, with lips that meet where `closed`.

        Nowhere do they pass through each other.
        """
        count, jaw_of_expression = len(closed), self.model.jaw_of_expression
        expression = heads.expression.double().numpy()
        jaw = heads.jaw_pose.double().numpy() - expression @ jaw_of_expression.T
        shape = heads.shape.double().numpy() @ self.model.basis.shape_axes
        modes = np.zeros((count, len(self.noise.modes)))
        still = Pose(np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)))
        state = self.model.split(still, np.concatenate([jaw, shape, expression, modes], 1))
        state = self.lips.brought_together(state, closed, self.prior.lower, self.prior.upper)
        jaw = state.jaw + state.expression @ jaw_of_expression.T
        changed = (torch.from_numpy(part).float() for part in (state.expression, jaw))
        return heads._replace(**dict(zip(("expression", "jaw_pose"), changed, strict=True)))

    def _upper_bounds(
        self, held_jaw: Float64[np.ndarray, " B"], closed: Bool[np.ndarray, " B"]
    ) -> Float64[np.ndarray, "B M"]:
        """Of all coefficients, with jaws that open no further than 1 - `held_jaw`.

        Behind `closed` lips ARKit's jawOpen has the bound of its mouthClose.
        """
        upper = np.tile(self.prior.upper, (len(held_jaw), 1))
        free_jaw = self.jaw_column == 0
        limit = (1 - held_jaw) * (JAW_OPEN if free_jaw else 1.0)
        limited = (held_jaw > 0) & (limit < upper[:, self.jaw_column])
        upper[limited, self.jaw_column] = limit[limited]
        if not free_jaw:
            behind = np.minimum(upper[closed, self.jaw_column], self.config.closed_jaw_max)
            upper[closed, self.jaw_column] = behind
        return upper

    def _pose(
        self,
        points: Float64[np.ndarray, "B 478 2"],
        photo_size: tuple[int, int] | Int[Tensor, "B 2"],
        focal: Float64[np.ndarray, " B"] | None,
        confidence: Float64[np.ndarray, "B 478"],
    ) -> tuple[Pose, Observations]:
        """Pose of the neutral mean head."""
        pose, observations = self._initialize(points[:, FIT_POINTS], photo_size, focal)
        for _ in range(self.config.pose_iterations):
            sigma_px = self._photo_noise(pose, observations, confidence).sigma_px
            threshold = self.config.robust_threshold
            pose = pose_step(pose, self.points, observations, sigma_px, threshold)
        return pose, observations

    def _prior(
        self,
        state: FitState,
        observations: Observations,
        confidence: Float64[np.ndarray, "B 478"],
        expectation: Expectation | None,
    ) -> FacePrior:
        """Of faces in the pose of `state`."""
        if expectation is None:
            return FacePrior.of_population(self.prior)
        noise = self._photo_noise(state.pose, observations, confidence)
        _, jacobian = self.model.residuals(state, observations, noise.modes_px)
        good = self._photo_noise(state.pose, observations, np.ones_like(confidence))
        told = told_by_points(jacobian[..., 6:], noise.sigma_px, good.sigma_px)
        told[:, self.shape_columns | self.noise_columns] = 1.0
        return FacePrior.of_faces(self.prior, expectation, told)

    def _initialize(
        self,
        observed: Float64[np.ndarray, "B L 2"],
        photo_size: tuple[int, int] | Int[Tensor, "B 2"],
        known_focal: Float64[np.ndarray, " B"] | None,
    ) -> tuple[Pose, Observations]:
        """The mean head seen by the orthographic camera that fits best, put into perspective."""
        view = scaled_pose(self.points, observed, 1 / self.noise.sigma)
        sizes = np.broadcast_to(np.asarray(photo_size), (len(observed), 2))
        principal_point = (sizes[:, ::-1] - 1) / 2
        min_focal = self.config.min_focal_ratio * sizes.max(1)
        default_focal = np.maximum(view.scale * self.config.default_distance_m, min_focal)
        focal = default_focal if known_focal is None else known_focal
        pose = perspective_pose(view, focal / view.scale, principal_point)
        return pose, Observations(observed, principal_point, focal)

    def _photo_noise(
        self, pose: Pose, observations: Observations, confidence: Float64[np.ndarray, "B 478"]
    ) -> PhotoNoise:
        """Noise of the points of heads in this pose."""
        turned = pose.rotation.transpose(0, 2, 1)
        camera_points = self.points @ turned + pose.translation[:, None]
        facing = -(camera_points * (self.normals @ turned)).sum(-1)
        unit_px = self._unit_px(pose, observations)
        return noise_in_photos(self.noise, pose, facing, unit_px, confidence[:, FIT_POINTS])

    def _gaze(
        self, state: FitState, eyes: EyeObservations, observations: Observations
    ) -> Float64[np.ndarray, "B 2 3"]:
        """Rotations of the left and right eye [rad]; zero is the mean person's gaze."""
        centres = self.model.eyes(state)
        seen = iris_rotations(eyes.iris_px, centres, state.pose, observations)
        return estimate_gaze(seen - self.mean_gaze, eyes.visibility)

    def _look(self, state: FitState, gaze: Float64[np.ndarray, "B 2 3"]) -> FitState:
        """The state with the lids' part of the gaze, where the head has one."""
        expression = state.expression.copy()
        weights = eye_look_weights(gaze[:, 0], gaze[:, 1])
        for name, index in self.eye_looks.items():
            expression[:, index] = weights[name]
        return state._replace(expression=expression)

    def _step(
        self,
        state: FitState,
        observations: Observations,
        noise: PhotoNoise,
        held: Bool[np.ndarray, " M"],
        face_prior: FacePrior,
        upper: Float64[np.ndarray, "B M"],
        one_person: bool,
    ) -> FitState:
        """Projected Gauss-Newton step of all that is not held: bounds by active set, clipping."""
        prior, coefficients = self.prior, state.coefficients
        residuals, jacobian = self.model.residuals(state, observations, noise.modes_px)
        weights = cauchy_weights(residuals, noise.sigma_px, self.config.robust_threshold)
        H, g = normal_equations(jacobian, residuals, weights)
        face_prior.add_to(H, g, state)
        fixed = held | ((coefficients <= prior.lower) & (g[:, 6:] < 0))
        fixed |= (coefficients >= upper) & (g[:, 6:] > 0)
        fixed = np.concatenate([np.zeros((len(g), 6), bool), fixed], 1)
        if one_person:
            step = solve_shared(H, g, fixed, np.r_[np.zeros(6, bool), self.shape_columns])
        else:
            pose = np.full((len(g), 6), np.inf)
            lowest = np.concatenate([-pose, prior.lower - coefficients], 1)
            highest = np.concatenate([pose, upper - coefficients], 1)
            limited = upper[:, self.jaw_column] < prior.upper[self.jaw_column]
            step = solve_bounded(H, g, fixed, lowest, highest, limited)
        found = np.clip(coefficients + step[:, 6:], prior.lower, upper)
        return self.model.split(moved(state.pose, step[:, :6]), prior.exclude_opposites(found))

    def _unit_px(self, pose: Pose, observations: Observations) -> Float64[np.ndarray, " B"]:
        """Outer eye corner distance of the mean head, seen from the front [px]."""
        return self.unit_m * observations.focal_px / -pose.translation[:, 2]

    def _result(
        self,
        state: FitState,
        gaze: Float64[np.ndarray, "B 2 3"],
        observations: Observations,
        known_shape: Float[Tensor, "B S"] | None,
        closed: Bool[np.ndarray, " B"],
    ) -> FitResult:
        """Parameters of the head model, with landmarks of the exact model (lid contacts too)."""
        shape = state.shape @ self.model.basis.shape_axes.T
        if known_shape is not None:
            shape = known_shape.detach().cpu().numpy()
        jaw = state.jaw + state.expression @ self.model.jaw_of_expression.T
        pose, neck = matrix_to_axis_angle(state.pose.rotation), np.zeros_like(jaw)
        parts = (shape, state.expression, pose, neck, jaw, gaze[:, 0], gaze[:, 1])
        head = HeadParameters(*(torch.from_numpy(part).float() for part in parts))
        with torch.no_grad():
            mesh = self.landmark_head(head)
        coefficients = np.concatenate([shape, state.expression], 1)
        root = coefficients @ self.landmark_head.joints_basis[:, 0].numpy()
        root += self.landmark_head.joints_template[0].numpy()
        # the model rotates about its root joint, the fit about the origin
        translation = state.pose.translation - root
        translation += (state.pose.rotation @ root[..., None])[..., 0]
        parts = (observations.focal_px, observations.principal_point, translation)
        camera = Camera(*(torch.from_numpy(part).float() for part in parts))
        no_modes = np.zeros((*observations.points_px.shape, state.noise.shape[1]))
        residuals, _ = self.model.residuals(state, observations, no_modes)
        distance = np.linalg.norm(residuals, axis=-1).mean(1)
        residual = torch.from_numpy(distance / self._unit_px(state.pose, observations)).float()
        landmarks = project(camera, mesh.landmarks)
        return FitResult(FaceParameters(head, camera), landmarks, residual, closed)


def _unseen_gaze(
    confidence: Float64[np.ndarray, "B 478"], expectation: Expectation | None
) -> Float64[np.ndarray, "B 2 3"] | float:
    """Expected gaze, as far as both irises cannot be relied on."""
    if expectation is None:
        return 0.0
    return (1 - confidence[:, IRISES].max(1))[:, None, None] * expectation.gaze


def _check_finite(arrays: Iterable[Float64[np.ndarray, "..."]]) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise UserError(
            "expected the points of a face, got points that no head fits; is there a face in the"
            " photo?"
        )
