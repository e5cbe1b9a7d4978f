"""Fits pose, shape, expression and gaze of a head to the 478 points of a face.

Maximum a posteriori by bounded Gauss-Newton with Cauchy weights (iteratively reweighted least
squares), batched. Points are linear in shape and expression for fixed head and jaw rotations
(`PointBasis`), so the Jacobians are analytic (`jacobians`). What the errors of points share
(`PointNoise.modes`) is fitted along with unit normal prior, which equals weighting by their full
covariance, without its matrices. In NumPy: a step is a hundred small operations, whose overhead in
torch exceeds the arithmetic.

The focal length, where unknown, is set so that the face stands `FitConfig.default_distance_m` away:
a face crop does not determine it (perspective at portrait distance is below the points' noise).
`FitConfig.min_focal_ratio` bounds it below, so that a small face near the edge of a photo is not
explained by an extreme viewing angle.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from flame_assets.arkit import eye_look_weights
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.fitting.anchors import locate_points
from mica_ext.fitting.calibration import PointCalibration
from mica_ext.fitting.config import FitConfig

from mica_ext.fitting.gauss_newton import cauchy_weights, normal_equations, solve_free
from mica_ext.fitting.gaze import IRIS_DEPTH, conjugate, gaze_rotations
from mica_ext.fitting.jacobians import (
    Observations,
    pose_feature_jacobian,
    residuals_and_jacobian,
    rotation_jacobian,
)
from mica_ext.fitting.mean_picture import mean_picture
from mica_ext.fitting.point_basis import PointBasis
from mica_ext.fitting.point_model import FitState, PointModel
from mica_ext.fitting.pose import Pose, moved, perspective_pose, pose_step, scaled_pose
from mica_ext.fitting.priors import CoefficientPrior
from mica_ext.fitting.rotations import matrix_to_axis_angle
from mica_ext.models.projection import project
from mica_ext.models.types import Camera, FaceParameters
from pacofr.faces.face_mesh.topology import (
    LEFT_EYE,
    LEFT_IRIS,
    RIGHT_EYE,
    RIGHT_IRIS,
    SKIN_POINTS,
)

CONFIDENCE_FLOOR = 1e-4
OPEN_EYE = (0.08, 0.18)
"""Lid opening over eye width between which the iris comes to count."""
USED_POINTS = np.arange(SKIN_POINTS)
EYE_CORNERS = (33, 263)


class FitResult(NamedTuple):
    """Fitted heads."""

    parameters: FaceParameters
    landmarks_px: Float[Tensor, "B 68 2"]
    """The fitted head's iBUG landmarks, projected into the photo."""
    residual: Float[Tensor, " B"]
    """Mean distance to the observed points, in distances of the outer eye corners."""


