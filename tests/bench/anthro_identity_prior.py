"""What Anthro's identity prior is worth: scanned people from noisy image points, in closed form.

    python tests/bench/anthro_identity_prior.py [--ict PATH] [--people 300]

People are drawn from ICT-FaceKit's identity model (seeds from 50000 on) and seen without
perspective, turned up to 25 degrees. Observed are the 51 inner landmarks, each with normal noise of
1.4 % of the outer eye corners' distance; the estimate is the most probable head and pose under
unit-normal coefficients. Truth has Anthro's own landmark places on ICT's surface, so that
conventions play no part. Errors [mm] of the 51 points and of the visible face, after similarity
and rigid alignment, beside those of the mean head.
"""

import argparse
from pathlib import Path

import igl
import numpy as np
from anthro_ict_fit import (
    Ict,
    Model,
    identity_target,
    igl_barycentric,
    load_ict,
    match,
    on_anthro,
    rigid,
)
from scipy.spatial.transform import Rotation

from flame_assets.anthro import build_anthro

DATA = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_facekit_light.npz"
FIRST_SEED = 50000
NOISE = 0.014
MOST_YAW, MOST_PITCH = 25.0, 12.0
"""Degrees."""
STEPS = 12


def on_surface(points: np.ndarray, ict: Ict) -> tuple[np.ndarray, np.ndarray]:
    """Mean position [n, 3] and identity modes [k, n, 3] of the ICT surface next to the points."""
    triangles = np.ascontiguousarray(ict.triangles)
    _, face, closest = igl.point_mesh_squared_distance(points, ict.neutral, triangles)
    corners = triangles[face]
    weights = igl_barycentric(closest, *(ict.neutral[corners[:, k]] for k in range(3)))
    return closest, np.einsum("kvci,vc->kvi", ict.identity[:, corners], weights)


def estimate(mean: np.ndarray, modes: np.ndarray, seen: np.ndarray, sigma: float) -> np.ndarray:
    """Most probable coefficients from image points [n, 2] under scaled orthography."""
    count = modes.shape[2]
    coefficients, turn, scale = np.zeros(count), np.eye(3), 1.0
    shift = seen.mean(axis=0) - mean[:, :2].mean(axis=0)
    prior = np.r_[np.ones(count), np.zeros(6)]
    for step in range(STEPS):
        shape = mean + modes @ coefficients
        turned = shape @ turn.T
        residual = seen - scale * turned[:, :2] - shift
        rows = np.zeros((len(mean), 2, count + 6))
        rows[:, :, :count] = scale * np.einsum("ij,njk->nik", turn[:2], modes)
        for axis in range(3):
            rows[:, :, count + axis] = scale * np.cross(np.eye(3)[axis], turned)[:, :2]
        rows[:, :, count + 3] = turned[:, :2]
        rows[:, 0, count + 4] = rows[:, 1, count + 5] = 1.0
        if step < 4:  # pose first
            rows[:, :, :count] = 0
        flat = rows.reshape(-1, count + 6)
        normal = flat.T @ flat / sigma**2 + np.diag(prior + 1e-9)
        right = flat.T @ residual.ravel() / sigma**2 - prior * np.r_[coefficients, np.zeros(6)]
        change = np.linalg.solve(normal, right)
        coefficients = coefficients + change[:count]
        turn = Rotation.from_rotvec(change[count : count + 3]).as_matrix() @ turn
        scale += change[count + 3]
        shift = shift + change[count + 4 :]
    return coefficients


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean distance after similarity and after rigid alignment [mm]."""
    turn, shift = rigid(found, truth)
    stiff = found @ turn.T + shift
    a, b = stiff - stiff.mean(axis=0), truth - truth.mean(axis=0)
    scaled = np.sum(a * b) / np.sum(a * a) * a
    return (
        float(np.linalg.norm(scaled - b, axis=1).mean()),
        float(np.linalg.norm(a - b, axis=1).mean()),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ict", type=Path, default=DATA, help="ict_facekit_light.npz")
    parser.add_argument("--people", type=int, default=300)
    options = parser.parse_args()
    head = build_anthro()
    model = Model(head)
    ict = on_anthro(load_ict(options.ict), model)
    corners = head.triangles[head.landmark_triangles]
    share = head.landmark_barycentric.astype(float)
    mean = np.einsum("nci,nc->ni", model.template[corners], share)
    modes = np.einsum("ncik,nc->nik", model.shape[corners], share)
    true_mean, true_modes = on_surface(mean, ict)
    target = identity_target(ict, ict.neutral)
    near = match(model, model.template, target)
    dense = target.points[near.agree]
    dense_modes = ict.identity[:, ict.visible[near.agree]]
    dense_corners, dense_share = near.corners[near.agree], near.weights[near.agree]
    own_dense = np.einsum("ncik,nc->nik", model.shape[dense_corners], dense_share)
    own_dense_mean = near.points[near.agree]
    rows = []
    for person in range(options.people):
        rng = np.random.default_rng(FIRST_SEED + person)
        c = rng.standard_normal(len(ict.identity))
        truth = true_mean + np.tensordot(c, true_modes, 1)
        face = dense + np.tensordot(c, dense_modes, 1)
        angles = rng.uniform(-1, 1, 2) * [MOST_YAW, MOST_PITCH]
        view = Rotation.from_euler("yx", angles, degrees=True).as_matrix()
        sigma = NOISE * float(np.linalg.norm(truth[45 - 17] - truth[36 - 17]))
        seen = (truth @ view.T)[:, :2] + sigma * rng.standard_normal((len(truth), 2))
        found = estimate(mean, modes, seen, sigma)
        rows.append(
            [
                *errors(mean, truth), *errors(mean + modes @ found, truth),
                *errors(own_dense_mean, face), *errors(own_dense_mean + own_dense @ found, face),
                np.sqrt(np.mean(found**2)),
            ]
        )  # fmt: skip
    a = np.mean(rows, axis=0)
    print(f"Anthro {head.version}, {options.people} people: mean error [mm], similarity / rigid")
    print(f"51 landmarks: mean head {a[0]:.2f} / {a[1]:.2f}, estimate {a[2]:.2f} / {a[3]:.2f}")
    print(f"visible face: mean head {a[4]:.2f} / {a[5]:.2f}, estimate {a[6]:.2f} / {a[7]:.2f}")
    print(f"rms of the estimated coefficients {a[8]:.2f}")


if __name__ == "__main__":
    main()
