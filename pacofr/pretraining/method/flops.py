"""Floating-point operations of a pre-training step."""

from pacofr.models.config import VitConfig
from pacofr.pretraining.config import DecoderConfig, PaCoFRConfig


def gmac(vit: VitConfig, decoder: DecoderConfig) -> tuple[float, float]:
    """Multiply-adds of a forward pass of the encoder and of the decoder [1e9 per image]."""
    tokens = vit.patches + 1

    def blocks(width: int, depth: int, ratio: float = 4.0) -> float:
        return depth * (tokens * width**2 * (4 + 2 * ratio) + 2 * tokens**2 * width)

    encoder = (
        blocks(vit.width, vit.depth, vit.mlp_ratio) + vit.patches * vit.patch_values * vit.width
    )
    ends = tokens * decoder.width * (vit.width + vit.patch_values)
    return encoder / 1e9, (blocks(decoder.width, decoder.depth) + ends) / 1e9


def step_flop(model: PaCoFRConfig, perceptual: VitConfig | None, *, incubating: bool) -> float:
    """Operations of a step, per image.

    A backward pass counts as two forward ones; eq. 4 needs a forward pass for each candidate; the
    perceptual net is passed forward twice and backward once, to its input only.
    """
    encoder, decoder = gmac(model.encoder, model.decoder)
    decoded = incubating and model.predictor.candidates_from == "decoded"
    passes = 3 + (model.codebook.candidates if decoded else 0)
    compared = 0.0 if perceptual is None else 3 * gmac(perceptual, model.decoder)[0]
    return 2e9 * (passes * (encoder + decoder) + compared)
