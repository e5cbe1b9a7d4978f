"""Starting a pre-training from the weights of another one."""

import hashlib
import logging
from pathlib import Path

from pacofr.errors import UserError
from pacofr.models.published_model import model_folder
from pacofr.pretraining.method.model import PaCoFR, load_pretrained

LOGGER = logging.getLogger(__name__)


def initialize_from(model: PaCoFR, run: Path) -> None:
    """Take over the encoder of another run, and every other part whose tensors have equal shapes.

    So a run with three tokens at each position can start from one with a single token. What stays
    as it was is logged.

    Args:
        model: to change.
        run: the other run's folder or its `model/`.

    Raises:
        UserError: no such model, or an encoder of another size.
    """
    other = load_pretrained(run)
    if other.config.encoder != model.config.encoder:
        raise UserError(
            f"--init-from {run}: its encoder is another one ({other.config.encoder}), expected"
            f" {model.config.encoder}"
        )
    parts = dict(other.named_children())
    fresh = []
    for name, part in model.named_children():
        ours, theirs = part.state_dict(), parts[name].state_dict() if name in parts else {}
        shapes = {key: tensor.shape for key, tensor in ours.items()}
        if shapes == {key: tensor.shape for key, tensor in theirs.items()}:
            part.load_state_dict(theirs)
        else:
            fresh.append(name)
    if fresh:
        LOGGER.info("started anew, for %s has others: %s", run, ", ".join(fresh))


def weights_sha256(run: Path) -> str:
    """SHA-256 of the weights of a run.

    Raises:
        UserError: no such model.
    """
    file = model_folder(run) / "model.safetensors"
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error})") from error
