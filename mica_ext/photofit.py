"""From 68 image points to a head: a few batched Gauss-Newton steps.

Unknown are the head's turn and place before the camera, jaw, expression and identity. The focal
length is given or, for a photo of unknown origin, set so that the face stands about a metre away:
a crop tells nothing of the lens, and at portrait distances the error stays under a landmark's.

All that moves is linear but two rotations, so the derivatives are written out (`LandmarkBlend`)
on the few points in question instead of differentiated through the whole head.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flame_assets.flame import Flame, HeadParameters
from flame_assets.landmarks import contour_row, head_yaw
from flame_assets.lbs import rotation_matrices
from mica_ext.camera import Camera, project
from mica_ext.model import FaceParameters

RIGHT_EYE, LEFT_EYE = 36, 45
"""Outer eye corners, whose distance is the unit of errors."""
JAW_HINGE = 0
"""Axis of the jaw's rotation vector that opens the mouth."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How much the fit trusts the points and the priors."""

    distance_m: float = 1.0
    """From camera to face when the focal length is unknown."""
    pose_steps: int = 5
    """Steps for turn and place alone, from a frontal start."""
    steps: int = 10
    """Steps for everything."""
    noise: float = 0.018
    """Standard deviation of the inner points, in distances of the outer eye corners."""
    contour_noise: float = 0.045
    """The same for the 17 contour points, which slide along the outline."""
    outlier: float = 4.0
    """Points this many standard deviations off count half, further ones less."""
    expression_spread: float = 0.45
    """Standard deviation of bounded expression weights (unbounded ones: 1)."""
    sparsity: float = 1.0
    """Linear price of bounded expression weights; opposing ones then do not rise together."""
    jaw_spread: tuple[float, float, float] = (0.25, 0.03, 0.02)
    """Standard deviations of the jaw's rotation [rad]: opening, sideways, twist."""
    jaw_open: tuple[float, float] = (0.0, 0.55)
    """Bounds of the opening [rad]."""


class PhotoFit(NamedTuple):
    """Fitted heads."""

    parameters: FaceParameters
    landmarks_px: Float[Tensor, "B 68 2"]
    """The fitted head's landmarks in the photo."""
    residual: Float[Tensor, " B"]
    """Mean distance to the given points, in distances of their outer eye corners."""


class LandmarkBlend(NamedTuple):
    """Landmarks as `still @ q + R_jaw (moving @ q)`, q = (1, identity, expression, jaw features).

    Exact for a head that turns as a whole with eyes at rest, but for lid contacts. Points are the
    17 of each of the 80 contours, then the 51 inner ones.
    """

    still: Float[Tensor, "P 3 Q"]
    moving: Float[Tensor, "P 3 Q"]

    @classmethod
    def of(cls, flame: Flame) -> "LandmarkBlend":
        """Tables for a head [m], double precision."""
        small = flame.landmark_head().double()
        jaw_features = small.pose_basis[9:18]
        modes = torch.cat([small.template[None], small.basis, jaw_features])  # [Q,V,3]
        joint = torch.cat([small.joints_template[None, 2], small.joints_basis[:, 2]])
        joint = torch.cat([joint, joint.new_zeros(9, 3)])  # [Q,3]
        corners = torch.cat([small.landmark_corners[:, :17].flatten(0, 1),
                             small.landmark_corners[0, 17:]])  # fmt: skip
        weights = torch.cat([small.landmark_weights[:, :17].flatten(0, 1),
                             small.landmark_weights[0, 17:]])  # fmt: skip
        jaw_share = weights * small.skinning_weights[corners, 2]
        points = modes[:, corners]  # [Q,P,3 corners,3]
        moving = torch.einsum("qpcx,pc->pxq", points, jaw_share)
        pivot = torch.einsum("qx,p->pxq", joint, jaw_share.sum(1))
        everything = torch.einsum("qpcx,pc->pxq", points, weights)
        return cls((everything - moving + pivot).contiguous(), (moving - pivot).contiguous())

    def at(self, row: Int[Tensor, " B"]) -> "Rows":
        """The 68 points with the contours of these rows."""
        own = row[:, None] * 17 + torch.arange(17, device=row.device)
        inner = torch.arange(80 * 17, len(self.still), device=row.device).expand(len(row), -1)
        index = torch.cat([own, inner], 1)
        return Rows(self.still[index], self.moving[index])


