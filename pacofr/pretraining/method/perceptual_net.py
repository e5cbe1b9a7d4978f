"""The frozen network whose features the perceptual loss compares (eq. 3)."""

import hashlib

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pacofr.errors import UserError
from pacofr.models.pretrained_files import read_moco, read_published_encoder
from pacofr.models.vit import VisionTransformer, scaled_layers
from pacofr.pretraining.config import LossConfig


class PerceptualNet(nn.Module):
    """A frozen encoder that returns the features of some layers.

    Args:
        encoder: any vision transformer.
        layers: blocks to compare, counted from 1 for 12 blocks and scaled for shallower encoders.
    """

    def __init__(self, encoder: VisionTransformer, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.layers = scaled_layers(layers, encoder.config.depth)

    def store_products_in(self, dtype: torch.dtype) -> None:
        """Store the weights of matrix products in the format that autocast would cast them to."""
        for module in self.encoder.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.to(dtype)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names and values of the weights, wherever their file is."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B T D"]]:
        """ImageNet-normalised images to raw block outputs, class token included.

        Images of another size are scaled to the encoder's own.
        """
        size = self.encoder.config.image_size
        if images.shape[-1] != size:
            images = F.interpolate(
                images, size=(size, size), mode="bilinear", align_corners=False, antialias=True
            )
        return self.encoder.taps(images, self.layers)


def load_perceptual(config: LossConfig) -> PerceptualNet | None:
    """The perceptual network that the config asks for, or None.

    Raises:
        UserError: an unknown name, or weights that are missing or of another model.
    """
    name = config.perceptual_net
    if name == "none":
        return None
    if name.startswith("self:"):
        return PerceptualNet(
            read_published_encoder(name.removeprefix("self:")), config.perceptual_layers
        )
    if name == "moco-v3":
        if config.perceptual_weights is None:
            raise UserError(
                "the moco-v3 perceptual net needs its weights: --loss.perceptual-weights "
                "vit-b-300ep.pth.tar (or --loss.perceptual-net none)"
            )
        return PerceptualNet(read_moco(config.perceptual_weights), config.perceptual_layers)
    raise UserError(f"unknown perceptual net {name!r}: use moco-v3, self:RUN or none")
