"""What the expression network adds to the fit where points are unsure: covered and turned heads.

    python tests/bench/hidden_faces.py --model PACK [--rendered ict|anthro] [--people 60]

Rendered people with expressions, turned up to 30 degrees: as they are, with painted sunglasses,
a mask, or a hand before the mouth; and turned by 45 to 80 degrees. Each picture is aligned once,
then fitted by points alone, fitted with the pack's expression network, and read by it alone.
Errors are mean distances [mm] of the 51 inner iBUG landmarks of the posed head after a rigid
alignment, as `fit_rendered.py` has them, with the conventions' part in all of them; beside them
those of the expression alone: on the true identity, so that nothing but the movement differs, where
the fitted head is the rendered one (--rendered anthro).
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.ict_head import ict_head
from helpers.occlusions import occlusions
from helpers.rendered_ict import IctRenderer, RenderedHead

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.estimator import FaceEstimator
from mica_ext.fitting.correspondence.calibration import load_calibration
from mica_ext.models.projection import project
from mica_ext.models.types import AlignedFace
from mica_ext.reconstruct import Reconstructor
from pacofr.faces.detect import Face, detect
from pacofr.faces.face_mesh.topology import LEFT_EYE_OUTER, OUTER_LIPS, RIGHT_EYE_OUTER
from pacofr.faces.landmarks68 import five_points

DATA = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_facekit_light.npz"
FIRST_SEED = 970_000
MAX_YAW, TURNED = 30.0, (45.0, 80.0)
PAINTED = ("sunglasses", "mask")
WAYS = ("points", "with network", "network alone")
INNER = slice(17, 68)
SKIN = (205, 160, 135)


class Case(NamedTuple):
    """A picture of a head."""

    name: str
    image: np.ndarray
    head: RenderedHead


def hand(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Four fingers from below over the mouth."""
    image = image.copy()
    unit = float(np.linalg.norm(points[LEFT_EYE_OUTER] - points[RIGHT_EYE_OUTER]))
    lips = points[OUTER_LIPS].mean(0)
    lean = rng.uniform(-0.3, 0.3)
    for finger in range(4):
        tip = lips + unit * np.array([0.22 * (finger - 1.5), -0.12 - 0.05 * (finger % 3)])
        base = tip + unit * np.array([lean, 1.2])
        ends = [tuple(int(v) for v in end) for end in (tip, base)]
        cv2.line(image, ends[0], ends[1], (150, 110, 90), round(0.235 * unit), cv2.LINE_AA)
        cv2.line(image, ends[0], ends[1], SKIN, round(0.2 * unit), cv2.LINE_AA)
    return image


def cases(renderer: IctRenderer, reconstructor: Reconstructor, people: int) -> Iterator[Case]:
    """All pictures."""
    for seed in range(FIRST_SEED, FIRST_SEED + people):
        rng = np.random.default_rng(seed)
        head = renderer.render(seed, max_yaw=MAX_YAW)
        points = aligned_face(reconstructor, head, head.image).points_px[0].double().numpy()
        yield Case("clean", head.image, head)
        for painted in occlusions(head.image, points, rng):
            if painted.name in PAINTED:
                yield Case(painted.name, painted.image, head)
        yield Case("hand", hand(head.image, points, rng), head)
        yaw = rng.uniform(*TURNED) * rng.choice([-1, 1])
        turned = renderer.render(seed, yaw=float(yaw))
        yield Case("turned", turned.image, turned)


def aligned_face(
    reconstructor: Reconstructor, head: RenderedHead, image: np.ndarray
) -> AlignedFace:
    """The detected face, or the true five points where the detector misses it."""
    faces = detect(image)
    truth = project(head.camera, head.mesh.landmarks)[0].double().numpy()
    box = np.concatenate([truth.min(0), truth.max(0)])
    face = faces[0] if faces else Face(box, 0.0, five_points(truth))
    return reconstructor.align(image, [face])


def distance_mm(points: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of the inner landmarks after a rigid alignment [mm]."""
    a, b = points[INNER] - points[INNER].mean(0), truth[INNER] - truth[INNER].mean(0)
    u, _, v = np.linalg.svd(b.T @ a)
    turn = u * np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
    return 1000 * float(np.linalg.norm(a @ turn.T - b, axis=1).mean())


@torch.no_grad()
def errors(
    decoder: HeadDecoder, found: HeadParameters, truth: RenderedHead, *, same_head: bool
) -> list[float]:
    """Of the posed head, and of its movement on the true identity."""
    wanted = truth.mesh.landmarks[0].double().numpy()
    heads = [found, found._replace(shape=truth.parameters.shape)] if same_head else [found]
    return [distance_mm(decoder(head).landmarks[0].double().numpy(), wanted) for head in heads]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="auto", help="pack with an expression network")
    parser.add_argument("--ict", type=Path, default=DATA, help="ict_facekit_light.npz")
    parser.add_argument("--rendered", default="ict", choices=("ict", "anthro"))
    parser.add_argument("--people", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    same = options.rendered == "anthro"
    renderer = IctRenderer(load_head("anthro") if same else ict_head(options.ict))
    whole = Reconstructor.load(options.model, head="anthro", points="student")
    predictor = whole.estimator.predictor
    if predictor is None:
        sys.exit(f"{options.model}: has no expression network for Anthro")
    calibration = load_calibration(whole.reader.calibration)
    estimators = [
        FaceEstimator(whole.decoder, calibration),
        whole.estimator,
        FaceEstimator(whole.decoder, calibration, predictor, "none"),
    ]
    rows: dict[str, list[list[list[float]]]] = {}
    for case in cases(renderer, whole, options.people):
        aligned = aligned_face(whole, case.head, case.image)
        heads = [estimator(aligned).parameters.head for estimator in estimators]
        rows.setdefault(case.name, []).append(
            [errors(whole.decoder, head, case.head, same_head=same) for head in heads]
        )
    for name, values in rows.items():
        means = np.mean(values, 0)
        for column, what in enumerate(("posed", "movement")[: means.shape[1]]):
            base = means[0, column]
            told = "  ".join(
                f"{way} {value:5.2f} ({100 * (value / base - 1):+5.1f} %)"
                for way, value in zip(WAYS, means[:, column], strict=True)
            )
            print(f"{name:10} {what:8} {told}")


if __name__ == "__main__":
    main()
