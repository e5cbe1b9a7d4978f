"""The encoder of an expression network by itself, as a folder like those of `pacofr pretrain`."""

import dataclasses
import hashlib
from pathlib import Path

from safetensors.torch import save

from mica_ext.data.branch.card import TRAINING_CARD
from mica_ext.expression.weights import KIND, read_expression_config
from pacofr.models.published_model import MODEL_FORMAT, MODEL_VERSION
from pacofr.utils.files import write_atomic, write_json

PREFIX = "encoder.vit."


def export_expression_encoder(weights: Path, folder: Path) -> None:
    """Write `folder/model/`: config.json, model.safetensors and a card.

    Every command that takes a run of `pacofr pretrain` takes that folder, too.

    Args:
        weights: folder of an expression network.
        folder: to write to; made if need be.

    Raises:
        UserError: the network cannot be read, or is damaged (sha256).
    """
    about = read_expression_config(weights)
    tensors = KIND.read_tensors(weights, about.sha256)
    encoder = {
        f"encoder.{name.removeprefix(PREFIX)}": tensor.contiguous()
        for name, tensor in tensors.items()
        if name.startswith(PREFIX)
    }
    packed = save(encoder)
    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    tuned = f"tuned with the expression network {about.name}: {about.made_by}"
    content = {
        "format": MODEL_FORMAT,
        "version": MODEL_VERSION,
        "name": f"{about.name}-encoder",
        "licence": about.licence,
        "made_by": tuned,
        "sha256": hashlib.sha256(packed).hexdigest(),
        "model": {"encoder": dataclasses.asdict(about.encoder)},
    }
    write_atomic(model / "model.safetensors", packed)
    write_json(model / "config.json", content)
    lines = [
        f"# {about.name}-encoder",
        "",
        f"Face encoder, {about.encoder.depth} blocks of width {about.encoder.width}, for crops of"
        f" {about.encoder.image_size} px in patches of {about.encoder.patch_size}; {tuned}. It saw"
        f" the middle {about.branch.window} of 224 px of `pacofr`'s crops there.",
        "",
        f"Licence: {about.licence}",
        "",
        f"Score of the network that it is part of: {about.score}",
    ]
    card = weights / TRAINING_CARD
    if card.is_file():
        lines += ["", "## Data", "", card.read_text(encoding="utf-8").rstrip()]
    write_atomic(model / "README.md", ("\n".join(lines) + "\n").encode())
