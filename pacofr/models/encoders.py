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

import argparse
import dataclasses
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pacofr.errors import UserError
from pacofr.models.vit import VisionTransformer, resize_positions, scaled_layers
from pacofr.pretraining.codebook import IMAGENET_MEAN, IMAGENET_STD
from pacofr.pretraining.config import VitConfig
from pacofr.pretraining.config_json import model_from_json

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
TAPS = (2, 4, 8, 12)
"""The layers that the paper feeds to task heads, for 12 blocks."""

_BASE = VitConfig(positions="learned")  # ViT-B/16; the table in the file is the one that counts
_CLIP = dataclasses.replace(_BASE, layer_norm_eps=1e-5, activation="quick_gelu", clip_layout=True)


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
        vit = VisionTransformer(dataclasses.replace(_BASE, positions="sincos"))
    elif name not in READERS:
        raise UserError(f"unknown encoder {name!r}: use one of {', '.join(READERS)}, scratch")
    elif weights is None:
        raise UserError(f"encoder {name} needs its weights file: give {_WANTED[name]}")
    else:
        vit = READERS[name](Path(weights))
    if resolution is not None and resolution != vit.config.image_size:
        vit = at_resolution(vit, resolution)
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


def read_farl(file: Path) -> VisionTransformer:
    """FaRL (CLIP's names under visual.)."""
    tensors = _under(_read_torch(file, "state_dict", "farl"), "visual.")
    renamed = {_from_clip(key): value for key, value in tensors.items()}
    for key, shape in (("cls_token", (1, 1, -1)), ("pos_embed", (1, 197, -1))):
        if key in renamed:
            renamed[key] = renamed[key].reshape(shape)
    return _filled(_CLIP, renamed, file, "farl")


def read_mae(file: Path) -> VisionTransformer:
    """MAE: timm's names."""
    return _filled(_BASE, _read_torch(file, "model", "mae"), file, "mae")


def read_moco(file: Path) -> VisionTransformer:
    """MoCo-v3: the base encoder without its projection head."""
    tensors = _read_torch(file, "state_dict", "moco-v3")
    return _filled(_BASE, _under(tensors, "base_encoder."), file, "moco-v3")


def read_mcf(file: Path) -> VisionTransformer:
    """MCF: the online encoder without its projector (layout inferred from its training code)."""
    tensors = _under(_read_torch(file, "model", "mcf"), "online_encoder.")
    return _filled(_BASE, tensors, file, "mcf")


def read_published_encoder(run: Path | str) -> VisionTransformer:
    """The encoder of a model folder that `pacofr pretrain` wrote."""
    folder = model_folder(Path(run))
    config = model_from_json(folder).encoder
    file = folder / "model.safetensors"
    try:
        with safe_open(file, framework="pt") as opened:
            names = [name for name in opened.keys() if name.startswith("encoder.")]  # noqa: SIM118
            tensors = {name.removeprefix("encoder."): opened.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file}: expected the weights of a pre-trained model, got: {error}"
        ) from error
    return _filled(config, tensors, file, "pacofr")


def model_folder(run: Path) -> Path:
    """The folder with config.json and model.safetensors: `run`, `run/model` or `run/last/model`."""
    for folder in (run, run / "model", run / "last" / "model"):
        if (folder / "config.json").is_file():
            return folder
    raise UserError(
        f"{run}: expected a run of `pacofr pretrain` or its model/ folder, found no config.json"
    )


READERS: Mapping[str, Callable[[Path], VisionTransformer]] = {
    "pacofr": read_published_encoder,
    "farl": read_farl,
    "mae": read_mae,
    "moco-v3": read_moco,
    "mcf": read_mcf,
}
"""How to read each encoder's file."""

_WANTED: Mapping[str, str] = {
    "pacofr": "the folder of a `pacofr pretrain` run",
    "farl": "FaRL-Base-Patch16-LAIONFace20M-ep16.pth",
    "mae": "mae_pretrain_vit_base.pth",
    "moco-v3": "vit-b-300ep.pth.tar",
    "mcf": "MCF's pre-trained ViT-B/16 checkpoint",
}

_SIGNS: Mapping[str, str] = {
    "visual.class_embedding": "farl",
    "base_encoder.cls_token": "moco-v3",
    "online_encoder.cls_token": "mcf",
    "cls_token": "mae",
}


def _read_torch(file: Path, entry: str, name: str) -> dict[str, Tensor]:
    """The tensors under `entry` of a torch file, without the prefix that DDP adds."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # MAE and MCF save their flags
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; {name} needs {_WANTED[name]}") from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{file}: expected {_WANTED[name]}, got a file torch cannot read: {reason}"
        ) from error
    tensors = content.get(entry) if isinstance(content, dict) else None
    if not isinstance(tensors, dict):
        held = (
            sorted(map(str, content))[:4] if isinstance(content, dict) else type(content).__name__
        )
        raise UserError(f"{file}: expected {_WANTED[name]} with an entry {entry!r}, got {held}")
    return {
        key.removeprefix("module."): value
        for key, value in tensors.items()
        if isinstance(value, Tensor)
    }


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return inside or dict(tensors)


def _filled(
    config: VitConfig, tensors: Mapping[str, Tensor], file: Path, name: str
) -> VisionTransformer:
    """A transformer with these tensors; left-over ones are skipped, missing ones named."""
    with torch.device("meta"):  # every tensor comes from the file: none is drawn at random first
        vit = VisionTransformer(config)
    expected = vit.state_dict()
    missing = [key for key in expected if key not in tensors]
    if missing:
        other = next((n for key, n in _SIGNS.items() if key in tensors and n != name), None)
        hint = f"; it looks like {other}" if other else ""
        shown = ", ".join(missing[:6]) + (
            f" and {len(missing) - 6} more" if len(missing) > 6 else ""
        )
        raise UserError(f"{file}: not a {name} encoder{hint}, it lacks {shown}")
    for key, tensor in expected.items():
        if tensors[key].shape != tensor.shape:
            raise UserError(
                f"{file}: {name} needs {key} of shape {tuple(tensor.shape)}, got "
                f"{tuple(tensors[key].shape)}: another model size"
            )
    vit.load_state_dict({key: tensors[key].float() for key in expected}, assign=True)
    return vit


_CLIP_NAMES = (
    ("class_embedding", "cls_token"),
    ("positional_embedding", "pos_embed"),
    ("conv1.", "patch_embed.proj."),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    ("transformer.resblocks.", "blocks."),
)
_CLIP_BLOCK_NAMES = (
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)


def _from_clip(key: str) -> str:
    """CLIP's name of a tensor, without visual., to timm's."""
    for clip, timm in _CLIP_NAMES:
        if key.startswith(clip):
            key = timm + key.removeprefix(clip)
            break
    if key.startswith("blocks."):
        for clip, timm in _CLIP_BLOCK_NAMES:
            key = key.replace(clip, timm)
    return key
