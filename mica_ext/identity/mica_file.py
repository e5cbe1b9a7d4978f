"""MICA's checkpoint `mica.tar` and ArcFace's `backbone.pth`, read as data: nothing is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from flame_assets.inert.checkpoints import TorchFile
from flame_assets.inert.files import ReadError, shown
from flame_assets.inert.pickle_graph.tensors import TensorRef
from mica_ext.errors import UserError
from mica_ext.identity.iresnet import IResNet
from mica_ext.identity.network import SHAPE_COUNT, IdentityNetwork

EXPECTED = "expected MICA's mica.tar with `arcface` and `flameModel`"
ENTRIES = {"arcface": "", "flameModel": "regressor."}
"""Entries of the checkpoint and the prefix of those of their tensors that are read."""


class MicaFile(NamedTuple):
    """What is read of a checkpoint."""

    network: IdentityNetwork
    """In evaluation mode."""
    template: Shaped[np.ndarray, "V 3"] | None
    """FLAME's template [m] that the checkpoint was trained with, if it holds one."""
    shape_basis: Shaped[np.ndarray, "V 3 S"] | None
    """FLAME's identity modes, likewise."""


def read_mica(path: Path) -> MicaFile:
    """The identity network of a checkpoint that MICA's trainer wrote.

    Optimiser states are not read; of FLAME's buffers the template and the identity modes, to
    compare a head with them.

    Raises:
        UserError: the file cannot be read, lacks tensors, or holds some of other shapes.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; {EXPECTED}")
    try:
        with TorchFile(path) as file:
            content = file.content
            network = _network(path, file, content)
            generator = _entry(path, content, "flameModel")
            template = _array(file, generator.get("generator.v_template"))
            basis = _array(file, generator.get("generator.shapedirs"))
    except ReadError as error:
        raise UserError(f"{error}; {EXPECTED}") from error
    if basis is not None and (basis.ndim != 3 or basis.shape[2] < SHAPE_COUNT):
        raise UserError(f"{path}: generator.shapedirs has the shape {basis.shape}; {EXPECTED}")
    return MicaFile(network, template, None if basis is None else basis[..., :SHAPE_COUNT])


def read_arcface(path: Path) -> IResNet:
    """IResNet-100 of insightface's `arcface_torch` (backbone.pth: its state dict by itself).

    Raises:
        UserError: the file cannot be read, lacks tensors, or holds some of other shapes.
    """
    expected = "expected ArcFace's backbone.pth of IResNet-100"
    if not path.exists():
        raise UserError(f"{path}: no such file; {expected}")
    with torch.device("meta"):
        network = IResNet()
    try:
        with TorchFile(path) as file:
            held = _tensors_of(file.content)
            tensors = _fitting(path, file, held, network.state_dict(), expected)
    except ReadError as error:
        raise UserError(f"{error}; {expected}") from error
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def holds_mica(path: Path) -> bool:
    """Whether a checkpoint has the entry of MICA's mapping network; False for unreadable ones."""
    try:
        with TorchFile(path) as file:
            return isinstance(file.content, dict) and "flameModel" in file.content
    except (ReadError, OSError):
        return False


def _network(path: Path, file: TorchFile, content: Any) -> IdentityNetwork:
    with torch.device("meta"):  # nothing is allocated before the shapes are known to fit
        network = IdentityNetwork()
    held: dict[str, TensorRef | np.ndarray] = {}
    for entry, prefix in ENTRIES.items():
        place = "arcface." if entry == "arcface" else ""
        for name, value in _entry(path, content, entry).items():
            if name.startswith(prefix):
                held[place + name] = value
    tensors = _fitting(path, file, held, network.state_dict(), EXPECTED)
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def _fitting(
    path: Path,
    file: TorchFile,
    held: Mapping[str, TensorRef | np.ndarray],
    expected: Mapping[str, Tensor],
    what: str,
) -> dict[str, Tensor]:
    """The tensors of a file, which must be those of a network: names, shapes, finite values."""
    missing = [name for name in expected if name not in held]
    if missing:
        raise UserError(
            f"{path}: lacks {len(missing)} of the network's tensors, such as {missing[0]}; {what}"
        )
    if extra := sorted(held.keys() - expected.keys()):
        raise UserError(f"{path}: holds {shown(extra[0])}, which IResNet-100 has not; {what}")
    tensors: dict[str, Tensor] = {}
    for name, wanted in expected.items():
        shape = tuple(held[name].shape)
        if shape != tuple(wanted.shape):
            raise UserError(f"{path}: {name} has the shape {shape}, expected {tuple(wanted.shape)}")
        array = _array(file, held[name])
        assert array is not None
        tensors[name] = torch.from_numpy(array.copy()).to(wanted.dtype)
        if not bool(tensors[name].isfinite().all()):
            raise UserError(f"{path}: {name} holds NaN or infinity; get the file anew")
    return tensors


def _entry(path: Path, content: Any, name: str) -> Mapping[str, TensorRef | np.ndarray]:
    held = content.get(name) if isinstance(content, dict) else None
    if not isinstance(held, dict):
        found = ", ".join(sorted(map(shown, content))[:4]) if isinstance(content, dict) else ""
        raise UserError(f"{path}: lacks {name}, found {found or shown(content)}; {EXPECTED}")
    return _tensors_of(held)


def _tensors_of(held: Any) -> dict[str, TensorRef | np.ndarray]:
    """The tensors of a state dict by name, without DataParallel's prefix."""
    return {
        key.removeprefix("module."): value
        for key, value in (held.items() if isinstance(held, dict) else ())
        if isinstance(key, str) and isinstance(value, (TensorRef, np.ndarray))
    }


def _array(
    file: TorchFile, held: TensorRef | np.ndarray | None
) -> Shaped[np.ndarray, "..."] | None:
    return file.read(held) if isinstance(held, TensorRef) else held
