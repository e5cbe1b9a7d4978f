"""40 expressions of a real recording (Live Link Face), rendered on ICT heads and read back.

    python tests/bench/live_link.py [--model auto] [--fit full|none] [--head anthro]

The frames are those of the recording that differ most (farthest-point sampling from its mean),
each on another person, turned up to 20 degrees. Prints, for every ARKit weight that moves (standard
deviation .05 or more over the frames), Pearson's correlation and the slope of read over true.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.ict_head import ict_head
from helpers.rendered_ict import IctRenderer

from mica_ext.models.projection import project
from mica_ext.reconstruct import Reconstructor
from pacofr.faces.detect import Face, detect
from pacofr.faces.landmarks68 import five_points

DATA = Path(__file__).resolve().parents[3] / "shared/data"
FIRST_SEED = 970_000
FRAMES, MAX_YAW, LEAST_SD = 40, 20.0, 0.05


def recorded(path: Path, names: tuple[str, ...]) -> np.ndarray:
    """The recording's weights of these names [frames, names]."""
    with np.load(path) as content:
        columns = [str(name) for name in content["columns"]]
        weights = content["weights"].astype(np.float64)
    own = [name[0].lower() + name[1:] for name in columns]
    return weights[:, [own.index(name) for name in names]].clip(0, 1)


def farthest(weights: np.ndarray, count: int) -> np.ndarray:
    """Rows that differ most from each other, the first from the mean."""
    distance = np.linalg.norm(weights - weights.mean(0), axis=1)
    chosen = [int(distance.argmax())]
    distance = np.linalg.norm(weights - weights[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(weights - weights[chosen[-1]], axis=1))
    return weights[chosen]


def read_back(
    reconstructor: Reconstructor, renderer: IctRenderer, weights: np.ndarray
) -> tuple[np.ndarray, int]:
    """The product's weights of each frame, and how many faces the detector missed."""
    names, found, missed = renderer.faces.head.expression_names, [], 0
    for number, row in enumerate(weights):
        given = dict(zip(names, row.tolist(), strict=True))
        rendered = renderer.render(FIRST_SEED + number, max_yaw=MAX_YAW, weights=given)
        faces = detect(rendered.image)
        missed += not faces
        marks = project(rendered.camera, rendered.mesh.landmarks)[0].double().numpy()
        box = np.concatenate([marks.min(0), marks.max(0)])
        face = faces[0] if faces else Face(box, 0.0, five_points(marks))
        aligned = reconstructor.align(rendered.image, [face])
        shape = reconstructor.identity_of(aligned)
        found.append(reconstructor.estimator(aligned, shape).parameters.head.expression[0].numpy())
    return np.array(found), missed


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recording", type=Path, default=DATA / "arkit_livelink/arkit_frames.npz")
    parser.add_argument("--ict", type=Path, default=DATA / "ict_facekit/ict_facekit_light.npz")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--fit", default="full", choices=("full", "none"))
    parser.add_argument("--head", default="anthro", help="whose expressions have ARKit's names")
    options = parser.parse_args()
    torch.set_num_threads(1)
    renderer = IctRenderer(ict_head(options.ict))
    reconstructor = Reconstructor.load(options.model, head=options.head, fit=options.fit)
    names = renderer.faces.head.expression_names
    truth = farthest(recorded(options.recording, names), FRAMES)
    found, missed = read_back(reconstructor, renderer, truth)
    own = reconstructor.head.expression_names
    found = found[:, [own.index(name) for name in names]]
    rows = []
    for index, name in enumerate(names):
        a, b = truth[:, index], found[:, index]
        if a.std() < LEAST_SD:
            continue
        r = np.corrcoef(a, b)[0, 1] if b.std() > 0 else 0.0
        rows.append((name, r, np.polyfit(a, b, 1)[0], a.max()))
    for name, r, slope, largest in sorted(rows, key=lambda row: -row[1]):
        print(f"{name:22} r {r:5.2f}  slope {slope:5.2f}  largest {largest:.2f}")
    print(
        f"{len(rows)} weights that move, median r {np.median([row[1] for row in rows]):.2f}, "
        f"{sum(row[1] >= 0.5 for row in rows)} of them .5 or more; {FRAMES} frames, "
        f"{missed} faces that the detector missed"
    )


if __name__ == "__main__":
    main()
