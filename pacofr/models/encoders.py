"""Face encoders for downstream tasks, from the files their authors publish.

`load_encoder` gives every one of them the same interface: images in [0, 1] in, the raw outputs of a
few blocks out. Each normalises as it was trained. Left-overs in a file (text towers, momentum
encoders, decoders, projectors) are skipped; a missing tensor is an error that names it.

| name    | file                                    | inside                                     |
|---------|-----------------------------------------|--------------------------------------------|
| pacofr  | RUN or RUN/model of `pacofr pretrain`   | config.json, model.safetensors             |
| farl    | FaRL-Base-Patch16-LAIONFace20M-ep16.pth | state_dict / visual.* (CLIP names)         |
| mae     | mae_pretrain_vit_base.pth               | model / timm names                         |
| moco-v3 | vit-b-300ep.pth.tar                     | state_dict / module.base_encoder.*         |
| mcf     | MCF's checkpoint                        | model / online_encoder.*                   |
| scratch | none                                    | random weights, the baseline without faces |
"""

import dataclasses
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.models.normalization import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from pacofr.models.pretrained_files import EXPECTED_FILES, READERS
from pacofr.models.vit import VisionTransformer, resize_positions, scaled_layers

TAPS = (2, 4, 8, 12)
"""The layers that the paper feeds to task heads, for 12 blocks."""


class FaceEncoder(nn.Module):
    """A vision transformer behind its own normalisation, at one resolution."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        vit: VisionTransformer,
        layers: tuple[int, ...],
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.vit = vit
        self.layers = layers
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def config(self) -> VitConfig:
        """Sizes: `config.image_size`, `config.grid`, `config.width`."""
        return self.vit.config

    def prepare(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 S S"]:
        """Scale to the encoder's resolution (bilinear, no antialias, as FaRL) and normalise."""
        size = self.config.image_size
        if tuple(images.shape[-2:]) != (size, size):
            images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
        return (images - self.mean) / self.std

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B T D"]]:
        """Images in [0, 1] to raw tokens of the tapped layers: class token first, no final norm."""
        return self.vit.taps(self.prepare(images), self.layers)

    def maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B D g g"]]:
        """`forward` without class tokens, as feature maps."""
        grid = self.config.grid
        return [tokens[:, 1:].transpose(1, 2).unflatten(2, (grid, grid)) for tokens in self(images)]


def load_encoder(
    name: str,
    weights: Path | str | None = None,
    resolution: int | None = None,
    layers: tuple[int, ...] = TAPS,
) -> FaceEncoder:
    """An encoder by name; `resolution` None is the one it was trained at (224, `micro` 112).

    `layers` count from 1 for 12 blocks and are scaled for shallower encoders.
    """
    if name == "scratch":
        vit = VisionTransformer(VitConfig())
    elif name not in READERS:
        raise UserError(f"unknown encoder {name!r}: use one of {', '.join(READERS)}, scratch")
    elif weights is None:
        raise UserError(f"encoder {name} needs its weights file: give {EXPECTED_FILES[name]}")
    else:
        vit = READERS[name](Path(weights))
    if resolution is not None and resolution != vit.config.image_size:
        vit = at_resolution(vit, resolution)
    return face_encoder(vit, layers)


def face_encoder(vit: VisionTransformer, layers: tuple[int, ...] = TAPS) -> FaceEncoder:
    """A transformer behind the normalisation it was trained with.

    `layers` count from 1 for 12 blocks and are scaled for shallower encoders.
    """
    mean, std = (CLIP_MEAN, CLIP_STD) if vit.config.clip_layout else (IMAGENET_MEAN, IMAGENET_STD)
    return FaceEncoder(vit, scaled_layers(layers, vit.config.depth), mean, std)


def at_resolution(vit: VisionTransformer, resolution: int) -> VisionTransformer:
    """The same weights for another input size, the position table resized."""
    if resolution % vit.config.patch_size:
        raise UserError(
            f"resolution {resolution} must be a multiple of the patch size {vit.config.patch_size}"
        )
    config = dataclasses.replace(vit.config, image_size=resolution)
    with torch.device("meta"):
        resized = VisionTransformer(config)
    state = vit.state_dict()
    state["pos_embed"] = resize_positions(state["pos_embed"], config.grid)
    resized.load_state_dict(state, assign=True)
    return resized
