"""PaCo-FR: choose a token for every masked patch, encode all patches, decode the whole image.

    images [B, 3, H, W] in [0, 1] -> normalise, patchify -> patches [B, K, 3 p^2]
        patches -> belief predictor -> logits [B, K, n] -> chosen [B, K]
        patches, mask, codebook [K, n, 3 p^2], chosen -> restructured image (eq. 1)
            -> encoder: class token and all K patches -> decoder -> prediction [B, K, 3 p^2]

Gradients: the image losses reach encoder, decoder and the tokens that were chosen; the predictor is
reached by the cross-entropy alone, and only while `incubating` is true.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pacofr.engine.checkpoint import load_weights
from pacofr.models.encoders import model_folder
from pacofr.models.vit import Block, VisionTransformer, init_linear, sincos_positions
from pacofr.pretraining.belief_predictor import BeliefPredictor
from pacofr.pretraining.codebook import Codebook, normalise, patchify, restructure, unpatchify
from pacofr.pretraining.config import DecoderConfig, LossConfig, PaCoFRConfig, VitConfig
from pacofr.pretraining.config_json import model_from_json
from pacofr.pretraining.losses import (
    LossTerms,
    belief_cross_entropy,
    belief_labels,
    combine,
    mcf_perceptual_loss,
    mse_loss,
    perceptual_loss,
)
from pacofr.pretraining.perceptual import PerceptualNet


class Decoder(nn.Module):
    """Encoder tokens to patches of pixels: fixed positions, some blocks, one linear layer."""

    def __init__(self, config: DecoderConfig, encoder: VitConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(encoder.width, config.width)
        self.register_buffer(
            "positions", sincos_positions(config.width, encoder.grid), persistent=False
        )
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, 4.0, encoder.layer_norm_eps)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=encoder.layer_norm_eps)
        self.to_pixels = nn.Linear(config.width, encoder.patch_values)
        self.apply(init_linear)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B K P"]:
        """Patches, the class token dropped."""
        hidden = self.embed(tokens) + self.positions
        for block in self.blocks:
            hidden = block(hidden)
        return self.to_pixels(self.norm(hidden))[:, 1:]


class PaCoFROutput(NamedTuple):
    """One pass over a batch; patches are ImageNet-normalised, see `codebook.unpatchify`."""

    prediction: Float[Tensor, "B K P"]
    """The reconstruction of the whole image, as patches."""
    target: Float[Tensor, "B K P"]
    """The image itself, as patches."""
    chosen: Int64[Tensor, "B K"]
    """The candidate in use at every position (it matters where masked)."""
    mse: Float[Tensor, " B"]
    """Eq. 2 per image."""
    logits: Float[Tensor, "B K n"] | None
    """The predictor's output while it learns, else None."""
    cross_entropy: Float[Tensor, " B"] | None
    """Eq. 6 per image while the predictor learns, else None."""


class PaCoFR(nn.Module):
    """The network that pre-training trains; `encoder` is what downstream tasks keep."""

    def __init__(self, config: PaCoFRConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.codebook = Codebook(config.codebook, config.encoder)
        self.decoder = Decoder(config.decoder, config.encoder)
        chooses = config.predictor.selection == "predictor"
        self.predictor = BeliefPredictor(config) if chooses else None

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        mask: Bool[Tensor, "B K"],
        candidate: Int64[Tensor, "B K"],
        drop: Bool[Tensor, "B K"],
        incubating: bool = False,
    ) -> PaCoFROutput:
        """Reconstruct images in [0, 1]; `mask`, `candidate` and `drop` are `masking.draw`'s.

        `incubating` (config.predictor_trains) adds the n passes of eq. 4 and the cross-entropy.
        """
        patches = patchify(normalise(images), self.config.encoder.patch_size)
        logits = cross_entropy = None
        if self.predictor is None:
            chosen = candidate
        elif incubating:
            logits = self.predictor(patches)
            labels = belief_labels(self.candidate_pixels(patches, mask), patches)
            cross_entropy = belief_cross_entropy(logits, labels, mask)
            chosen = torch.where(drop, candidate, logits.detach().argmax(dim=-1))
        else:
            with torch.no_grad():
                chosen = self.predictor(patches).argmax(dim=-1)
        prediction = self.reconstruct(restructure(patches, self.codebook(), chosen, mask))
        mse = mse_loss(prediction, patches)
        return PaCoFROutput(prediction, patches, chosen, mse, logits, cross_entropy)

    def reconstruct(self, patches: Float[Tensor, "B K P"]) -> Float[Tensor, "B K P"]:
        """F of eq. 4: encoder, then decoder."""
        return self.decoder(self.encoder(unpatchify(patches, self.config.encoder.patch_size)))

    @torch.no_grad()
    def candidate_pixels(
        self, patches: Float[Tensor, "B K P"], mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "n B K P"]:
        """Eq. 4: e_i^j = F(t_i^j), decoded from image j: token j at all masked positions."""
        tokens = self.codebook()
        found = []
        for number in range(tokens.shape[1]):
            chosen = torch.full(mask.shape, number, dtype=torch.int64, device=mask.device)
            found.append(self.reconstruct(restructure(patches, tokens, chosen, mask)))
        return torch.stack(found)

    def freeze_predictor(self) -> None:
        """End of the incubation stage: the predictor takes no gradient any more."""
        if self.predictor is not None:
            self.predictor.requires_grad_(False)
            for parameter in self.predictor.parameters():
                parameter.grad = None


def pretraining_loss(
    output: PaCoFROutput, perceptual: PerceptualNet | None, weights: LossConfig
) -> LossTerms:
    """All loss terms of a pass; `perceptual` is None where the perceptual net is none."""
    term = None
    if perceptual is not None:
        patch = round((output.target.shape[-1] / 3) ** 0.5)
        with torch.no_grad():
            of_image = perceptual(unpatchify(output.target, patch))
        of_prediction = perceptual(unpatchify(output.prediction.float(), patch))
        form = perceptual_loss if weights.perceptual_form == "cosine" else mcf_perceptual_loss
        term = form(of_image, of_prediction)
    return combine(output.mse, term, output.cross_entropy, weights)


def load_pretrained(run: Path) -> PaCoFR:
    """The whole network of a run, for pictures; `run` is the run's folder or its `model/`."""
    folder = model_folder(run)
    model = PaCoFR(model_from_json(folder))
    load_weights(model, folder / "model.safetensors")
    return model.requires_grad_(False).eval()
