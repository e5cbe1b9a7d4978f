"""How near Anthro comes to the ICT FaceKit heads: fits of whole surfaces.

    python tests/bench/anthro_against_ict.py [--ict PATH] [--identities 100] [--meshes FOLDER]

ICT skin within 95 mm of the nose tip that a camera can see, points kept where the normals agree
(cosine above 0.5), 15 landmarks, rigid alignment without scale. Identities: coefficients N(0, 1),
numpy seeds 0, 1, ...; Anthro's 100 coefficients with an rms of at most 1.0. Expressions: 20 ICT
shapes on the ICT neutral, weights in [0, 1], distance on the points that move more than 1 mm; and
the amplitude with which Anthro's own shape(s) of that name fit best, once as displacement fields
over fixed correspondences, once as surfaces.

Since version 2 Anthro's neutral shape and identity prior are derived from ICT's mean and
covariance, so these figures say how well it holds them, not how it does on other people. Of ICT's
expressions mouthSmile gave figures to Anthro's; of others only amplitudes (lids, noseSneer) were
compared. Corrections of blinks (`LidClosure`) are left out here. ICT's own blink stays 2 mm open.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from anthro_ict_fit import (
    Fit,
    Ict,
    Model,
    Target,
    fit_identity,
    identity_target,
    load_ict,
    match,
    rigid,
)
from scipy.optimize import lsq_linear

from flame_assets.anthro import EXPRESSIONS, build_anthro

DEFAULT = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_facekit_light.npz"
# fmt: off
SHAPES = [
    "jawOpen", "mouthSmile", "mouthFrown", "mouthPucker", "mouthFunnel", "cheekPuff", "eyeBlink",
    "browDown", "browInnerUp", "browOuterUp", "noseSneer", "mouthUpperUp", "mouthLowerDown",
    "mouthStretch", "jawLeft", "mouthLeft", "mouthRollLower", "mouthShrugLower", "eyeSquint",
    "eyeWide",
]
# fmt: on
EXPRESSION_LANDMARK_WEIGHT = 2.0


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
    """Weights of groups of expressions, each a direction in weight space."""
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


class Identities(NamedTuple):
    """Figures of several people [mm], one of each per person."""

    median: list[float]
    """Of the distances of the points that agree."""
    landmarks: list[float]
    """Mean distance of the 15 landmarks."""


def figures_of(fits: list[Fit]) -> Identities:
    """The figures of fitted people."""
    return Identities(
        [float(np.median(fit.distance[fit.agree])) for fit in fits],
        [float(fit.landmark_error.mean()) for fit in fits],
    )


def fit_person(model: Model, ict: Ict, seed: int) -> Fit:
    """Anthro fitted to the ICT person with the coefficients of a NumPy seed."""
    c = np.random.default_rng(seed).standard_normal(len(ict.identity))
    person = ict.neutral + np.tensordot(c, ict.identity, 1)
    return fit_identity(model, identity_target(ict, person))


def print_person(name: str, fit: Fit) -> None:
    """One line of the first table."""
    kept = fit.distance[fit.agree]
    print(
        f"{name:9} {np.median(kept):7.3f} {kept.mean():6.3f} {np.percentile(kept, 95):6.2f} "
        f"{fit.agree.mean():6.3f} {fit.landmark_error.mean():8.2f} "
        f"{np.sqrt((fit.coefficients**2).mean()):8.2f}",
        flush=True,
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
    print("identity   median   mean    p95   agree  landmarks  rms")
    print_person("neutral", base)
    fits = []
    for seed in range(options.identities):
        fits.append(fit_person(model, ict, seed))
        print_person(f"seed {seed}", fits[-1])
    if fits:
        median, landmarks = figures_of(fits)
        print(
            f"identities {len(fits)}: median of medians {np.median(median):.3f} mm, mean "
            f"{np.mean(median):.3f}, worst {max(median):.3f}; landmarks {np.median(landmarks):.2f}"
            " mm"
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
        f"expressions: median {np.median(every):.3f} mm, mean {np.mean(every):.3f}, "
        f"worst {max(every):.2f}"
    )
    print(f"{time.perf_counter() - start:.0f} s in all")
    if options.meshes:
        options.meshes.mkdir(parents=True, exist_ok=True)
        for k, fit in enumerate([base, *fits[:8]]):
            np.savez(
                options.meshes / f"fit_{k}.npz", vertices=fit.vertices, triangles=head.triangles
            )


if __name__ == "__main__":
    main()