class Rows(NamedTuple):
    """`LandmarkBlend` picked for each item of a batch."""

    still: Float[Tensor, "B 68 3 Q"]
    moving: Float[Tensor, "B 68 3 Q"]


class State(NamedTuple):
    """The unknowns: head point p [m] -> camera point turn p + place."""

    turn: Float[Tensor, "B 3 3"]
    place: Float[Tensor, "B 3"]
    jaw: Float[Tensor, "B 3"]
    weights: Float[Tensor, "B K"]


class PhotoFitter:
    """Fits one head model; build once, call often."""

    def __init__(self, flame: Flame, options: FitOptions | None = None) -> None:
        self.options = options or FitOptions()
        self.head = flame.head
        self.flame = flame.landmark_head()
        self.blend = LandmarkBlend.of(flame)
        self.shape_count = self.head.shape_count
        self._set_priors()

    def _set_priors(self) -> None:
        o, bounds = self.options, self.head.expression_bounds
        expressions = self.head.expression_count
        kind = {"dtype": torch.float64, "device": self.blend.still.device}
        spread = 1.0 if bounds is None else o.expression_spread
        price = 0.0 if bounds is None else o.sparsity
        low, high = bounds or (-float("inf"), float("inf"))
        jaw, shape = torch.tensor(o.jaw_spread, **kind), torch.ones(self.shape_count, **kind)
        expression = torch.ones(expressions, **kind)
        endless = float("inf")
        self.precision = torch.cat([jaw**-2, shape, expression * spread**-2])
        self.price = torch.cat([0 * jaw, 0 * shape, expression * price])
        self.low = torch.cat([torch.tensor([o.jaw_open[0], -0.15, -0.1], **kind),
                              -endless * shape, low * expression])  # fmt: skip
        self.high = torch.cat([torch.tensor([o.jaw_open[1], 0.15, 0.1], **kind),
                               endless * shape, high * expression])  # fmt: skip

    @torch.no_grad()
    def __call__(
        self,
        points_px: Float[Tensor, "B 68 2"],
        centre_px: Float[Tensor, "B 2"],
        focal_px: Float[Tensor, " B"] | None = None,
    ) -> PhotoFit:
        """Fit to points [px]; `centre_px` is the principal point."""
        points, centre = points_px.double(), centre_px.double()
        focal = None if focal_px is None else focal_px.double()
        state, focal = self._start(points, centre, focal)
        unit = (points[:, RIGHT_EYE] - points[:, LEFT_EYE]).norm(dim=-1)
        span = (points.amax(1) - points.amin(1)).amax(-1) / 2.4  # a profile's eyes are close
        unit = torch.maximum(unit, span)
        for step in range(self.options.pose_steps + self.options.steps):
            only_pose = step < self.options.pose_steps
            state = self._step(state, points, centre, focal, unit, only_pose)
        return self._finish(state, points_px, centre, focal)

    def _start(
        self,
        points: Float[Tensor, "B 68 2"],
        centre: Float[Tensor, "B 2"],
        focal: Float[Tensor, " B"] | None,
    ) -> tuple[State, Float[Tensor, " B"]]:
        """Frontal head under the similarity that best brings its inner points to the image's."""
        mean = (self.blend.still + self.blend.moving)[-51:, :, 0]  # [51,3], the template's
        middle, seen = mean[:, :2].mean(0), points[:, 17:]
        model = (mean[:, :2] - middle) * mean.new_tensor([1, -1])
        target = seen - seen.mean(1, keepdim=True)
        norm = model.square().sum()
        a = (target * model).sum((1, 2)) / norm
        b = (target[..., 1] * model[:, 0] - target[..., 0] * model[:, 1]).sum(1) / norm
        scale, roll = torch.hypot(a, b), torch.atan2(b, a)  # image y points down
        turn = rotation_matrices(torch.stack([0 * roll, 0 * roll, -roll], -1))
        if focal is None:
            focal = scale * self.options.distance_m
        depth = focal / scale
        off = (seen.mean(1) - centre) / scale[:, None]
        at = torch.stack([off[:, 0], -off[:, 1], -depth], -1)
        place = at - (turn @ mean.mean(0))
        batch = len(points)
        still = points.new_zeros(batch, 3)
        weights = points.new_zeros(batch, self.blend.still.shape[-1] - 10)
        weights[:, self.shape_count :] = self.low[3 + self.shape_count :].clamp(min=0)
        return State(turn, place, still, weights), focal

    def _step(
        self,
        state: State,
        points: Float[Tensor, "B 68 2"],
        centre: Float[Tensor, "B 2"],
        focal: Float[Tensor, " B"],
        unit: Float[Tensor, " B"],
        only_pose: bool,
    ) -> State:
        """One Gauss-Newton step within the bounds."""
        o = self.options
        identity = torch.eye(3).to(state.turn).expand_as(state.turn)
        row = contour_row(head_yaw(state.turn, identity))
        rows = self.blend.at(row)
        jaw = rotation_matrices(state.jaw)
        features = (jaw - identity).flatten(1)
        q = torch.cat([torch.ones_like(features[:, :1]), state.weights, features], 1)
        swung = torch.einsum("bij,bpj->bpi", jaw, torch.einsum("bpxq,bq->bpx", rows.moving, q))
        head = torch.einsum("bpxq,bq->bpx", rows.still, q) + swung
        turned = torch.einsum("bij,bpj->bpi", state.turn, head)
        camera = Camera(focal, centre, state.place)
        error = points - project(camera, turned)
        view = _projection_rows(turned + state.place[:, None], focal)  # [B,68,2,3]
        J = [-view @ _cross(turned), view]
        if not only_pose:
            own = view @ state.turn[:, None]
            blend = torch.einsum("bpij,bpjq->bpiq", own, rows.still)
            blend += torch.einsum("bpij,bpjq->bpiq", own @ jaw[:, None], rows.moving)
            by_feature = torch.einsum("bpiq,bqk->bpik", blend[..., -9:], _feature_change(jaw))
            J += [by_feature - own @ _cross(swung), blend[..., 1:-9]]
        jacobian = torch.cat(J, -1)  # [B,68,2,N]
        noise = torch.full((68,), o.noise).to(points)
        noise[:17] = o.contour_noise
        sigma = noise * unit[:, None]
        trust = 1 / (1 + error.square().sum(-1) / (o.outlier * sigma).square())
        trust = trust / sigma.square()
        flat = jacobian.flatten(1, 2)
        weighted = flat * trust.repeat_interleave(2, 1)[..., None]
        H = flat.mT @ weighted
        g = torch.einsum("bnk,bn->bk", weighted, error.flatten(1))
        if only_pose:
            pinned = torch.zeros_like(g, dtype=torch.bool)
        else:
            now = torch.cat([state.jaw, state.weights], 1)
            g[:, 6:] -= self.precision * now + self.price
            H.diagonal(dim1=1, dim2=2)[:, 6:] += self.precision
            pinned = ((now <= self.low) & (g[:, 6:] < 0)) | ((now >= self.high) & (g[:, 6:] > 0))
            pinned = torch.cat([torch.zeros_like(pinned[:, :6]), pinned], 1)
        step = _solve(H, g, pinned)
        turn = rotation_matrices(step[:, :3]) @ state.turn
        place = state.place + step[:, 3:6]
        if only_pose:
            return State(turn, place, state.jaw, state.weights)
        moved = (now + step[:, 6:]).clamp(self.low, self.high)
        return State(turn, place, moved[:, :3], moved[:, 3:])

    def _finish(
        self,
        state: State,
        points_px: Float[Tensor, "B 68 2"],
        centre: Float[Tensor, "B 2"],
        focal: Float[Tensor, " B"],
    ) -> PhotoFit:
        """In the head's own terms, with the landmarks of the exact head."""
        S = self.shape_count
        kind = self.flame.template
        zero = torch.zeros_like(state.jaw)
        pose = rotation_vector(state.turn)
        head = HeadParameters(*(part.to(kind) for part in (
            state.weights[:, :S], state.weights[:, S:], pose, zero, state.jaw, zero, zero
        )))  # fmt: skip
        mesh = self.flame(head)
        root = self.flame.joints_template[0] + torch.einsum(
            "kc,bk->bc", self.flame.joints_basis[:, 0], state.weights.to(kind)
        )
        root = root.double()
        place = state.place - root + (state.turn @ root[..., None])[..., 0]
        camera = Camera(focal.to(kind), centre.to(kind), place.to(kind))
        landmarks = project(camera, mesh.landmarks)
        unit = (points_px[:, RIGHT_EYE] - points_px[:, LEFT_EYE]).norm(dim=-1)
        residual = (landmarks - points_px).norm(dim=-1).mean(1) / unit
        return PhotoFit(FaceParameters(head, camera), landmarks, residual)


