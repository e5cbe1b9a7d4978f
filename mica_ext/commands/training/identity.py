"""`mica-ext train-identity`: a training whose folder is a model pack in the end."""

import os

from mica_ext.commands.packs import write_pack_files
from mica_ext.identity.config import IdentityTrainingConfig
from mica_ext.identity.training.train import train
from mica_ext.landmarks.student.weights import read_landmark_config

MODEL = "model"


def train_identity(config: IdentityTrainingConfig) -> int:
    """Train, then make a pack of the run's folder and say how to use it; the training's exit code.

    Raises:
        UserError: see `training.train.train`.
    """
    code = train(config)
    if code == 0 and os.environ.get("RANK", "0") == "0":
        write_pack_files(
            config.out,
            name=config.out.resolve().name,
            head=config.head,
            licence=f"{config.licence}; {read_landmark_config().licence}",
            identity=config.out / MODEL,
        )
        print(f"{config.out}\nnext: reconstruct photo.jpg --out mesh.obj --model {config.out}")
    return code
