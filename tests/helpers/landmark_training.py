"""A training of the landmark network of six steps, as a script for tests that kill it.

python tests/helpers/landmark_training.py PHOTOS OUT [--pause-after STEPS]
"""

import argparse
import sys
import time
from pathlib import Path

from mica_ext.landmarks.config import LandmarkTrainingConfig


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pause-after", type=int)
    given = parser.parse_args()

    import torch

    from mica_ext.errors import run_command
    from mica_ext.landmarks.annotated_photos import read_labelled
    from mica_ext.landmarks.train import LandmarkTraining, trainer_config
    from pacofr.engine.distributed import process_group
    from pacofr.engine.task import RunOptions
    from pacofr.engine.trainer import fit

    class Pausing(LandmarkTraining):
        def learning_rate(self, step):
            if step == given.pause_after:
                time.sleep(600)
            return super().learning_rate(step)

    config = LandmarkTrainingConfig(
        helen=given.photos,
        out=given.out,
        photo_epochs=7,
        mixed_steps=2,
        batch=8,
        holdout=1,
        save_every=2,
        heads=2,
    )
    photos = [photo for _, photo in read_labelled(given.photos)]
    torch.set_num_threads(1)

    def train() -> int:
        with process_group("cpu") as world:
            task = Pausing(config, photos, world)
            options = RunOptions(out=given.out, device="cpu")
            return fit(task, trainer_config(config), options, world)

    return run_command(train)


if __name__ == "__main__":
    sys.exit(main())
