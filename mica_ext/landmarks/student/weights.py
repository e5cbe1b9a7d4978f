"""Folders of dense landmark weights: config.json and model.safetensors."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save

from mica_ext.errors import UserError
from mica_ext.landmarks.student.network import LandmarkNetwork, fuse_batch_norms
from mica_ext.weights_folder import CONFIG, TENSORS, WeightsKind, not_of_network
from pacofr.utils.files import write_atomic, write_json

NAME = "landmarks478"
KIND = WeightsKind(
    f"mica-ext {NAME}",
    version=1,
    what="landmark weights",
    again="train again with `mica-ext train-landmarks`, or reinstall",
    max_bytes=256 << 20,
)
SHIPPED = Path(__file__).parents[2] / "weights" / NAME


class LandmarkWeights(NamedTuple):
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


def save_landmark_network(
    network: LandmarkNetwork, folder: Path, *, licence: str, command: str, seed: int, score: str
) -> LandmarkWeights:
    """Write config.json and model.safetensors (float16), each atomically.

    `licence` is that of the weights; the other texts say how they were made and how good they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: value.half().contiguous()
        for key, value in network.state_dict().items()
        if value.is_floating_point()
    }
    packed = save(tensors)
    about = LandmarkWeights(
        format=KIND.format,
        version=KIND.version,
        name=NAME,
        licence=licence,
        sha256=hashlib.sha256(packed).hexdigest(),
        teacher="Face Mesh V2, face_landmarker.task float16/1",
        command=command,
        seed=seed,
        score=score,
    )
    write_atomic(folder / TENSORS, packed)
    write_json(folder / CONFIG, about._asdict())
    return about


def read_landmark_config(folder: Path | None = None) -> LandmarkWeights:
    """Read the config.json of `folder` (None: the shipped weights).

    Raises:
        UserError: unreadable, another format or version, or keys and types that do not fit.
    """
    path = (folder or SHIPPED) / CONFIG
    if not path.exists():
        raise UserError(
            f"{path}: expected landmark weights, found no such file: give the folder `model` of a "
            "run of `mica-ext train-landmarks`, or reinstall"
        )
    return KIND.read_config(LandmarkWeights, path.parent)


def load_landmark_network(folder: Path | None = None) -> LandmarkNetwork:
    """The network with the weights of `folder` (None: the shipped ones), for inference only.

    Raises:
        UserError: as `read_landmark_network`.
    """
    network = LandmarkNetwork()
    read_landmark_network(network, folder)
    fuse_batch_norms(network.eval())
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def read_landmark_network(network: LandmarkNetwork, folder: Path | None = None) -> LandmarkWeights:
    """Fill an unfused network with the weights of `folder` (None: the shipped ones).

    Raises:
        UserError: unreadable, damaged (sha256), not finite, or tensors of another network.
    """
    about = read_landmark_config(folder)
    path = (folder or SHIPPED) / TENSORS
    stored = KIND.read_tensors(path.parent, about.sha256)
    tensors = {key: value.float() for key, value in stored.items()}
    wanted = {key for key, value in network.state_dict().items() if value.is_floating_point()}
    if tensors.keys() != wanted:
        odd = sorted(tensors.keys() ^ wanted)
        raise UserError(f"{path}: expected this network's tensors, differing in {odd[0]}")
    try:
        network.load_state_dict(tensors, strict=False)  # all but the batch counters
    except RuntimeError as error:
        raise not_of_network(path, error) from error
    return about
