"""How near fitted heads come to rendered people whose heads are known: ICT-FaceKit, or Anthro.

    python tests/bench/fit_rendered.py [--ict PATH] [--people 100] [--points student|face-mesh]
        [--head anthro] [--rendered ict|anthro]

100 people with identity coefficients N(0, 1), natural expressions and gaze, turned up to 40
degrees; then neutral people at yaws from 0 to 90 degrees, four each. Pictures of 512 pixels go
through the product: detection, points, fit; where the detector misses a painted face, its true five
points stand in. Seeds from 900,000 on are used for nothing else.

Errors are mean distances [mm] of the 51 inner iBUG landmarks at ICT's published vertices, after a
rigid or similarity alignment, beside those of the mean head: of the neutral head, and of the posed
one with its expression. ICT's landmarks follow another convention than the head's, whose part in
every figure is the same. Gaze: mean angle between true and fitted rotations of open eyes.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.ict_head import ict_head
from helpers.rendered_ict import IctRenderer, RenderedHead

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.models.pose import in_pose
from mica_ext.models.projection import project
from mica_ext.reconstruct import Reconstructor
from pacofr.faces.detect import Face, detect
from pacofr.faces.landmarks68 import five_points

DATA = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_facekit_light.npz"
FIRST_SEED = 900_000
FIRST_YAW_SEED = 950_000
YAWS = (0, 15, 30, 45, 60, 75, 90)
VIEWS_PER_YAW = 4
MAX_BLINK = 0.5
"""Eyes closed further have no gaze."""
INNER = slice(17, 68)


class HeadPoints(NamedTuple):
    """Landmarks [68,3] [m] of a head, and its eyes' rotations [2,3] [rad]."""

    neutral: np.ndarray
    posed: np.ndarray
    eyes: np.ndarray


class Fitted(NamedTuple):
    """A head, and whether the detector had found its face."""

    head: HeadParameters
    detected: bool


@torch.no_grad()
def head_points(decoder: HeadDecoder, parameters: HeadParameters) -> HeadPoints:
    """Neutral and posed landmarks of a head."""
    neutral, posed = (
        decoder(in_pose(parameters, pose)).landmarks[0].double().numpy()
        for pose in ("neutral", "posed")
    )
    eyes = torch.stack([parameters.left_eye_pose[0], parameters.right_eye_pose[0]])
    return HeadPoints(neutral, posed, eyes.numpy())


def distance_mm(points: np.ndarray, truth: np.ndarray, *, scaled: bool) -> float:
    """Mean distance of the inner landmarks after alignment (Umeyama 1991) [mm]."""
    a, b = points[INNER] - points[INNER].mean(0), truth[INNER] - truth[INNER].mean(0)
    u, s, v = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    scale = (s * signs).sum() / np.square(a).sum() if scaled else 1.0
    return 1000 * float(np.linalg.norm(scale * a @ (u * signs @ v).T - b, axis=1).mean())


def yaw_degrees(landmarks: np.ndarray) -> float:
    """Of the line of the outer eye corners, as seen from above."""
    across = landmarks[45] - landmarks[36]
    return float(np.degrees(np.arctan2(across[2], across[0])))


def fitted(reconstructor: Reconstructor, rendered: RenderedHead) -> Fitted:
    """The product's head of a picture."""
    faces = detect(rendered.image)
    truth = project(rendered.camera, rendered.mesh.landmarks)[0].double().numpy()
    box = np.concatenate([truth.min(0), truth.max(0)])
    face = faces[0] if faces else Face(box, 0.0, five_points(truth))
    aligned = reconstructor.align(rendered.image, [face])
    return Fitted(reconstructor.estimator(aligned).parameters.head, bool(faces))


def judge_people(renderer: IctRenderer, reconstructor: Reconstructor, count: int) -> None:
    """Print identity, expression and gaze errors."""
    mean_parameters = HeadParameters.zeros(reconstructor.head)
    mean = head_points(reconstructor.decoder, mean_parameters)
    rows, gaze, missing = [], [], 0
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        rendered = renderer.render(seed)
        truth = head_points(renderer.faces.decoder, rendered.parameters)
        head, detected = fitted(reconstructor, rendered)
        missing += not detected
        found = head_points(reconstructor.decoder, head)
        rows.append(
            [
                distance_mm(getattr(head, which), getattr(truth, which), scaled=scaled)
                for which in ("neutral", "posed")
                for scaled in (False, True)
                for head in (found, mean)
            ]
        )
        blinks = [
            index
            for index, name in enumerate(renderer.faces.head.expression_names)
            if name.startswith("eyeBlink")
        ]
        if float(rendered.parameters.expression[0, blinks].max()) < MAX_BLINK:
            gaze.append(np.degrees(np.linalg.norm(found.eyes - truth.eyes, axis=1)).mean())
    print(f"{count} people, {missing} that the detector missed")
    names = [f"{w}, {a}" for w in ("neutral", "posed") for a in ("rigid", "similarity")]
    for name, (fit, of_mean) in zip(names, np.mean(rows, 0).reshape(-1, 2), strict=True):
        gain = 100 * (1 - fit / of_mean)
        print(f"{name:20} {fit:5.2f} mm, mean head {of_mean:5.2f}: {gain:4.1f} % below")
    print(f"gaze {np.mean(gaze):4.1f} degrees over {len(gaze)} people with open eyes")


def judge_yaw(renderer: IctRenderer, reconstructor: Reconstructor) -> None:
    """Print errors of the yaw of each view."""
    for row, yaw in enumerate(YAWS):
        errors = []
        for view in range(VIEWS_PER_YAW):
            seed = FIRST_YAW_SEED + row * VIEWS_PER_YAW + view
            rendered = renderer.render(seed, yaw=yaw if view % 2 else -yaw, neutral=True)
            truth = head_points(renderer.faces.decoder, rendered.parameters)
            head, _ = fitted(reconstructor, rendered)
            found = yaw_degrees(head_points(reconstructor.decoder, head).posed)
            errors.append(abs((found - yaw_degrees(truth.posed) + 180) % 360 - 180))
        print(f"yaw {yaw:3}: errors " + "  ".join(f"{error:5.1f}" for error in errors))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ict", type=Path, default=DATA, help="ict_facekit_light.npz")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--points", default="student", choices=("student", "face-mesh"))
    parser.add_argument("--head", default="anthro", help="fitted: a name in the store or a folder")
    parser.add_argument("--rendered", default="ict", choices=("ict", "anthro"))
    parser.add_argument("--no-yaws", action="store_true", help="people only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shown = ict_head(options.ict) if options.rendered == "ict" else load_head("anthro")
    renderer = IctRenderer(shown)
    reconstructor = Reconstructor.load(head=options.head, points=options.points)
    judge_people(renderer, reconstructor, options.people)
    if not options.no_yaws:
        judge_yaw(renderer, reconstructor)


if __name__ == "__main__":
    main()