def fit_photo(
    flame: Flame,
    points_px: Float[Tensor, "B 68 2"],
    image_size: tuple[int, int],
    *,
    focal_px: Float[Tensor, " B"] | None = None,
    options: FitOptions | None = None,
) -> PhotoFit:
    """Fit `flame` to points [px] in a photo of `image_size` (height, width).

    To fit photo after photo, keep a `PhotoFitter`: most of a single call is its set-up.
    """
    height, width = image_size
    centre = points_px.new_tensor([(width - 1) / 2, (height - 1) / 2]).expand(len(points_px), 2)
    return PhotoFitter(flame, options)(points_px, centre, focal_px)


def rotation_vector(rotation: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3"]:
    """Rotation matrices -> axis-angle [rad], for angles short of a half turn."""
    skew = rotation - rotation.mT
    axis = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], -1) / 2  # sin(a) n
    sine = axis.norm(dim=-1)
    cosine = (rotation.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
    angle = torch.atan2(sine, cosine)
    return axis * torch.where(sine > 1e-9, angle / sine.clamp(min=1e-9), 1.0)[:, None]


def _projection_rows(
    points: Float[Tensor, "B N 3"], focal: Float[Tensor, " B"]
) -> Float[Tensor, "B N 2 3"]:
    """Derivative of the image point [px] by the camera point [m]."""
    x, y, z = points.unbind(-1)
    scale = -focal[:, None] / z
    zero = torch.zeros_like(scale)
    horizontal = torch.stack([scale, zero, -scale * x / z], -1)
    vertical = torch.stack([zero, -scale, scale * y / z], -1)
    return torch.stack([horizontal, vertical], -2)


def _cross(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def _feature_change(rotation: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 9 3"]:
    """Derivative of the entries of R by a further rotation vector applied from the left."""
    basis = torch.eye(3).to(rotation)
    turns = _cross(basis)  # [3,3,3]
    return torch.einsum("kij,bjl->bilk", turns, rotation).flatten(1, 2)


def _solve(
    H: Float[Tensor, "B N N"], g: Float[Tensor, "B N"], pinned: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N"]:
    """H step = g with the pinned unknowns left where they are."""
    free = (~pinned).to(H)
    H = H * free[:, :, None] * free[:, None, :]
    diagonal = H.diagonal(dim1=1, dim2=2)
    scale = torch.where(pinned, 1.0, diagonal.clamp(min=1e-12).rsqrt())
    H = H * scale[:, :, None] * scale[:, None, :]
    H.diagonal(dim1=1, dim2=2).copy_(torch.ones_like(g) * (1 + 1e-6))
    factor = torch.linalg.cholesky(H)
    return scale * torch.cholesky_solve((g * free * scale)[..., None], factor)[..., 0]
