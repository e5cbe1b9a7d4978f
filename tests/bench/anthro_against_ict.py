"""How near Anthro comes to the ICT FaceKit heads: a measuring stick, never a mould.

    python tests/bench/anthro_against_ict.py [--ict PATH] [--identities 100] [--meshes FOLDER]

ICT skin within 95 mm of the nose tip that a camera can see, points kept where the normals agree
(cosine above 0.5), 15 landmarks, rigid alignment without scale. Identities: coefficients N(0, 1),
numpy seeds 0, 1, ...; Anthro's 100 coefficients with an rms of at most 1.0. Expressions: 20 ICT
shapes on the ICT neutral, weights in [0, 1], distance on the points that move more than 1 mm; and
the amplitude with which Anthro's own shape(s) of that name fit best, once as displacement fields
over fixed correspondences, once as surfaces.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import igl
import numpy as np
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation

from flame_assets.anthro import EXPRESSIONS, build_anthro
from flame_assets.anthro import jaw as anthro_jaw
from flame_assets.head import HeadModel

DEFAULT = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_facekit_light.npz"
SKIN_VERTICES = 11248
# ICT's published landmark vertices for these iBUG numbers
IBUG = np.array([8, 27, 30, 31, 33, 35, 36, 39, 42, 45, 48, 51, 54, 57, 62])
ICT_VERTICES = np.array(
    [966, 978, 4857, 1140, 1147, 3360, 1507, 1528, 3742, 3721, 5708, 0, 6213, 5518, 5533]
)
SHAPES = (
    "jawOpen mouthSmile mouthFrown mouthPucker mouthFunnel cheekPuff eyeBlink browDown "
    "browInnerUp browOuterUp noseSneer mouthUpperUp mouthLowerDown mouthStretch jawLeft mouthLeft "
    "mouthRollLower mouthShrugLower eyeSquint eyeWide"
).split()
LANDMARK_WEIGHT = 7.0
"""Against one per point; a third of the points carries the first rounds."""
EXPRESSION_LANDMARK_WEIGHT = 2.0
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


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normals = np.stack(
        [
            sum(np.bincount(triangles[:, k], face[:, i], len(points)) for k in range(3))
            for i in range(3)
        ],
        1,
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


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
        turn = anthro_jaw.rotation(anthro_jaw.OPEN * weights[k])
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
        turn = anthro_jaw.OPEN * weights[EXPRESSIONS.index("jawOpen")]
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


def _names(shape: str) -> list[str]:
    return [shape] if shape in EXPRESSIONS else [f"{shape}Left", f"{shape}Right"]


def _ict_delta(ict: Ict, shape: str) -> np.ndarray:
    if shape in ict.expression:
        return ict.expression[shape]
    return ict.expression[f"{shape}_L"] + ict.expression[f"{shape}_R"]


def fit_weights(
    model: Model,
    neutral: np.ndarray,
    target: Target,
    columns: list[np.ndarray],
    bounds: tuple[float, float],
    ridge: float,
    rounds: int = 8,
) -> np.ndarray:
    """Weights of groups of expressions (each a direction in weight space), closest points renewed."""
    found_weights = np.zeros(len(columns))
    directions = np.stack(columns, 1)
    for _ in range(rounds):
        weights = directions @ found_weights
        vertices = model.expressed(neutral, weights)
        basis = model.slopes(neutral, weights) @ directions
        found = match(model, vertices, target)
        rows = model.along(basis, found)
        offset = np.einsum("ni,ni->n", target.points - found.points, found.normals)
        value = offset + rows @ found_weights
        weight = np.sqrt(found.agree / (1 + (offset / 2.0) ** 2))
        marks = np.sqrt(EXPRESSION_LANDMARK_WEIGHT) * model.landmarks(basis).reshape(
            -1, len(columns)
        )
        goal = (
            np.sqrt(EXPRESSION_LANDMARK_WEIGHT)
            * (target.landmarks - model.landmarks(vertices)).ravel()
        )
        goal = goal + marks @ found_weights
        matrix = np.concatenate(
            [rows * weight[:, None], marks, np.sqrt(ridge) * np.eye(len(columns))]
        )
        right = np.concatenate([value * weight, goal, np.zeros(len(columns))])
        found_weights = lsq_linear(matrix, right, bounds).x
    return found_weights


class Expression(NamedTuple):
    """Figures of one shape: medians [mm] without, with its own, with all modes; amplitudes."""

    still: float
    own: float
    all_modes: float
    field_amplitude: float
    surface_amplitude: float
    landmark_error: float


def fit_expression(model: Model, ict: Ict, base: Fit, shape: str) -> Expression:
    """One ICT shape on the neutral whose identity fit is `base`."""
    delta = _ict_delta(ict, shape)
    turn, shift = rigid(ict.neutral[ict.visible], base.target.points)
    points = (ict.neutral + delta) @ turn.T + shift
    target = identity_target(ict, points)
    moving = np.linalg.norm(delta[ict.visible], axis=1) > 1.0

    def median(weights: np.ndarray) -> float:
        found = match(model, model.expressed(base.vertices, weights), target)
        distance = np.linalg.norm(target.points - found.points, axis=1)
        return float(np.median(distance[moving & found.agree]))

    own = np.isin(EXPRESSIONS, _names(shape)).astype(float)
    start = match(model, base.vertices, base.target)
    # landmarks' correspondence of the neutral is removed: amplitudes speak of motion
    free = target._replace(
        landmarks=target.landmarks - base.target.landmarks + model.landmarks(base.vertices)
    )
    surface = fit_weights(model, base.vertices, free, [own], (0.0, 3.0), 1e-3)[0]
    wanted = (target.points - base.target.points)[start.agree]
    amplitude = 1.0
    for _ in range(8):
        here = model.expressed(base.vertices, amplitude * own) - base.vertices
        ahead = model.expressed(base.vertices, (amplitude + 0.02) * own) - base.vertices

        def on(field: np.ndarray) -> np.ndarray:
            return np.einsum("nci,nc->ni", field[start.corners], start.weights)[start.agree]

        slope = (on(ahead) - on(here)) / 0.02
        amplitude += np.sum(slope * (wanted - on(here))) / np.sum(slope * slope)
    everything = fit_weights(
        model, base.vertices, free, list(np.eye(len(EXPRESSIONS))), (0.0, 1.0), 3.0
    )
    vertices = model.expressed(base.vertices, everything)
    error = np.linalg.norm(free.landmarks - model.landmarks(vertices), axis=1)
    return Expression(
        median(0 * own),
        median(min(surface, 1.0) * own),
        median(everything),
        amplitude,
        surface,
        float(np.median(error)),
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ict", type=Path, default=DEFAULT, help="ict_facekit_light.npz")
    parser.add_argument("--identities", type=int, default=100)
    parser.add_argument(
        "--meshes", type=Path, help="folder for the fitted meshes (npz), to look at"
    )
    options = parser.parse_args()
    start = time.perf_counter()
    head = build_anthro()
    print(f"build_anthro {time.perf_counter() - start:.1f} s")
    model, ict = Model(head), load_ict(options.ict)
    print(f"{len(ict.visible)} visible ICT points within 95 mm of the nose tip")
    base = fit_identity(model, identity_target(ict, ict.neutral))
    fits = [base]
    print("identity   median   mean    p95   agree  landmarks  rms")

    def line(name: str, fit: Fit) -> None:
        kept = fit.distance[fit.agree]
        print(
            f"{name:9} {np.median(kept):7.3f} {kept.mean():6.3f} {np.percentile(kept, 95):6.2f} "
            f"{fit.agree.mean():6.3f} {fit.landmark_error.mean():8.2f} "
            f"{np.sqrt((fit.coefficients**2).mean()):8.2f}",
            flush=True,
        )

    line("neutral", base)
    medians, marks = [], []
    for seed in range(options.identities):
        c = np.random.default_rng(seed).standard_normal(len(ict.identity))
        fit = fit_identity(
            model, identity_target(ict, ict.neutral + np.tensordot(c, ict.identity, 1))
        )
        line(f"seed {seed}", fit)
        fits.append(fit)
        medians.append(np.median(fit.distance[fit.agree]))
        marks.append(fit.landmark_error.mean())
    if medians:
        print(
            f"identities {len(medians)}: median of medians {np.median(medians):.3f} mm, mean "
            f"{np.mean(medians):.3f}, worst {max(medians):.3f}; landmarks {np.median(marks):.2f} mm"
        )
    print("expression        still   own   all   amplitude: field surface  landmarks")
    table = []
    for shape in SHAPES:
        e = fit_expression(model, ict, base, shape)
        table.append(e)
        flag = "" if 0.75 <= e.field_amplitude <= 1.35 else "  <- outside .75 to 1.35"
        print(
            f"{shape:16} {e.still:6.2f} {e.own:5.2f} {e.all_modes:5.2f} {e.field_amplitude:16.2f} "
            f"{e.surface_amplitude:7.2f} {e.landmark_error:9.2f}{flag}",
            flush=True,
        )
    every = [e.all_modes for e in table]
    print(
        f"expressions: median {np.median(every):.3f} mm, mean {np.mean(every):.3f}, worst {max(every):.2f}"
    )
    print(f"{time.perf_counter() - start:.0f} s in all")
    if options.meshes:
        options.meshes.mkdir(parents=True, exist_ok=True)
        for k, fit in enumerate(fits[:9]):
            np.savez(
                options.meshes / f"fit_{k}.npz", vertices=fit.vertices, triangles=head.triangles
            )


if __name__ == "__main__":
    main()
