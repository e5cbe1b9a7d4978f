"""Readers of the encoder files that their authors publish, by name (see `encoders`).

Checkpoints of other people are read by `flame_assets.inert`, which executes nothing and bounds what
it reads; only the tensors of the encoder are read at all.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from flame_assets.inert.checkpoints import TorchFile
from flame_assets.inert.files import ReadError
from flame_assets.inert.pickle_graph.tensors import TensorRef
from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.models.published_model import model_folder, read_encoder_config
from pacofr.models.vit import VisionTransformer

_BASE = VitConfig(positions="learned")  # ViT-B/16; the table in the file is the one that counts
_CLIP = dataclasses.replace(_BASE, layer_norm_eps=1e-5, activation="quick_gelu", clip_layout=True)

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
"""A tensor's name by which an encoder's file is recognised."""

_WRAPPERS = frozenset({"module", "_orig_mod"})
"""Parts of names that DistributedDataParallel and torch.compile add."""


class TensorSource(NamedTuple):
    """The tensors of a file: their shapes, known at once, and how to read one."""

    file: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]

    def renamed(self, rename: Callable[[str], str | None]) -> "TensorSource":
        """The same tensors under other names; those renamed to None are left out."""
        old = {new: name for name in self.shapes if (new := rename(name)) is not None}
        shapes = {new: self.shapes[name] for new, name in old.items()}
        return TensorSource(self.file, shapes, lambda name: self.read(old[name]))


def read_farl(file: Path) -> VisionTransformer:
    """FaRL (CLIP's names under visual.)."""
    with open_checkpoint(file, "state_dict", "farl") as source:
        inside = _below(source, "visual.").renamed(_from_clip)
        return _load_vit(_CLIP, inside, "farl", source)


def read_mae(file: Path) -> VisionTransformer:
    """MAE (timm's names)."""
    with open_checkpoint(file, "model", "mae") as source:
        return _load_vit(_BASE, source, "mae", source)


def read_moco(file: Path) -> VisionTransformer:
    """MoCo-v3: the base encoder without its projection head."""
    with open_checkpoint(file, "state_dict", "moco-v3") as source:
        return _load_vit(_BASE, _below(source, "base_encoder."), "moco-v3", source)


def read_mcf(file: Path) -> VisionTransformer:
    """MCF: the online encoder without its projector (layout inferred from its training code)."""
    with open_checkpoint(file, "model", "mcf") as source:
        return _load_vit(_BASE, _below(source, "online_encoder."), "mcf", source)


def read_published_encoder(run: Path | str) -> VisionTransformer:
    """The encoder of a model folder that `pacofr pretrain` wrote.

    Raises:
        UserError: a file is missing, damaged or does not fit the other.
    """
    folder = model_folder(Path(run))
    config, file = read_encoder_config(folder), folder / "model.safetensors"
    if not file.is_file():
        raise UserError(f"{file}: expected the weights of a pre-trained model, found no such file")
    try:
        with safe_open(file, framework="pt") as opened:
            names = opened.keys()  # noqa: SIM118
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in names}
            source = TensorSource(file, shapes, opened.get_tensor)
            return _load_vit(config, _below(source, "encoder."), "pacofr", source)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file}: expected the weights of a pre-trained model, got: {error}"
        ) from error


READERS: Mapping[str, Callable[[Path], VisionTransformer]] = {
    "pacofr": read_published_encoder,
    "farl": read_farl,
    "mae": read_mae,
    "moco-v3": read_moco,
    "mcf": read_mcf,
}
"""How to read each encoder's file."""


@contextlib.contextmanager
def open_checkpoint(file: Path, entry: str, name: str) -> Iterator[TensorSource]:
    """The tensors under `entry` of a PyTorch checkpoint, by their names without wrappers.

    Raises:
        UserError: the file is missing or is no checkpoint with such an entry.
    """
    if not file.exists():
        raise UserError(f"{file}: no such file; {name} needs {EXPECTED_FILES[name]}")
    try:
        with TorchFile(file) as checkpoint:
            content = checkpoint.content
            held = content.get(entry) if isinstance(content, dict) else None
            if not isinstance(held, dict):
                raise UserError(
                    f"{file}: expected {EXPECTED_FILES[name]} with an entry {entry!r}, got"
                    f" {_described(content)}"
                )
            tensors = {
                _unwrapped(key): value
                for key, value in held.items()
                if isinstance(key, str) and isinstance(value, (TensorRef, np.ndarray))
            }
            shapes = {key: tuple(value.shape) for key, value in tensors.items()}
            yield TensorSource(file, shapes, lambda key: _to_torch(checkpoint, tensors[key]))
    except ReadError as error:
        raise UserError(f"{error}; expected {EXPECTED_FILES[name]}") from error


def _to_torch(checkpoint: TorchFile, held: TensorRef | np.ndarray) -> Tensor:
    array = checkpoint.read(held) if isinstance(held, TensorRef) else held
    if array.dtype.kind == "c":
        raise ReadError("holds complex numbers", checkpoint.path)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        return torch.from_numpy(array.astype(np.float32))  # a copy: arrays may be read-only


def _described(content: Any) -> str:
    if isinstance(content, dict):
        return str(sorted(map(str, content))[:4])
    return type(content).__name__


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _below(source: TensorSource, prefix: str) -> TensorSource:
    """The tensors whose names start with `prefix`, without it; all where none does."""
    if not any(name.startswith(prefix) for name in source.shapes):
        return source
    return source.renamed(lambda name: name[len(prefix) :] if name.startswith(prefix) else None)


def _load_vit(
    config: VitConfig, source: TensorSource, name: str, whole: TensorSource
) -> VisionTransformer:
    """A transformer with a file's tensors; further ones are skipped.

    Args:
        config: its size.
        source: tensors by timm's names.
        name: of the encoder.
        whole: all of the file, to recognise another encoder's.

    Raises:
        UserError: tensors are missing, of another shape, or hold numbers that are not finite.
    """
    with torch.device("meta"):  # nothing is allocated before the file's shapes are known to fit
        vit = VisionTransformer(config)
    expected = vit.state_dict()
    for key, tensor in expected.items():
        wanted = tuple(tensor.shape)
        shape = source.shapes.get(key, wanted)
        if shape != wanted and (1,) * (len(wanted) - len(shape)) + shape != wanted:
            raise UserError(
                f"{source.file}: {name} needs {key} of shape {wanted}, got {shape}: another model"
                " size"
            )
    missing = [key for key in expected if key not in source.shapes]
    if missing:
        found = [n for key, n in _SIGNS.items() if key in whole.shapes and n != name]
        hint = f"; it looks like {found[0]}" if found else ""
        more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
        raise UserError(
            f"{source.file}: not a {name} encoder{hint}, it lacks {', '.join(missing[:6])}{more}"
        )
    tensors = {}
    for key, tensor in expected.items():
        tensors[key] = source.read(key).float().reshape(tensor.shape)
        if not bool(tensors[key].isfinite().all()):
            raise UserError(f"{source.file}: {key} holds numbers that are not finite")
    vit.load_state_dict(tensors, assign=True)
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
