"""Encoders as the command line names them."""

from pathlib import Path

import torch

from pacofr.errors import UserError
from pacofr.models.encoders import TAPS, FaceEncoder, load_encoder
from pacofr.models.pretrained_files import READERS
from pacofr.models.vit import VisionTransformer, scaled_layers
from pacofr.pretraining.presets import PRESETS


def load_encoder_spec(spec: str, resolution: int | None = None) -> FaceEncoder:
    """Load an encoder by one word: RUN, NAME:FILE (farl, mae, moco-v3, mcf) or scratch:PRESET.

    Args:
        spec: that word; `scratch` alone is a ViT-B/16 with random weights.
        resolution: side of its input [px]; None is the one it was trained at.

    Raises:
        UserError: an unknown preset, or a file that cannot be used.
    """
    name, _, rest = spec.partition(":")
    if name == "scratch" and rest:
        if rest not in PRESETS:
            raise UserError(f"{spec}: expected scratch:PRESET with one of {', '.join(PRESETS)}")
        torch.manual_seed(0)
        vit = VisionTransformer(PRESETS[rest]().model.encoder)
        return FaceEncoder(vit, scaled_layers(TAPS, vit.config.depth))
    if name in READERS and rest:
        return load_encoder(name, rest, resolution)
    if name == "scratch":
        return load_encoder(name, None, resolution)
    return load_encoder("pacofr", spec, resolution)


def without_folders(spec: str) -> str:
    """The word with an absolute path reduced to its last two parts, for files that travel."""
    name, colon, rest = spec.rpartition(":")
    path = Path(rest)
    return name + colon + "/".join(path.parts[-2:]) if path.is_absolute() else spec
