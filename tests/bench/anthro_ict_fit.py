"""Rigid, scale-free fits of Anthro to ICT FaceKit heads; used by `anthro_against_ict.py`."""

from pathlib import Path
from typing import NamedTuple

import igl
import numpy as np
from scipy.spatial.transform import Rotation

from eval_now.geometry.normals import vertex_normals
from flame_assets.anthro import EXPRESSIONS
from flame_assets.anthro.rig import jaw as anthro_jaw
from flame_assets.arkit import JAW_OPEN
from flame_assets.model.head import HeadModel

SKIN_VERTICES = 11248
# fmt: off
ICT_LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088,
    3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140,
    2075, 1147, 4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216,
    6207, 6470, 5517, 5966,
])
"""ICT-FaceKit's published vertices of the 68 landmarks, in iBUG's order."""
# fmt: on
IBUG = np.array([8, 27, 30, 31, 33, 35, 36, 39, 42, 45, 48, 51, 54, 57, 62])
ICT_VERTICES = ICT_LANDMARKS[IBUG]
LANDMARK_WEIGHT = 7.0
"""Against one per point; a third of the points carries the first rounds."""
LEAST_PRIOR = 2.0


class Ict(NamedTuple):
    """ICT arrays in mm, triangles of the skin, and the ids of its visible face points."""

    neutral: np.ndarray
    identity: np.ndarray
    expression: dict[str, np.ndarray]
    triangles: np.ndarray
    visible: np.ndarray


class Target(NamedTuple):
    """Points to reach [mm], their normals, and the landmarks."""

    points: np.ndarray
    normals: np.ndarray
    landmarks: np.ndarray


class Fit(NamedTuple):
    """Coefficients, the target in the head's frame, distances [mm] of agreeing points."""

    coefficients: np.ndarray
    distance: np.ndarray
    agree: np.ndarray
    landmark_error: np.ndarray
    vertices: np.ndarray
    target: Target


