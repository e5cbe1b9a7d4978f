"""Folders of expression weights: config.json, and model.safetensors with encoder and branch."""

import dataclasses
import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from flame_assets.model.fingerprint import TOLERANCE, weighted_sum
from flame_assets.model.head import HeadModel
from mica_ext.errors import UserError
from mica_ext.expression.config import BranchConfig
from mica_ext.expression.network import ExpressionNetwork
from pacofr.errors import UserError as ContentError
from pacofr.models.config import VitConfig
from pacofr.models.vit import VisionTransformer
from pacofr.utils.bounded import read_bounded
from pacofr.utils.config_json import from_json, read_json
from pacofr.utils.files import write_atomic, write_json

FORMAT, VERSION = "mica-ext expression", 1
MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 1 << 20, 2048 << 20
AGAIN = "train again with `mica-ext train`, or get the pack anew"


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
        format=FORMAT,
        version=VERSION,
        name=name,
        licence=licence,
        sha256=hashlib.sha256(packed).hexdigest(),
        encoder=network.encoder.config,
        branch=network.branch.config,
        expression_count=head.expression_count,
        head=f"{head.name} {head.version}",
        expression_basis=weighted_sum(head.expression_basis),
        made_by=made_by,
        score=score,
    )
    write_atomic(folder / "model.safetensors", packed)
    sizes = {key: dataclasses.asdict(getattr(about, key)) for key in ("encoder", "branch")}
    write_json(folder / "config.json", about._asdict() | sizes)
    return about


def read_expression_config(folder: Path) -> ExpressionWeights:
    """Read the config.json of a folder.

    Raises:
        UserError: unreadable, another format or version, or values that do not fit.
    """
    path = folder / "config.json"
    try:
        content = read_json(path, "the config of expression weights", max_bytes=MAX_CONFIG_BYTES)
        found = isinstance(content, dict) and (content.get("format"), content.get("version"))
        if found and found != (FORMAT, VERSION):
            raise UserError(
                f"{path}: expected {FORMAT} version {VERSION}, found {found[0]} version {found[1]}:"
                f" {AGAIN}"
            )
        return from_json(
            ExpressionWeights, content, f"{path}: not the config of expression weights"
        )
    except ContentError as error:
        raise UserError(str(error)) from error


def load_expression_network(folder: Path, head: HeadModel) -> ExpressionNetwork:
    """The network with the weights of `folder`, for inference on `head`, in float32.

    Raises:
        UserError: unreadable, damaged (sha256), not finite, of another network or another head.
    """
    about = read_expression_config(folder)
    same = about.expression_count == head.expression_count
    if same:
        same = abs(weighted_sum(head.expression_basis) - about.expression_basis) <= TOLERANCE
    if not same:
        raise UserError(
            f"{folder}: reads the expressions of {about.head}, got the head {head.name} "
            f"{head.version}: give that head, or a pack for this one"
        )
    path = folder / "model.safetensors"
    try:
        packed = read_bounded(path, MAX_WEIGHTS_BYTES)
    except (OSError, ContentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}): {AGAIN}") from error
    if hashlib.sha256(packed).hexdigest() != about.sha256:
        raise UserError(f"{path} is damaged: its sha256 is not its config.json's; {AGAIN}")
    vit = VisionTransformer(about.encoder)
    network = ExpressionNetwork(vit, about.branch, about.expression_count)
    try:
        tensors = {key: value.float() for key, value in load(packed).items()}
        network.load_state_dict(tensors, strict=True)
    except (SafetensorError, RuntimeError) as error:
        last = str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: expected weights of this network ({last})") from error
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {key} holds NaN or infinity; {AGAIN}")
    return network.requires_grad_(False).eval()
