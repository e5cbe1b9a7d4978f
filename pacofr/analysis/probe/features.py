"""Features of crops: the tapped tokens of a frozen encoder, or the pixels themselves."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pacofr.analysis.config import ProbeConfig
from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.models.encoders import FaceEncoder
from pacofr.models.normalization import normalise
from pacofr.pretraining.encoder_spec import load_encoder_spec
from pacofr.pretraining.method.codebook import patchify
from pacofr.pretraining.presets import preset
from pacofr.utils.progress import track


class NotFiniteFeaturesError(UserError):
    """The encoder's tokens are not finite: its training has diverged."""


class RawPixels(nn.Module):
    """The normalised pixels of every patch in the place of an encoder's tokens."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B T D"]]:
        """One "layer"; the class token is zero."""
        patches = patchify(normalise(images), self.config.patch_size)
        return [F.pad(patches, (0, 0, 1, 0))]


ProbedEncoder = FaceEncoder | RawPixels


def load_probed_encoder(spec: str) -> ProbedEncoder:
    """`load_encoder_spec`, and pixels:PRESET, the raw pixels at that preset's input size.

    Raises:
        UserError: as `load_encoder_spec`.
    """
    kind, _, name = spec.partition(":")
    if kind == "pixels" and name:
        return RawPixels(preset(name).model.encoder)
    return load_encoder_spec(spec)


@torch.no_grad()
def features(
    encoder: ProbedEncoder, images: UInt8[np.ndarray, "N S S 3"], config: ProbeConfig, what: str
) -> list[Float[Tensor, "N T D"]]:
    """All tokens of each tapped layer, class token first, on the encoder's device.

    Raises:
        NotFiniteFeaturesError: the encoder has diverged.
    """
    device = next(encoder.buffers(), torch.empty(0)).device
    starts = range(0, len(images), config.batch_size)
    parts = []
    for start in track(starts, f"encoding {what}"):
        batch = torch.from_numpy(images[start : start + config.batch_size]).to(device)
        taps = encoder(batch.permute(0, 3, 1, 2) / 255)
        parts.append([tokens.float() for tokens in taps])
    layers = [torch.cat(layer) for layer in zip(*parts, strict=True)]
    if not all(bool(layer.isfinite().all()) for layer in layers):
        raise NotFiniteFeaturesError("the encoder's features are not finite: it has diverged")
    return layers


def patch_features(layers: list[Float[Tensor, "N T _"]]) -> Float[Tensor, "N K D"]:
    """The taps side by side for every patch, without class tokens."""
    return torch.cat([layer[:, 1:] for layer in layers], dim=2)
