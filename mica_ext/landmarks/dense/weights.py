"""Folders of dense landmark weights: config.json and model.safetensors."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from mica_ext.errors import UserError
from mica_ext.landmarks.dense.network import DenseLandmarkNetwork
from pacofr.utils.files import write_atomic, write_json

FORMAT, VERSION = "mica-ext landmarks478", 1
NAME = "landmarks478"
LICENCE = (
    "research only: learned on photos of LFW and Helen from Face Mesh V2's points (Apache-2.0); "
    "code Apache-2.0"
)
SHIPPED = Path(__file__).parents[2] / "weights" / NAME


class DenseWeights(NamedTuple):
    """Contents of config.json."""

    format: str
    version: int
    name: str
    licence: str
    sha256: str
    """Of model.safetensors."""
    teacher: str
    command: str
    """That trains these weights."""
    seed: int
    score: str
    """Measured figures, as text."""


def save_dense_network(
    network: DenseLandmarkNetwork, folder: Path, *, command: str, seed: int, score: str
) -> DenseWeights:
    """Write config.json and model.safetensors (float16), each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: value.half().contiguous()
        for key, value in network.state_dict().items()
        if value.is_floating_point()
    }
    packed = save(tensors)
    about = DenseWeights(
        format=FORMAT,
        version=VERSION,
        name=NAME,
        licence=LICENCE,
        sha256=hashlib.sha256(packed).hexdigest(),
        teacher="Face Mesh V2, face_landmarker.task float16/1",
        command=command,
        seed=seed,
        score=score,
    )
    write_atomic(folder / "model.safetensors", packed)
    write_json(folder / "config.json", about._asdict())
    return about


def read_dense_config(folder: Path | None = None) -> DenseWeights:
    """Read the config.json of `folder` (None: the shipped weights).

    Raises:
        UserError: unreadable, another format or version, or keys and types that do not fit.
    """
    path = (folder or SHIPPED) / "config.json"
    try:
        about = DenseWeights(**json.loads(path.read_text()))
        for name, kind in get_type_hints(DenseWeights).items():
            if type(getattr(about, name)) is not kind:
                raise ValueError(f"{name}: expected {kind.__name__}")
    except OSError as error:
        raise UserError(
            f"{path}: expected landmark weights, cannot read them ({error.strerror}): give the "
            "folder `model` of a run of `mica-ext train-landmarks`, or reinstall"
        ) from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: expected the config of landmark weights ({error})") from error
    if (about.format, about.version) != (FORMAT, VERSION):
        raise UserError(
            f"{path}: expected {FORMAT} version {VERSION}, found {about.format} version "
            f"{about.version}: train again with `mica-ext train-landmarks`"
        )
    return about


def load_dense_network(folder: Path | None = None) -> DenseLandmarkNetwork:
    """The network with the weights of `folder` (None: the shipped ones), in evaluation mode.

    Raises:
        UserError: unreadable, damaged (sha256), or tensors of another network.
    """
    about = read_dense_config(folder)
    path = (folder or SHIPPED) / "model.safetensors"
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): reinstall") from error
    digest = hashlib.sha256(packed).hexdigest()
    if digest != about.sha256:
        raise UserError(
            f"{path}: expected sha256 {about.sha256[:12]}... of its config.json, found "
            f"{digest[:12]}...: the file is damaged or not its own, reinstall or copy both again"
        )
    network = DenseLandmarkNetwork()
    wanted = {key for key, value in network.state_dict().items() if value.is_floating_point()}
    try:
        tensors = {key: value.float() for key, value in load(packed).items()}
        if tensors.keys() != wanted:
            odd = sorted(tensors.keys() ^ wanted)
            raise UserError(f"{path}: expected this network's tensors, differing in {odd[0]}")
        network.load_state_dict(tensors, strict=False)  # all but the batch counters
    except (SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: expected weights of this network ({first})") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()
