"""A training of the landmark network of six steps on made-up faces, also as a script to kill.

python tests/helpers/landmark_training.py OUT [--pause-after STEPS]
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from mica_ext.landmarks.config import LandmarkTrainingConfig


def plain_faces(count, seed=0):
    """Grey ovals with dark eyes and mouth; 478 points on an ellipsoid, a few of them marked."""
    from mica_ext.landmarks.distillation.face_store import LabelledFace, make_store

    rng = np.random.default_rng(seed)
    layout = np.random.default_rng(7)
    across, down = layout.uniform(-0.9, 0.9, 478), layout.uniform(-0.9, 0.9, 478)
    for points, at in (
        ([33, 263], [(-0.6, -0.3), (0.6, -0.3)]),
        ([133, 362], [(-0.2, -0.3), (0.2, -0.3)]),
        ([61, 291, 0, 17], [(-0.3, 0.5), (0.3, 0.5), (0, 0.45), (0, 0.55)]),
    ):
        across[points], down[points] = np.array(at).T
    round_ = np.sqrt(np.maximum(1 - across**2 / 2 - down**2 / 2, 0))
    faces = []
    for _ in range(count):
        picture = np.full((160, 160, 3), int(rng.integers(60, 200)), np.uint8)
        middle, size = rng.uniform(76, 84, 2), rng.uniform(40, 50)
        points = np.stack([middle[0] + size * across, middle[1] + size * down, -size * round_], 1)
        cv2.circle(picture, [round(v) for v in middle], round(size), (210, 180, 170), -1)
        for spot in points[[33, 133, 362, 263, 61, 291]]:
            cv2.circle(picture, [round(v) for v in spot[:2]], 4, (20, 20, 40), -1)
        eyes = (points[[33, 263]] + points[[133, 362]]) / 2
        five = np.concatenate([eyes, points[[0]], points[[61, 291]]])[:, :2]
        five[2] = five.mean(0)
        faces.append(LabelledFace(picture, points, five, np.ones(478, bool)))
    return make_store(faces)


def small(out: Path, **changes) -> LandmarkTrainingConfig:
    """Two steps of each stage; a checkpoint after each second step."""
    options = {
        "photos": (Path("photos"),),
        "out": out,
        "whole_steps": 2,
        "parts_steps": 2,
        "confidence_steps": 2,
        "batch": 8,
        "holdout": 2,
        "heads": 2,
        "validate_every": 2,
    }
    return LandmarkTrainingConfig(**(options | changes))


def train(config: LandmarkTrainingConfig, pause_after: int | None = None) -> int:
    """What `mica-ext train-landmarks` does once the faces are there."""
    import dataclasses

    from mica_ext.landmarks.distillation.data import split_faces
    from mica_ext.landmarks.distillation.train import LandmarkTraining, trainer_config
    from pacofr.engine.distributed import process_group
    from pacofr.engine.task import RunOptions
    from pacofr.engine.trainer import fit

    class Pausing(LandmarkTraining):
        def learning_rate(self, step):
            if step == pause_after:
                time.sleep(600)
            return super().learning_rate(step)

    faces = split_faces(plain_faces(8), plain_faces(3, seed=1), config.holdout, config.seed)
    trainer = dataclasses.replace(trainer_config(config), save_steps=2)
    with process_group("cpu") as world:
        task = Pausing(config, faces, world)
        return fit(task, trainer, RunOptions(out=config.out, device="cpu", keep=3), world)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--pause-after", type=int)
    given = parser.parse_args()

    import torch

    from mica_ext.errors import run_command

    torch.set_num_threads(1)
    return run_command(lambda: train(small(given.out), given.pause_after))


if __name__ == "__main__":
    sys.exit(main())
