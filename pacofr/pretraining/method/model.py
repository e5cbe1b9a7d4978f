"""PaCo-FR: choose a token for every masked patch, encode all patches, decode the whole image.

    images [B, 3, H, W] in [0, 1] -> normalise, patchify -> patches [B, K, 3 p^2]
        patches -> belief predictor -> logits [B, K, n] -> chosen [B, K]
        patches, mask, codebook [K, n, 3 p^2], chosen -> restructured image (eq. 1)
            -> encoder: class token and all K patches -> decoder -> prediction [B, K, 3 p^2]

The paper's equations: 1 `codebook.restructure`, 2 `losses.mse_loss`, 3 `losses.perceptual_loss`,
4 `PaCoFR.candidate_pixels`, 5 `belief_labels.belief_labels`, 6 `losses.belief_cross_entropy`.

Gradients: the image losses reach encoder, decoder and the chosen tokens; the predictor is trained
by the cross-entropy alone, and only while `predictor_training` is true. A predictor that reads the
encoder's output (`PredictorConfig.reads`) chooses nothing, and its cross-entropy also trains the
encoder.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pacofr.engine.tensor_files import load_weights, require_matching_file
from pacofr.models.config import VitConfig
from pacofr.models.normalization import normalise
from pacofr.models.published_model import model_folder
from pacofr.models.vit import Block, VisionTransformer, init_linear, sincos_positions
from pacofr.pretraining.config import DecoderConfig, LossConfig, PaCoFRConfig, model_from_json
from pacofr.pretraining.method.belief_labels import belief_labels
from pacofr.pretraining.method.belief_predictor import BeliefPredictor
from pacofr.pretraining.method.codebook import Codebook, patchify, restructure, unpatchify
from pacofr.pretraining.method.losses import (
    LossTerms,
    belief_cross_entropy,
    combine,
    mcf_perceptual_loss,
    mse_loss,
    perceptual_loss,
    whole_map_perceptual_loss,
)
from pacofr.pretraining.method.masking import constant_positions
from pacofr.pretraining.method.perceptual_net import PerceptualNet


class Decoder(nn.Module):
    """Encoder tokens to patches of pixels: fixed positions, blocks, one linear layer."""

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
        """ImageNet-normalised patches; the class token is dropped."""
        hidden = self.embed(tokens) + self.positions
        for block in self.blocks:
            hidden = block(hidden)
        return self.to_pixels(self.norm(hidden))[:, 1:]


class PaCoFROutput(NamedTuple):
    """A forward pass over a batch; patches are ImageNet-normalised (`codebook.unpatchify`)."""

    prediction: Float[Tensor, "B K P"]
    """The reconstruction of the whole image, as patches."""
    target: Float[Tensor, "B K P"]
    """The image itself, as patches."""
    chosen: Int64[Tensor, "B K"]
    """The candidate chosen at every position; used at the masked ones."""
    mse: Float[Tensor, " B"]
    """Eq. 2 per image."""
    logits: Float[Tensor, "B K n"] | None
    """The predictor's output while it is trained, else None."""
    cross_entropy: Float[Tensor, " B"] | None
    """Eq. 6 per image while the predictor is trained, else None."""
    labels: Int64[Tensor, "B K"] | None = None
    """Eq. 5 while the predictor is trained, else None."""


