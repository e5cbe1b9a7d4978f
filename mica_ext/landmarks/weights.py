"""Folders of dense landmark weights: config.json and model.safetensors."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from mica_ext.errors import UserError
from mica_ext.landmarks.network import LandmarkNetwork, fuse_batch_norms
from pacofr.errors import UserError as ContentError
from pacofr.utils.bounded import read_bounded
from pacofr.utils.config_json import from_json, read_json
from pacofr.utils.files import write_atomic, write_json

FORMAT, VERSION = "mica-ext landmarks478", 1
NAME = "landmarks478"
MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 1 << 20, 256 << 20
SHIPPED = Path(__file__).parents[1] / "weights" / NAME


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
        format=FORMAT,
        version=VERSION,
        name=NAME,
        licence=licence,
        sha256=hashlib.sha256(packed).hexdigest(),
        teacher="Face Mesh V2, face_landmarker.task float16/1",
        command=command,
        seed=seed,
        score=score,
    )
    write_atomic(folder / "model.safetensors", packed)
    write_json(folder / "config.json", about._asdict())
    return about


def read_landmark_config(folder: Path | None = None) -> LandmarkWeights:
    """Read the config.json of `folder` (None: the shipped weights).

    Raises:
        UserError: unreadable, another format or version, or keys and types that do not fit.
    """
    path = (folder or SHIPPED) / "config.json"
    if not path.exists():
        raise UserError(
            f"{path}: expected landmark weights, found no such file: give the folder `model` of a "
            "run of `mica-ext train-landmarks`, or reinstall"
        )
    try:
        content = read_json(path, "the config of landmark weights", max_bytes=MAX_CONFIG_BYTES)
        about = from_json(LandmarkWeights, content, f"{path}: not the config of landmark weights")
    except ContentError as error:
        raise UserError(str(error)) from error
    if (about.format, about.version) != (FORMAT, VERSION):
        raise UserError(
            f"{path}: expected {FORMAT} version {VERSION}, found {about.format} version "
            f"{about.version}: train again with `mica-ext train-landmarks`"
        )
    return about


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
    path = (folder or SHIPPED) / "model.safetensors"
    try:
        packed = read_bounded(path, MAX_WEIGHTS_BYTES)
    except (OSError, ContentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}): reinstall") from error
    digest = hashlib.sha256(packed).hexdigest()
    if digest != about.sha256:
        raise UserError(
            f"{path}: expected sha256 {about.sha256[:12]}... of its config.json, found "
            f"{digest[:12]}...: the file is damaged or not its own, reinstall or copy both again"
        )
    wanted = {key for key, value in network.state_dict().items() if value.is_floating_point()}
    try:
        tensors = {key: value.float() for key, value in load(packed).items()}
        if tensors.keys() != wanted:
            odd = sorted(tensors.keys() ^ wanted)
            raise UserError(f"{path}: expected this network's tensors, differing in {odd[0]}")
        for key, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise UserError(f"{path}: {key} holds NaN or infinity; get the weights anew")
        network.load_state_dict(tensors, strict=False)  # all but the batch counters
    except (SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: expected weights of this network ({first})") from error
    return about