class LandmarkFitter:
    """Fits one head model; build once, call often."""

    def __init__(
        self, decoder: HeadDecoder, calibration: PointCalibration, config: FitConfig | None = None
    ) -> None:
        self.config = config or FitConfig()
        self.head = decoder.head
        self.landmark_head = decoder.landmark_head()
        neutral = decoder(HeadParameters.zeros(self.head))
        landmarks = decoder.frontal_landmarks(neutral.vertices)[0].double().numpy()
        picture = mean_picture(landmarks, calibration.mean)
        anchors = locate_points(decoder, picture)
        self.unit_m = float(np.linalg.norm(landmarks[45] - landmarks[36]))
        used = anchors.select(USED_POINTS)
        self.normals = used.normals
        self.noise = calibration.noise.select(USED_POINTS)
        basis = PointBasis.from_head(decoder, used, calibration.response[USED_POINTS])
        self.model = PointModel.from_basis(basis, self.head)
        self.points = self.model.neutral_points()
        modes = len(self.noise.modes)
        self.prior = CoefficientPrior.of_head(
            self.head, self.model.axes_count, modes, self.config
        )
        self.start = np.clip(0.0, self.prior.lower, self.prior.upper)
        iris = calibration.mean[None, [LEFT_IRIS.start, RIGHT_IRIS.start]]
        o = picture.observations
        self.gaze_rest = gaze_rotations(
            iris, basis.eyes[None, ..., 0], picture.pose, o.focal_px, o.principal_point
        )
        names = self.head.expression_names
        self.look = {}
        if self.head.expression_convention == "arkit":
            self.look = {n: names.index(n) for n in names if n.startswith("eyeLook")}
        ring = np.array([LEFT_EYE, RIGHT_EYE])
        self.lid_rings = ring

    def __call__(
        self,
        points_px: Float[Tensor, "B 478 2"],
        photo_size: tuple[int, int] | Int[Tensor, "B 2"],
        focal_px: Float[Tensor, " B"] | None = None,
        confidence: Float[Tensor, "B 478"] | None = None,
    ) -> FitResult:
        """Fit to points [px] in photos of `photo_size` (height, width) [px], of all or of each.

        The principal point is the photo's centre.

        Raises:
            UserError: if the fit diverges or the points are not finite.
        """
        points = points_px.detach().cpu().double().numpy()
        focal = None if focal_px is None else focal_px.detach().cpu().double().numpy()
        trust = np.ones(points.shape[:2]) if confidence is None else confidence.double().numpy()
        _check_finite([points])
        pose, observations = self._initialize(points, photo_size, focal)
        trust = trust.clip(CONFIDENCE_FLOOR, 1)
        raw = observations.points_px
        for _ in range(self.config.pose_iterations):
            sigma = self._in_photo(pose, observations, raw, trust)[1]
            pose = pose_step(pose, self.points, observations, sigma, self.config.robust_threshold)
        state = self.model.split(pose, np.tile(self.start, (len(points), 1)))
        for _ in range(self.config.iterations):
            observations, sigma = self._in_photo(state.pose, observations, raw, trust)
            gaze = self._gaze(state, observations, points, trust)
            state = self._step(self._look(state, gaze), observations, sigma)
            _check_finite([*state.pose, *state[1:]])
        gaze = self._gaze(state, observations, points, trust)
        return self._result(state, gaze, observations, points_px)

    def _initialize(
        self,
        points: Float64[np.ndarray, "B 478 2"],
        photo_size: tuple[int, int] | Int[Tensor, "B 2"],
        known_focal: Float64[np.ndarray, " B"] | None,
    ) -> tuple[Pose, Observations]:
        """The mean head seen by the orthographic camera that fits best."""
        observed = points[:, USED_POINTS]
        view = scaled_pose(self.points, observed, 1 / self.noise.sigma)
        sizes = np.broadcast_to(np.asarray(photo_size), (len(points), 2))
        principal_point = (sizes[:, ::-1] - 1) / 2
        min_focal = self.config.min_focal_ratio * sizes.max(1)
        default_focal = np.maximum(view.scale * self.config.default_distance_m, min_focal)
        focal = default_focal if known_focal is None else known_focal
        pose = perspective_pose(view, focal / view.scale, principal_point)
        no_noise = np.zeros((*observed.shape, 0))
        return pose, Observations(observed, principal_point, focal, no_noise)

    def _in_photo(
        self,
        pose: Pose,
        observations: Observations,
        raw: Float64[np.ndarray, "B L 2"],
        trust: Float64[np.ndarray, "B 478"],
    ) -> tuple[Observations, Float64[np.ndarray, "B L"]]:
        """Observations without their mean error, and the standard deviations [px] of the rest."""
        R = pose.rotation
        yaw = np.arctan2(-R[:, 2, 0], np.hypot(R[:, 0, 0], R[:, 1, 0]))
        growth = 1 + (np.abs(np.degrees(yaw)) / self.config.yaw_scale_degrees) ** 3
        unit = self.unit_m * observations.focal_px / -pose.translation[:, 2]
        roll = np.arctan2(R[:, 1, 0], np.hypot(R[:, 0, 0], R[:, 2, 0]))
        cos, sin = np.cos(roll), np.sin(roll)
        frame = np.stack([cos, sin, -sin, cos], -1).reshape(-1, 2, 2) * unit[:, None, None]
        camera_points = self.points @ R.transpose(0, 2, 1) + pose.translation[:, None]
        facing = -(camera_points * (self.normals @ R.transpose(0, 2, 1))).sum(-1)
        hidden = facing < 0
        sigma = self.noise.sigma * (unit * growth)[:, None] / np.sqrt(trust[:, USED_POINTS])
        sigma = sigma * np.where(hidden, self.config.hidden_sigma_factor, 1.0)
        modes = np.einsum("klx,bxy->blyk", self.noise.modes, frame * growth[:, None, None])
        return observations._replace(points_px=raw, noise_modes_px=modes), sigma

    def _step(
        self, state: FitState, observations: Observations, sigma: Float64[np.ndarray, "B L"]
    ) -> FitState:
        """Projected Gauss-Newton step of all unknowns: bounds by active set and clipping."""
        prior, coefficients = self.prior, state.coefficients
        residuals, jacobian = self.model.residuals(state, observations)
        weights = cauchy_weights(residuals, sigma, self.config.robust_threshold)
        H, g = normal_equations(jacobian, residuals, weights)
        g[:, 6:] -= coefficients @ prior.precision + prior.rate
        H[:, 6:, 6:] += prior.precision
        fixed = (coefficients <= prior.lower) & (g[:, 6:] < 0)
        fixed |= (coefficients >= prior.upper) & (g[:, 6:] > 0)
        fixed[:, [3 + self.model.axes_count + i for i in self.look.values()]] = True
        step = solve_free(H, g, np.concatenate([np.zeros((len(g), 6), bool), fixed], 1))
        found = np.clip(coefficients + step[:, 6:], prior.lower, prior.upper)
        return self.model.split(moved(state.pose, step[:, :6]), prior.exclude_opposites(found))

    def _gaze(self, state, observations, points, trust):
        iris = [LEFT_IRIS.start, RIGHT_IRIS.start]
        eyes = self.model.eyes(state)
        found = gaze_rotations(
            points[:, iris], eyes, state.pose, observations.focal_px, observations.principal_point
        )
        ring = points[:, self.lid_rings]
        width = np.linalg.norm(ring[:, :, 0] - ring[:, :, 8], axis=-1)
        opening = np.linalg.norm(ring[:, :, 4] - ring[:, :, 12], axis=-1) / width
        low, high = OPEN_EYE
        seen = ((opening - low) / (high - low)).clip(0, 1) * trust[:, iris]
        found = conjugate(found - self.gaze_rest, seen)
        c = self.config
        noise = c.iris_sigma * self.unit_m / IRIS_DEPTH
        prior = np.radians(c.gaze_sigma_degrees)
        precision = seen.sum(1) / noise**2
        return found * (precision / (precision + prior**-2))[:, None, None]

    def _look(self, state: FitState, gaze) -> FitState:
        if not self.look:
            return state
        weights = eye_look_weights(gaze[:, 0], gaze[:, 1])
        expression = state.expression.copy()
        for name, index in self.look.items():
            expression[:, index] = weights[name]
        return state._replace(expression=expression)

    def _result(self, state, gaze, observations, points_px) -> FitResult:
        """Parameters of the head model, with landmarks of the exact model (lid contacts too)."""
        state = self._look(state, gaze)
        shape = state.shape @ self.model.basis.shape_axes.T
        zero = np.zeros_like(state.jaw)
        pose = matrix_to_axis_angle(state.pose.rotation)
        jaw = state.jaw + state.expression @ self.model.jaw_of_expression.T
        parts = (shape, state.expression, pose, zero, jaw, gaze[:, 0], gaze[:, 1])
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
        no_modes = observations._replace(noise_modes_px=observations.noise_modes_px[..., :0])
        bare = state._replace(noise=state.noise[:, :0])
        residuals, _ = self.model.residuals(bare, no_modes)
        unit = self.unit_m * observations.focal_px / -state.pose.translation[:, 2]
        residual = torch.from_numpy(np.linalg.norm(residuals, axis=-1).mean(1) / unit).float()
        return FitResult(FaceParameters(head, camera), project(camera, mesh.landmarks), residual)


def _check_finite(arrays: Iterable[Float64[np.ndarray, "..."]]) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise UserError(
            "expected the points of a face, got points that no head fits; is there a face in the"
            " photo?"
        )
