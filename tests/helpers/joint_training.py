"""A small joint training of identity network and branch, as a function and as a script.

python joint_training.py TREE OUT STEPS SECONDS     # SECONDS: of sleep in every step
"""

import dataclasses
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.branch_folders import sample_folder
from helpers.expression_tiny import BRANCH
from helpers.identity_tiny import write_identity_pack
from helpers.identity_training import region_head
from helpers.task_trees import write_encoder

from flame_assets.model.head_io import save_head
from mica_ext.expression.config import Table8Config


def write_tree(root: Path) -> Path:
    """A pack with an identity network, its head, samples, and a pre-trained encoder."""
    write_identity_pack(root / "pack")
    save_head(region_head(), root / "head")
    sample_folder(root / "coma", region_head(), train=6, val=3, source="coma")
    sample_folder(root / "photos", region_head(), train=6, val=0, source="photos")
    points = root / "points"
    sample_folder(points, region_head(), train=6, val=0, source="photos", labelled=False)
    write_encoder(root / "encoder")
    return root


def config(tree: Path, out: Path, **changes) -> Table8Config:
    """Two steps, validation after each."""
    given = {
        "out": out, "identity": str(tree / "pack"), "head": str(tree / "head"),
        "encoder_weights": tree / "encoder", "data": (tree / "coma", tree / "photos"),
        "branch": BRANCH, "steps": 2, "batch": 6, "held_out": 2, "workers": 0, "rendered": 0.0,
        "validate_every": 1, "device": "cpu", "learning_rate": 0.01, "warm_up": 0,
        "ema_decay": 0.1,
    }  # fmt: skip
    return Table8Config(**(given | changes))


def run(tree: Path, out: Path, steps: int, seconds: float = 0.0) -> int:
    """The training on samples with and without labels in 3D, a checkpoint after every step."""
    from mica_ext.expression.training.train import trainer_config
    from mica_ext.joint.train import JointTraining, make_joint_task
    from pacofr.engine.distributed import process_group
    from pacofr.engine.task import RunOptions
    from pacofr.engine.trainer import fit

    class Slow(JointTraining):
        def loss(self, *given):
            time.sleep(seconds)
            return super().loss(*given)

    asked = config(tree, out, data=(tree / "coma", tree / "points"), steps=steps, validate_every=0)
    trainer = dataclasses.replace(trainer_config(asked), save_steps=1)
    with process_group("cpu") as world:
        task = make_joint_task(asked, tree / "pack" / "identity", world)
        task.__class__ = Slow
        return fit(task, trainer, RunOptions(out=out, device="cpu"), world)


if __name__ == "__main__":
    import torch

    from mica_ext.errors import run_command

    torch.set_num_threads(1)
    folder, out = map(Path, sys.argv[1:3])
    steps, seconds = int(sys.argv[3]), float(sys.argv[4])
    sys.exit(run_command(lambda: run(folder, out, steps, seconds)))
