"""How much better fits of covered and turned heads could be, if more of the movement were known.

    python tests/bench/hidden_ceiling.py [--rendered ict|anthro] [--people 30] [--seed 970000]

The rendered people of `hidden_faces.py`, fitted by points; then parts of the fitted movement are
replaced and the posed error is measured again: the whole movement by the truth; by that of the
picture without the occluder; the coefficients of the hidden region (mouth, eyes and brows, or the
side that is turned away) by zero, by the truth, and by what a small network predicts from the
visible ones, true or fitted. The network learns from 20,000 draws of the very distribution that the
heads' movements are drawn from, more than any product can know.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hidden_faces
from helpers.ict_head import ict_head
from helpers.rendered_ict import IctRenderer, RenderedHead

from flame_assets.arkit import arkit
from flame_assets.model.head_module import HeadParameters
from flame_assets.store import load_head
from mica_ext.data.synthetic.expressions import sample_expression
from mica_ext.estimator import FaceEstimator
from mica_ext.fitting.correspondence.calibration import load_calibration
from mica_ext.reconstruct import Reconstructor

DRAWS, STEPS, WIDTH = 20_000, 2_500, 128
DRAWS_SEED = 77
EYES = ("eye", "brow", "cheekSquint")
MOUTH = ("mouth", "jaw", "cheekPuff")
Predictor = Callable[[np.ndarray], np.ndarray]


def movement(names: tuple[str, ...], weights: dict[str, float]) -> np.ndarray:
    """Coefficients and jaw of ARKit weights on a head."""
    pose = arkit(weights, names)
    return np.concatenate([pose.expression, pose.jaw_pose])


def hidden_regions(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Coefficients that each case hides; the jaw belongs to the mouth."""
    jaw = [len(names), len(names) + 1, len(names) + 2]
    eyes = [i for i, name in enumerate(names) if name.startswith(EYES)]
    mouth = [i for i, name in enumerate(names) if name.startswith(MOUTH)]
    sides = {s: [i for i, name in enumerate(names) if name.endswith(s)] for s in ("Left", "Right")}
    regions = {"sunglasses": eyes, "mask": mouth + jaw, "hand": mouth + jaw, **sides}
    return {case: np.array(rows) for case, rows in regions.items()}


def train_predictor(draws: np.ndarray, hidden: np.ndarray) -> Predictor:
    """Hidden coefficients from the others, by least squares of a network of two hidden layers."""
    seen = np.setdiff1d(np.arange(draws.shape[1]), hidden)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(len(seen), WIDTH), torch.nn.GELU(),
        torch.nn.Linear(WIDTH, WIDTH), torch.nn.GELU(), torch.nn.Linear(WIDTH, len(hidden)),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    rows = torch.from_numpy(np.float32(draws))
    for _ in range(STEPS):
        some = rows[torch.randint(len(rows), (256,))]
        loss = (network(some[:, seen]) - some[:, hidden]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.requires_grad_(False)
    return lambda row: network(torch.from_numpy(np.float32(row[seen]))).numpy()


def moved(head: HeadParameters, row: np.ndarray, count: int) -> HeadParameters:
    """The head with another movement."""
    values = torch.from_numpy(np.float32(row))[None]
    return head._replace(expression=values[:, :count].clamp(0, 1), jaw_pose=values[:, count:])


def own_movement(head: HeadParameters) -> np.ndarray:
    return torch.cat([head.expression[0], head.jaw_pose[0]]).double().numpy()


def turned_side(head: RenderedHead) -> str:
    """The side of the face that is turned away."""
    rotation = Rotation.from_rotvec(head.parameters.global_pose[0].numpy())
    return "Left" if rotation.as_euler("ZXY")[2] > 0 else "Right"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rendered", default="ict", choices=("ict", "anthro"))
    parser.add_argument("--ict", type=Path, default=hidden_faces.DATA)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--seed", type=int, default=hidden_faces.FIRST_SEED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    hidden_faces.FIRST_SEED = options.seed
    reconstructor = Reconstructor.load(head="anthro", points="student")
    names = reconstructor.head.expression_names
    fit = FaceEstimator(reconstructor.decoder, load_calibration(reconstructor.reader.calibration))
    regions, count = hidden_regions(names), len(names)
    generators = (np.random.default_rng([DRAWS_SEED, number]) for number in range(DRAWS))
    draws = np.stack([movement(names, dict(sample_expression(g, names))) for g in generators])
    predictors = {case: train_predictor(draws, rows) for case, rows in regions.items()}
    same = options.rendered == "anthro"
    renderer = IctRenderer(load_head("anthro") if same else ict_head(options.ict))
    theirs = renderer.faces.head.expression_names
    errors: dict[tuple[str, str], list[float]] = {}
    uncovered = None
    for case in hidden_faces.cases(renderer, reconstructor, options.people):
        aligned = hidden_faces.aligned_face(reconstructor, case.head, case.image)
        fitted = fit(aligned).parameters.head
        weights = dict(zip(theirs, case.head.parameters.expression[0].tolist(), strict=True))
        truth = movement(names, {name: w for name, w in weights.items() if name in names})
        heads = {"fit": fitted, "all true": moved(fitted, truth, count)}
        if case.name == "clean":
            uncovered = own_movement(fitted)
        else:
            key = turned_side(case.head) if case.name == "turned" else case.name
            rows, found = regions[key], own_movement(fitted)
            guesses = {
                "hidden zero": np.zeros(len(rows)),
                "hidden from true visible": predictors[key](truth),
                "hidden from fitted visible": predictors[key](found),
                "hidden true": truth[rows],
            }
            for name, guess in guesses.items():
                row = found.copy()
                row[rows] = guess
                heads[name] = moved(fitted, row, count)
            if case.name != "turned" and uncovered is not None:
                heads["as without occluder"] = moved(fitted, uncovered, count)
        for name, head in heads.items():
            found_mm = hidden_faces.errors(reconstructor.decoder, head, case.head, same_head=False)[
                0
            ]
            errors.setdefault((case.name, name), []).append(found_mm)
    for (case_name, name), values in errors.items():
        base, mean = np.mean(errors[case_name, "fit"]), np.mean(values)
        print(f"{case_name:10} {name:28} {mean:5.2f} mm ({100 * (mean / base - 1):+5.1f} %)")


if __name__ == "__main__":
    main()