def visible_points(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Ids of face points that some of nine views between -60 and 60 degrees can see."""
    near = np.linalg.norm(points - points[ICT_VERTICES[2]], axis=1) < 95
    near[np.setdiff1d(np.arange(len(points)), triangles)] = False
    normals = vertex_normals(points, triangles)
    shares = np.array([(i, j) for i in range(7) for j in range(7 - i)]) / 6.0
    shares = np.c_[shares, 1 - shares.sum(axis=1)]
    seen = np.zeros(len(points), bool)
    for pitch in (-25, 0, 20):
        for yaw in (-60, -30, 0, 30, 60):
            view = Rotation.from_euler("yx", [yaw, pitch], degrees=True).as_matrix()
            turned = points @ view.T
            samples = np.einsum("sc,fci->fsi", shares, turned[triangles]).reshape(-1, 3)
            cell = np.floor(samples[:, :2] / 1.0).astype(int) + 400
            depth = np.full((800, 800), -np.inf)
            np.maximum.at(depth, (cell[:, 0], cell[:, 1]), samples[:, 2])
            own = np.floor(turned[:, :2]).astype(int) + 400
            front = depth[own[:, 0], own[:, 1]] < turned[:, 2] + 2.0
            seen |= front & ((normals @ view.T)[:, 2] > 0.3)
    return np.flatnonzero(near & seen)


def load_ict(path: Path) -> Ict:
    """Read the npz; cm to mm; quads to triangles."""
    data = np.load(path)
    faces = data["faces"].astype(np.int64)
    quads = faces[(faces >= 0).all(axis=1)]
    triangles = np.concatenate([faces[:, :3], quads[:, [0, 2, 3]]])
    triangles = triangles[(triangles < SKIN_VERTICES).all(axis=1)]
    neutral = data["neutral"][:SKIN_VERTICES].astype(float) * 10
    identity = data["identity"][:, :SKIN_VERTICES].astype(float) * 10
    names = [str(name) for name in data["expression_names"]]
    deltas = {
        name: data["expression"][k, :SKIN_VERTICES].astype(float) * 10
        for k, name in enumerate(names)
    }
    return Ict(neutral, identity, deltas, triangles, visible_points(neutral, triangles))


class Model:
    """Anthro in mm as the fits need it: skin triangles, landmarks, jaw."""

    def __init__(self, head: HeadModel):
        self.head = head
        self.template = head.template.astype(float) * 1e3
        self.shape = head.shape_basis.astype(float) * 1e3
        self.expression = head.expression_basis.astype(float) * 1e3
        hidden = (
            "mouth_inside",
            "left_eyeball",
            "right_eyeball",
            "upper_teeth",
            "lower_teeth",
            "tongue",
        )
        outside = np.ones(len(self.template), bool)
        outside[np.concatenate([head.regions[name] for name in hidden])] = False
        # rims behind the lids belong to the skin's mesh but not to its visible surface
        rims = np.linalg.norm(self.template - self.joint(3), axis=1) < 12.9
        rims |= np.linalg.norm(self.template - self.joint(4), axis=1) < 12.9
        outside &= ~rims
        triangles = head.triangles.astype(np.int64)
        self.triangles = np.ascontiguousarray(triangles[outside[triangles].all(axis=1)])
        corners = np.concatenate([head.static_contour_triangles, head.landmark_triangles])[IBUG]
        self.landmark_corners = triangles[corners]
        self.landmark_weights = np.concatenate(
            [head.static_contour_barycentric, head.landmark_barycentric]
        )[IBUG].astype(float)
        self.jaw = head.skinning_weights[:, 2].astype(float)

    def joint(self, k: int) -> np.ndarray:
        """Position of a joint on the neutral head [mm]."""
        return self.head.joint_regressor[k].astype(float) @ self.template

    def along(self, basis: np.ndarray, found: "Matches") -> np.ndarray:
        """Motion [n, k] of the matched points along their normals, per column of [v, 3, k]."""
        rows = np.zeros((len(found.points), basis.shape[2]))
        for corner in range(3):
            scaled = found.normals * found.weights[:, corner, None]
            rows += np.einsum("ni,nik->nk", scaled, basis[found.corners[:, corner]])
        return rows

    def slopes(self, neutral: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Derivative [v, 3, e] of `expressed` by the weights; lid contacts are left out."""
        k = EXPRESSIONS.index("jawOpen")
        turn = anthro_jaw.rotation(JAW_OPEN * weights[k])
        turned = np.einsum("ij,vjk->vik", turn - np.eye(3), self.expression)
        basis = self.expression + self.jaw[:, None, None] * turned
        ahead = weights.copy()
        ahead[k] += 0.02
        step = self.expressed(neutral, ahead) - self.expressed(neutral, weights)
        basis[:, :, k] = step / 0.02
        return basis

    def landmarks(self, field: np.ndarray) -> np.ndarray:
        """The 15 landmarks of vertices [v, 3] or of a basis [v, 3, k]."""
        return np.einsum("nc...,nc->n...", field[self.landmark_corners], self.landmark_weights)

    def expressed(self, neutral: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Vertices for ARKit weights on a neutral head [v, 3] in mm; the eyes stay still."""
        shaped = neutral + self.expression @ weights
        turn = JAW_OPEN * weights[EXPRESSIONS.index("jawOpen")]
        joint = self.head.joint_regressor[2].astype(float) @ shaped
        posed = shaped.copy()
        posed += self.jaw[:, None] * (
            (shaped - joint) @ anthro_jaw.rotation(turn).T + joint - shaped
        )
        eyes = self.head.joint_regressor[3:].astype(float) @ shaped
        for contact in self.head.lid_contacts:
            ray = posed[contact.vertices] - eyes[contact.joint - 3]
            distance = np.linalg.norm(ray, axis=1)
            push = np.maximum(contact.radius * 1e3 / distance, 1) - 1
            posed[contact.vertices] += ray * push[:, None]
        return posed


class Matches(NamedTuple):
    """Closest surface points of a target."""

    points: np.ndarray
    normals: np.ndarray
    agree: np.ndarray
    corners: np.ndarray
    weights: np.ndarray


def match(model: Model, vertices: np.ndarray, target: Target) -> Matches:
    """Closest points on the skin and whether the normals agree there."""
    _, face, closest = igl.point_mesh_squared_distance(target.points, vertices, model.triangles)
    corners = model.triangles[face]
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    weights = igl_barycentric(closest, a, b, c)
    normals = vertex_normals(vertices, model.triangles)
    n = np.einsum("nci,nc->ni", normals[corners], weights)
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)
    agree = np.einsum("ni,ni->n", n, target.normals) > 0.5
    return Matches(closest, n, agree, corners, weights)


def igl_barycentric(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Barycentric weights of points that lie on triangles."""
    u, v, w = b - a, c - a, p - a
    uu, uv, vv = (np.einsum("ni,ni->n", x, y) for x, y in ((u, u), (u, v), (v, v)))
    wu, wv = np.einsum("ni,ni->n", w, u), np.einsum("ni,ni->n", w, v)
    d = np.maximum(uu * vv - uv * uv, 1e-12)
    s, t = (vv * wu - uv * wv) / d, (uu * wv - uv * wu) / d
    return np.stack([1 - s - t, s, t], 1)


def rigid(source: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation without scale that carry source to goal."""
    a, b = source - source.mean(axis=0), goal - goal.mean(axis=0)
    u, _, vt = np.linalg.svd(b.T @ a)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return turn, goal.mean(axis=0) - turn @ source.mean(axis=0)


def moved(target: Target, turn: np.ndarray, shift: np.ndarray) -> Target:
    """The target under a rigid motion."""
    return Target(
        target.points @ turn.T + shift, target.normals @ turn.T, target.landmarks @ turn.T + shift
    )


def on_anthro(ict: Ict, model: Model, rounds: int = 40) -> Ict:
    """ICT in Anthro's frame: rigid, without scale, its mean's visible face on Anthro's neutral."""
    target = identity_target(ict, ict.neutral)
    target = moved(target, *rigid(target.landmarks, model.landmarks(model.template)))
    for _ in range(rounds):
        found = match(model, model.template, target)
        along = np.einsum("ni,ni->n", found.points - target.points, found.normals)
        weight = found.agree / (1 + (along / 2.0) ** 2)
        rows = np.c_[np.cross(target.points, found.normals), found.normals]
        step = np.linalg.solve(rows.T @ (rows * weight[:, None]), rows.T @ (weight * along))
        target = moved(target, Rotation.from_rotvec(step[:3]).as_matrix(), step[3:])
    turn, shift = rigid(ict.neutral[ict.visible], target.points)
    return ict._replace(
        neutral=ict.neutral @ turn.T + shift,
        identity=ict.identity @ turn.T,
        expression={name: delta @ turn.T for name, delta in ict.expression.items()},
    )


def _limited(hessian: np.ndarray, gradient: np.ndarray, count: int, limit: float) -> np.ndarray:
    """Solve with the least prior that keeps the rms of the first `count` unknowns <= limit."""
    prior = np.zeros(len(gradient))
    low, strength = LEAST_PRIOR, LEAST_PRIOR
    for _ in range(30):
        prior[:count] = strength
        found = np.linalg.solve(hessian + np.diag(prior + 1e-9), gradient)
        rms = np.sqrt((found[:count] ** 2).mean())
        if rms <= limit:
            if strength == low or rms > 0.995 * limit:
                break
            high = strength
            strength = 0.5 * (low + high)
        else:
            low = strength
            strength = 1.6 * strength if "high" not in locals() else 0.5 * (low + high)
    return found


def fit_identity(model: Model, whole: Target, rounds: int = 12) -> Fit:
    """Gauss-Newton over rigid motion and identity, closest points renewed each round.

    The first rounds take every third point.
    """
    count = model.shape.shape[2]
    coefficients = np.zeros(count)
    vertices = model.template
    whole = moved(whole, *rigid(whole.landmarks, model.landmarks(vertices)))
    landmark_basis = model.landmarks(model.shape)
    for round_ in range(rounds):
        stride = 3 if round_ < rounds - 4 else 1
        target = Target(whole.points[::stride], whole.normals[::stride], whole.landmarks)
        found = match(model, vertices, target)
        offset = target.points - found.points
        along = np.einsum("ni,ni->n", offset, found.normals)
        scale = np.interp(round_, [0, 4, 8], [4.0, 1.5, 1.0])
        weight = found.agree / (1 + (along / scale) ** 2)
        rows = model.along(model.shape, found)
        # turn the target by w, shift it by t: residual n.(p + w x p + t - x(c))
        rows = np.c_[rows, -np.cross(target.points, found.normals), -found.normals]
        value = along + rows[:, :count] @ coefficients
        hessian = rows.T @ (rows * weight[:, None])
        gradient = rows.T @ (weight * value)
        marks = model.landmarks(vertices)
        for axis in range(3):
            e = np.eye(3)[axis]
            part = np.c_[
                landmark_basis[:, axis], -np.cross(target.landmarks, e), -np.tile(e, (15, 1))
            ]
            goal = (target.landmarks - marks)[:, axis] + part[:, :count] @ coefficients
            hessian += LANDMARK_WEIGHT * part.T @ part
            gradient += LANDMARK_WEIGHT * part.T @ goal
        step = _limited(hessian, gradient, count, 1.0)
        coefficients = step[:count]
        turn = Rotation.from_rotvec(step[count : count + 3]).as_matrix()
        whole = moved(whole, turn, step[count + 3 :])
        vertices = model.template + model.shape @ coefficients
    found = match(model, vertices, whole)
    distance = np.linalg.norm(whole.points - found.points, axis=1)
    error = np.linalg.norm(whole.landmarks - model.landmarks(vertices), axis=1)
    return Fit(coefficients, distance, found.agree, error, vertices, whole)


def identity_target(ict: Ict, points: np.ndarray) -> Target:
    """Visible points, normals and landmarks of an ICT head."""
    normals = vertex_normals(points, ict.triangles)
    return Target(points[ict.visible], normals[ict.visible], points[ICT_VERTICES])
