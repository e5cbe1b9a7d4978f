"""Folders of expression weights: config.json, and model.safetensors with encoder and branch."""

import dataclasses
import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save

from flame_assets.model.fingerprint import TOLERANCE, weighted_sum
from flame_assets.model.head import HeadModel
from mica_ext.errors import UserError
from mica_ext.expression.config import BranchConfig
from mica_ext.expression.network import ExpressionNetwork
from mica_ext.weights_folder import CONFIG, TENSORS, WeightsKind, not_of_network
from pacofr.models.config import VitConfig
from pacofr.models.vit import VisionTransformer
from pacofr.utils.files import write_atomic, write_json


def _without_identity(content: dict) -> dict:
    """The config of version 2, whose branches read no identity."""
    branch = content.get("branch")
    known = {**branch, "identity": False} if isinstance(branch, dict) else branch
    return {**content, "branch": known, "shape_basis": None}


KIND = WeightsKind(
    "mica-ext expression",
    version=3,
    what="expression weights",
    again="train again with `mica-ext train`, or get the pack anew",
    max_bytes=2048 << 20,
    upgrades={2: _without_identity},
)


class ExpressionWeights(NamedTuple):
    """Contents of config.json."""

    format: str
    version: int
    name: str
    licence: str
    sha256: str
    """Of model.safetensors."""
    encoder: VitConfig
    branch: BranchConfig
    expression_count: int
    head: str
    """Name and version of the head whose expressions are read."""
    expression_basis: float
    """`fingerprint.weighted_sum` of its expression modes."""
    shape_basis: float | None
    """The same of its identity modes, where the branch reads identity."""
    made_by: str
    """The command."""
    score: str
    """Measured figures, as text."""


def save_expression_network(
    network: ExpressionNetwork,
    folder: Path,
    head: HeadModel,
    *,
    name: str,
    licence: str,
    made_by: str,
    score: str,
    half: bool = True,
) -> ExpressionWeights:
    """Write config.json and model.safetensors (float16, or float32 without `half`)."""
    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if half else torch.float32
    state = network.state_dict()
    packed = save(
        {key: value.detach().cpu().to(dtype).contiguous() for key, value in state.items()}
    )
    about = ExpressionWeights(
        format=KIND.format,
        version=KIND.version,
        name=name,
        licence=licence,
        sha256=hashlib.sha256(packed).hexdigest(),
        encoder=network.encoder.config,
        branch=network.branch.config,
        expression_count=head.expression_count,
        head=f"{head.name} {head.version}",
        expression_basis=weighted_sum(head.expression_basis),
        shape_basis=weighted_sum(head.shape_basis) if network.branch.config.identity else None,
        made_by=made_by,
        score=score,
    )
    write_atomic(folder / TENSORS, packed)
    sizes = {key: dataclasses.asdict(getattr(about, key)) for key in ("encoder", "branch")}
    write_json(folder / CONFIG, about._asdict() | sizes)
    return about


def read_expression_config(folder: Path) -> ExpressionWeights:
    """Read the config.json of a folder.

    Raises:
        UserError: unreadable, another format or version, or values that do not fit.
    """
    return KIND.read_config(ExpressionWeights, folder)


def require_head(about: ExpressionWeights, folder: Path, head: HeadModel) -> None:
    """Refuse weights for other expressions, or identities that are read, than the head's.

    Raises:
        UserError: they are.
    """
    same = about.expression_count == head.expression_count
    if same:
        same = abs(weighted_sum(head.expression_basis) - about.expression_basis) <= TOLERANCE
    if same and about.shape_basis is not None:
        same = abs(weighted_sum(head.shape_basis) - about.shape_basis) <= TOLERANCE
    if not same:
        raise UserError(
            f"{folder}: reads the expressions of {about.head}, got the head {head.name} "
            f"{head.version}: give that head, or a pack for this one"
        )


def load_expression_network(folder: Path, head: HeadModel) -> ExpressionNetwork:
    """The network with the weights of `folder`, for inference on `head`, in float32.

    Raises:
        UserError: unreadable, damaged (sha256), not finite, of another network or another head.
    """
    about = read_expression_config(folder)
    network = ExpressionNetwork(
        VisionTransformer(about.encoder),
        about.branch,
        about.expression_count,
        shape_count=head.shape_count,
    )
    read_weights(network, folder, head)
    return network.requires_grad_(False).eval()


def read_weights(network: ExpressionNetwork, folder: Path, head: HeadModel) -> None:
    """Put the weights of `folder` into a network for `head`.

    Raises:
        UserError: unreadable, damaged (sha256), not finite, of another network or another head.
    """
    about = read_expression_config(folder)
    require_head(about, folder, head)
    tensors = KIND.read_tensors(folder, about.sha256)
    try:
        network.load_state_dict({key: value.float() for key, value in tensors.items()})
    except RuntimeError as error:
        raise not_of_network(folder / TENSORS, error) from error
