"""Folders of identity weights: config.json and model.safetensors."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from mica_ext.errors import UserError
from mica_ext.identity.network import IdentityNetwork
from pacofr.errors import UserError as ContentError
from pacofr.utils.bounded import read_bounded
from pacofr.utils.config_json import from_json, read_json
from pacofr.utils.files import write_atomic, write_json

FORMAT, VERSION = "mica-ext identity", 1
MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 1 << 20, 512 << 20
MAX_BLOCKS = 100
"""Of a stage: larger networks are refused before anything is allocated."""
MICA_LICENCE = (
    "MICA licence, non-commercial scientific research; https://github.com/Zielon/MICA (LICENSE)"
)


class IdentityWeights(NamedTuple):
    """Contents of config.json."""

    format: str
    version: int
    name: str
    licence: str
    sha256: str
    """Of model.safetensors."""
    layers: tuple[int, ...]
    """Blocks per stage of the IResNet."""
    made_by: str
    """The command, or the file that they were imported from."""
    template: float | None
    """`fingerprint.weighted_sum` of the template of the head that the coefficients belong to."""
    shape_basis: float | None
    """The same of its identity modes; None where the checkpoint does not hold them."""


def save_identity_network(
    network: IdentityNetwork,
    folder: Path,
    *,
    name: str,
    licence: str,
    made_by: str,
    template: float | None = None,
    shape_basis: float | None = None,
) -> IdentityWeights:
    """Write config.json and model.safetensors (float32: the weights stay as they are)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    packed = save(tensors)
    digest = hashlib.sha256(packed).hexdigest()
    about = IdentityWeights(
        FORMAT,
        VERSION,
        name,
        licence,
        digest,
        network.layers,
        made_by,
        template,
        shape_basis,
    )
    write_atomic(folder / "model.safetensors", packed)
    write_json(folder / "config.json", about._asdict())
    return about


def read_identity_config(folder: Path) -> IdentityWeights:
    """Read the config.json of a folder.

    Raises:
        UserError: unreadable, another format or version, or values that do not fit.
    """
    path = folder / "config.json"
    try:
        content = read_json(path, "the config of identity weights", max_bytes=MAX_CONFIG_BYTES)
        found = isinstance(content, dict) and (content.get("format"), content.get("version"))
        if found and found != (FORMAT, VERSION):
            raise UserError(
                f"{path}: expected {FORMAT} version {VERSION}, found {found[0]} version {found[1]}:"
                " update this package or import MICA again"
            )
        about = from_json(IdentityWeights, content, f"{path}: not the config of identity weights")
    except ContentError as error:
        raise UserError(str(error)) from error
    if len(about.layers) != 4 or not all(0 < blocks <= MAX_BLOCKS for blocks in about.layers):
        raise UserError(f"{path}: expected the blocks of 4 stages, got layers {about.layers}")
    return about


def load_identity_network(folder: Path) -> IdentityNetwork:
    """The network with the weights of `folder`, in evaluation mode.

    Raises:
        UserError: unreadable, damaged (sha256), not finite, or tensors of another network.
    """
    about = read_identity_config(folder)
    path = folder / "model.safetensors"
    try:
        packed = read_bounded(path, MAX_WEIGHTS_BYTES)
    except (OSError, ContentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}): import MICA again") from error
    if hashlib.sha256(packed).hexdigest() != about.sha256:
        raise UserError(
            f"{path} is damaged: its sha256 is not its config.json's; import MICA again"
        )
    with torch.device("meta"):
        network = IdentityNetwork(about.layers)
    try:
        tensors = load(packed)
        network.load_state_dict(tensors, strict=True, assign=True)
    except (SafetensorError, RuntimeError) as error:
        lines = str(error).splitlines()
        raise UserError(
            f"{path}: expected weights of this network ({lines[-1].strip()})"
        ) from error
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {key} holds NaN or infinity; import MICA again")
    return network.eval()
