"""MICA's data in its real layout, tiny, and a training on it; as a script, its first step.

python tests/helpers/identity_training.py FOLDER OUT
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

SETS = {"LYHM": (3, 2), "STIRLING": (2, 3), "FLORENCE": (2, 3)}
"""People, and photos of each."""


def region_head():
    """The schematic head with the regions of FLAME's masks; the face holds an eyeball's vertex."""
    from helpers.identity_tiny import identity_head

    regions = {
        "face": range(60, 120),
        "left_eyeball": range(118, 130),
        "right_eyeball": range(130, 140),
        "left_ear": range(0, 8),
        "right_ear": range(8, 16),
    }
    arrays = {name: np.array(ids, np.int32) for name, ids in regions.items()}
    return dataclasses.replace(identity_head(), regions=arrays)


def write_tree(folder: Path) -> Path:
    """`mica/NAME/{arcface_input,FLAME_parameters}`, MICA's image lists, head and first weights.

    As MICA's generator and lists have them: expressive photos with one neutral fit, names of the
    lists' photos with .jpg, a second fit of each person that the lists do not name.
    """
    from helpers.identity_tiny import identity_network

    from flame_assets.model.head_io import save_head
    from mica_ext.identity.weights import save_identity_network

    rng = np.random.default_rng(4)
    lists = folder / "image_paths"
    lists.mkdir(parents=True)
    for name, (people, photos) in SETS.items():
        entries = {}
        for number in range(people):
            actor = f"{name[:2].lower()}_{number:03d}"
            crops = folder / "mica" / name / "arcface_input" / actor
            fits = folder / "mica" / name / "FLAME_parameters" / actor
            crops.mkdir(parents=True)
            fits.mkdir(parents=True)
            person = rng.uniform(-0.5, 0.5, (3, 8, 8)).repeat(14, 1).repeat(14, 2)
            for photo in range(photos):
                light = rng.uniform(0.7, 1.3)
                crop = np.clip(light * person + rng.normal(0, 0.1, person.shape), -1, 1)
                np.save(crops / f"{actor}_{photo}.npy", crop.astype(np.float32))
            betas = np.concatenate([rng.normal(0, 1, 300), rng.normal(0, 1, 100)])
            pose = rng.normal(0, 0.1, 15)
            np.savez(fits / f"{actor}_NE.npz", betas=betas, pose=pose, trans=np.zeros(3))
            paths = [f"{actor}/{actor}_{photo}.jpg" for photo in range(photos)]
            entries[actor] = (paths, f"{actor}/{actor}_NE.npz")
        np.save(lists / f"{name}.npy", np.array(entries, dtype=object), allow_pickle=True)
    save_head(region_head(), folder / "head")
    save_identity_network(
        identity_network(), folder / "init", name="start", licence="tests only", made_by="-"
    )
    return folder


def options(folder: Path, out: Path) -> dict:
    return {
        "root": folder / "mica",
        "out": out,
        "init": folder / "init",
        "lists": folder / "image_paths",
        "data_sets": ("lyhm", "stirling"),
        "head": str(folder / "head"),
        "steps": 2,
        "batch": 3,
        "learning_rate": 1e-3,
        "arcface_learning_rate": 1e-4,
        "device": "cpu",
        "workers": 0,
        "validate_every": 1,
    }


def run(folder: Path, out: Path, save_steps: int = 1, **changes) -> int:
    """`train-identity`'s training with a checkpoint after every so many steps."""
    from mica_ext.identity.config import IdentityTrainingConfig
    from mica_ext.identity.training import train as module
    from pacofr.engine.distributed import process_group
    from pacofr.engine.task import RunOptions
    from pacofr.engine.trainer import fit

    config = IdentityTrainingConfig(**(options(folder, out) | changes))
    trainer = dataclasses.replace(module.trainer_config(config), save_steps=save_steps)
    with process_group("cpu") as world:
        task = module.make_task(config, world)
        return fit(task, trainer, RunOptions(out=out, device="cpu"), world)


if __name__ == "__main__":
    import torch

    from mica_ext.errors import run_command

    torch.set_num_threads(1)
    folder, out = map(Path, sys.argv[1:])
    sys.exit(run_command(lambda: run(folder, out, save_steps=0, steps=1, validation=())))
