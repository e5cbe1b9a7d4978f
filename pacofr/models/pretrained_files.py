"""Readers of the encoder files that their authors publish, by name (see `encoders`)."""

import argparse
import dataclasses
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.models.published_model import model_folder, read_encoder_config
from pacofr.models.vit import VisionTransformer

_BASE = VitConfig(positions="learned")  # ViT-B/16; the table in the file is the one that counts
_CLIP = dataclasses.replace(_BASE, layer_norm_eps=1e-5, activation="quick_gelu", clip_layout=True)


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
    config = read_encoder_config(folder)
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


READERS: Mapping[str, Callable[[Path], VisionTransformer]] = {
    "pacofr": read_published_encoder,
    "farl": read_farl,
    "mae": read_mae,
    "moco-v3": read_moco,
    "mcf": read_mcf,
}
"""How to read each encoder's file."""

EXPECTED_FILES: Mapping[str, str] = {
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
        raise UserError(f"{file}: no such file; {name} needs {EXPECTED_FILES[name]}") from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{file}: expected {EXPECTED_FILES[name]}, got a file torch cannot read: {reason}"
        ) from error
    tensors = content.get(entry) if isinstance(content, dict) else None
    if not isinstance(tensors, dict):
        held = (
            sorted(map(str, content))[:4] if isinstance(content, dict) else type(content).__name__
        )
        raise UserError(
            f"{file}: expected {EXPECTED_FILES[name]} with an entry {entry!r}, got {held}"
        )
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
