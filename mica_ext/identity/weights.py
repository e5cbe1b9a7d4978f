"""Folders of identity weights: config.json and model.safetensors."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save

from mica_ext.errors import UserError
from mica_ext.identity.network import IdentityNetwork
from mica_ext.weights_folder import CONFIG, TENSORS, WeightsKind, not_of_network
from pacofr.utils.files import write_atomic, write_json

KIND = WeightsKind(
    "mica-ext identity",
    version=1,
    what="identity weights",
    again="update this package or import MICA again",
    max_bytes=512 << 20,
)
MAX_BLOCKS = 100
"""Of a stage: larger networks are refused before anything is allocated."""
MICA_LICENCE = (
    "MICA licence, non-commercial scientific research; https://github.com/Zielon/MICA (LICENSE)"
)

IMPORTED = "mica-ext import"
"""How `made_by` begins of MICA's own networks."""
JOINTLY = "mica-ext train jointly"
"""How it begins of networks that were trained together with an expression branch."""


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

    @property
    def is_mica(self) -> bool:
        """Whether these are MICA's own weights, unchanged."""
        return self.made_by.startswith(IMPORTED)

    @property
    def trained_jointly(self) -> bool:
        """Whether an expression branch was trained along, through the posed vertices."""
        return self.made_by.startswith(JOINTLY)


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
        KIND.format,
        KIND.version,
        name,
        licence,
        digest,
        network.layers,
        made_by,
        template,
        shape_basis,
    )
    write_atomic(folder / TENSORS, packed)
    write_json(folder / CONFIG, about._asdict())
    return about


def read_identity_config(folder: Path) -> IdentityWeights:
    """Read the config.json of a folder.

    Raises:
        UserError: unreadable, another format or version, or values that do not fit.
    """
    about = KIND.read_config(IdentityWeights, folder)
    if len(about.layers) != 4 or not all(0 < blocks <= MAX_BLOCKS for blocks in about.layers):
        raise UserError(
            f"{folder / CONFIG}: expected the blocks of 4 stages, got layers {about.layers}"
        )
    return about


def load_identity_network(folder: Path) -> IdentityNetwork:
    """The network with the weights of `folder`, in evaluation mode.

    Raises:
        UserError: unreadable, damaged (sha256), not finite, or tensors of another network.
    """
    about = read_identity_config(folder)
    tensors = KIND.read_tensors(folder, about.sha256)
    with torch.device("meta"):
        network = IdentityNetwork(about.layers)
    try:
        network.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise not_of_network(folder / TENSORS, error) from error
    return network.eval()
