"""`mica-ext train`: the expression branch alone, beside a kept identity network, or jointly."""

import os
import shutil
from pathlib import Path

from flame_assets.files import write_folder
from flame_assets.store import load_head
from mica_ext.commands.packs import IDENTITY, write_pack_files
from mica_ext.errors import UserError
from mica_ext.expression.config import ExpressionTrainingConfig
from mica_ext.expression.training import train as branch
from mica_ext.identity.predictor import require_own_head
from mica_ext.identity.weights import load_identity_network, read_identity_config
from mica_ext.joint import train as joint
from mica_ext.landmarks.student.weights import read_landmark_config
from mica_ext.models.pack import load_pack
from mica_ext.weights_folder import CONFIG

MODEL = "model"


def train_expression(config: ExpressionTrainingConfig) -> int:
    """Train; where an identity network is named, the run's folder is a pack with both in the end.

    Returns:
        The training's exit code.

    Raises:
        UserError: the networks, the head, the data or the run's folder cannot be used.
    """
    if config.identity is None:
        return branch.train(config)
    start = identity_folder(config.identity)
    if config.joint:
        code = joint.train_jointly(config, start)
    else:
        _require_head(config, start)
        code = branch.train(config)
    if code == 0 and os.environ.get("RANK", "0") == "0":
        _make_pack(config, start)
    return code


def identity_folder(name_or_folder: str) -> Path:
    """The folder of the identity network that `--identity` names: a pack's, or the folder itself.

    Raises:
        UserError: there is none.
    """
    folder = Path(name_or_folder)
    if (folder / CONFIG).is_file():
        return folder
    try:
        pack = load_pack(name_or_folder)
    except UserError as error:
        raise UserError(
            f"--identity {name_or_folder}: {error}; `mica-ext import PATH/mica.tar` makes MICA's"
        ) from error
    if pack.identity is None:
        raise UserError(
            f"--identity {name_or_folder}: expected a pack with an identity network, the pack "
            f"{pack.name} has none; make one with `mica-ext import mica.tar`"
        )
    return pack.identity


def _require_head(config: ExpressionTrainingConfig, start: Path) -> None:
    """Refuse an identity network that cannot be used with the head, before anything is trained."""
    load_identity_network(start)
    about = read_identity_config(start)
    require_own_head(about.name, about.template, about.shape_basis, load_head(config.head))


def _make_pack(config: ExpressionTrainingConfig, start: Path) -> None:
    """Make a pack of the run's folder, and say how to use it."""
    model = config.out / MODEL
    if config.joint:
        identity, expression = model / joint.IDENTITY, model / joint.EXPRESSION
    else:
        identity, expression = config.out / IDENTITY, model
        write_folder(identity, lambda folder: _copy(start, folder))
    kept = read_identity_config(identity).licence
    licences = (kept, config.licence, read_landmark_config().licence)
    write_pack_files(
        config.out,
        name=config.out.resolve().name,
        head=config.head,
        licence="; ".join(dict.fromkeys(licences)),
        identity=identity,
        expression=expression,
    )
    print(f"{config.out}\nnext: reconstruct photo.jpg --out mesh.obj --model {config.out}")


def _copy(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder, dirs_exist_ok=True)