class PaCoFR(nn.Module):
    """The network that pre-training trains; downstream tasks keep its `encoder`."""

    considered: Bool[Tensor, " K"]
    """False at positions left out of cross-entropy and usage (`PredictorConfig.skip_constant`)."""

    renamed_tensors: ClassVar[Mapping[str, str]] = {
        "predictor.enter.": "predictor.fc1.",
        "predictor.mix.": "predictor.fc2.",
        "predictor.leave.": "predictor.fc3.",
    }
    """Names in files of earlier versions."""

    def __init__(self, config: PaCoFRConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.codebook = Codebook(config.codebook, config.encoder)
        self.decoder = Decoder(config.decoder, config.encoder)
        selects = config.predictor.selection == "predictor"
        self.predictor = BeliefPredictor(config) if selects else None
        self.belief_is_target = selects and config.predictor.reads == "encoder"
        """The belief is predicted from the encoder's output and chooses no token."""
        constant = torch.from_numpy(constant_positions(config.encoder.grid))
        skipped = constant if config.predictor.skip_constant else torch.zeros_like(constant)
        self.register_buffer("considered", ~skipped, persistent=False)

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        mask: Bool[Tensor, "B K"],
        random_token: Int64[Tensor, "B K"],
        use_random: Bool[Tensor, "B K"],
        judged: Bool[Tensor, "B K"],
        predictor_training: bool = False,
        mse_over: Literal["image", "masked", "unhinted"] = "image",
    ) -> PaCoFROutput:
        """Reconstruct images.

        Args:
            images: RGB in [0, 1].
            mask: `masking.Masks.mask`.
            random_token: `masking.Masks.random_token`.
            use_random: `masking.Masks.use_random`.
            judged: `masking.Masks.judged`.
            predictor_training: also compute the labels of eq. 5 and the cross-entropy.
            mse_over: `LossConfig.mse_over`.
        """
        patches = patchify(normalise(images), self.config.encoder.patch_size)
        chosen, hinted = random_token, torch.zeros_like(mask)
        logits = labels = cross_entropy = None
        if self.predictor is not None and not self.belief_is_target:
            with torch.set_grad_enabled(predictor_training and torch.is_grad_enabled()):
                logits = self.predictor(patches, mask)
            hinted = mask & ~use_random
            chosen = torch.where(hinted, logits.detach().argmax(dim=-1), random_token)
        if predictor_training:
            labels = self.labels(patches, mask, judged, chosen)
        tokens = self.encode(restructure(patches, self.codebook(), chosen, mask))
        if self.predictor is not None and self.belief_is_target:
            logits = self.predictor(tokens[:, 1:], mask)
        if logits is not None and labels is not None:
            cross_entropy = belief_cross_entropy(logits, labels, judged & self.considered)
        prediction = self.decoder(tokens)
        over = {"image": None, "masked": mask, "unhinted": mask & ~hinted}[mse_over]
        mse = mse_loss(prediction, patches, over)
        trained = logits if predictor_training else None
        return PaCoFROutput(prediction, patches, chosen, mse, trained, cross_entropy, labels)

    def encode(self, patches: Float[Tensor, "B K P"]) -> Float[Tensor, "B T D"]:
        """Tokens of a restructured image, class token first."""
        return self.encoder(unpatchify(patches, self.config.encoder.patch_size))

    def reconstruct(self, patches: Float[Tensor, "B K P"]) -> Float[Tensor, "B K P"]:
        """F of eq. 4: encoder, then decoder."""
        return self.decoder(self.encode(patches))

    @torch.no_grad()
    def labels(
        self,
        patches: Float[Tensor, "B K P"],
        mask: Bool[Tensor, "B K"],
        judged: Bool[Tensor, "B K"],
        chosen: Int64[Tensor, "B K"],
    ) -> Int64[Tensor, "B K"]:
        """Eq. 5 for every position; it means something at the judged ones.

        Args:
            patches: of the image.
            mask: the masked positions.
            judged: the masked positions that take each candidate in turn (eq. 4).
            chosen: what the other masked positions keep meanwhile.
        """
        if self.config.predictor.candidates_from == "tokens":
            candidates = self.codebook().transpose(0, 1)[:, None]  # [n, 1, K, P]
        else:
            candidates = self.candidate_pixels(patches, mask, judged, chosen)
        return belief_labels(candidates, patches, self.config.predictor)

    def candidate_pixels(
        self,
        patches: Float[Tensor, "B K P"],
        mask: Bool[Tensor, "B K"],
        judged: Bool[Tensor, "B K"],
        chosen: Int64[Tensor, "B K"],
    ) -> Iterator[Float[Tensor, "B K P"]]:
        """Eq. 4: e_i^j = F(t_i^j), decoded from image j: token j at all judged positions."""
        tokens = self.codebook()
        for number in range(tokens.shape[1]):
            inputs = restructure(patches, tokens, torch.where(judged, number, chosen), mask)
            with torch.no_grad():
                decoded = self.reconstruct(inputs)
            yield decoded

    def freeze_predictor(self) -> None:
        """End the incubation stage: the predictor gets no gradient any more."""
        if self.predictor is not None:
            self.predictor.requires_grad_(False)
            for parameter in self.predictor.parameters():
                parameter.grad = None


_PERCEPTUAL_FORMS = {
    "cosine": perceptual_loss,
    "map": whole_map_perceptual_loss,
    "mcf": mcf_perceptual_loss,
}


def pretraining_loss(
    output: PaCoFROutput, perceptual: PerceptualNet | None, weights: LossConfig
) -> LossTerms:
    """All loss terms of a forward pass; without a perceptual network that term is 0."""
    term = None
    if perceptual is not None:
        patch = round((output.target.shape[-1] / 3) ** 0.5)
        with torch.no_grad():
            of_image = perceptual(unpatchify(output.target, patch))
        of_prediction = perceptual(unpatchify(output.prediction.float(), patch))
        term = _PERCEPTUAL_FORMS[weights.perceptual_form](of_image, of_prediction)
    return combine(output.mse, term, output.cross_entropy, weights)


def load_pretrained(run: Path) -> PaCoFR:
    """The whole network of a run, frozen; `run` is the run's folder or its `model/`.

    Raises:
        UserError: a file is missing, damaged or does not fit the other.
    """
    folder = model_folder(run)
    config, file = model_from_json(folder), folder / "model.safetensors"
    with torch.device("meta"):  # the file decides what is allocated, not the sizes in the config
        require_matching_file(PaCoFR(config), file)
    model = PaCoFR(config)
    load_weights(model, file)
    return model.requires_grad_(False).eval()
