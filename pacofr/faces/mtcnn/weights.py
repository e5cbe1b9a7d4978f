"""Where the MTCNN networks' weights come from: the files inside the `mtcnn` wheel (MIT).

The package itself is never imported (it needs TensorFlow) and its files are never unpickled:
after their sha256 has matched, each array is read at its known place in the decompressed bytes.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pacofr.errors import UserError


class ArrayPlace(NamedTuple):
    """One little-endian float32 array, in C order, within a decompressed weight file."""

    name: str
    shape: tuple[int, ...]
    offset: int


class WeightFile(NamedTuple):
    """A weight file of the wheel, release 1.0.0."""

    sha256: str
    arrays: tuple[ArrayPlace, ...]


PNET = WeightFile(
    "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    (
        ArrayPlace("conv1.weight", (3, 3, 3, 10), 240),
        ArrayPlace("conv1.bias", (10,), 1376),
        ArrayPlace("prelu1.weight", (10,), 1472),
        ArrayPlace("conv2.weight", (3, 3, 10, 16), 1568),
        ArrayPlace("conv2.bias", (16,), 7376),
        ArrayPlace("prelu2.weight", (16,), 7504),
        ArrayPlace("conv3.weight", (3, 3, 16, 32), 7632),
        ArrayPlace("conv3.bias", (32,), 26112),
        ArrayPlace("prelu3.weight", (32,), 26304),
        ArrayPlace("box.weight", (1, 1, 32, 4), 26496),
        ArrayPlace("box.bias", (4,), 27056),
        ArrayPlace("score.weight", (1, 1, 32, 2), 27136),
        ArrayPlace("score.bias", (2,), 27440),
    ),
)
RNET = WeightFile(
    "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    (
        ArrayPlace("conv1.weight", (3, 3, 3, 28), 240),
        ArrayPlace("conv1.bias", (28,), 3312),
        ArrayPlace("prelu1.weight", (28,), 3488),
        ArrayPlace("conv2.weight", (3, 3, 28, 48), 3664),
        ArrayPlace("conv2.bias", (48,), 52096),
        ArrayPlace("prelu2.weight", (48,), 52352),
        ArrayPlace("conv3.weight", (2, 2, 48, 64), 52608),
        ArrayPlace("conv3.bias", (64,), 101808),
        ArrayPlace("prelu3.weight", (64,), 102128),
        ArrayPlace("dense.weight", (3, 3, 64, 128), 102448),
        ArrayPlace("dense.bias", (128,), 397408),
        ArrayPlace("prelu4.weight", (128,), 397968),
        ArrayPlace("box.weight", (128, 4), 398528),
        ArrayPlace("box.bias", (4,), 400624),
        ArrayPlace("score.weight", (128, 2), 400688),
        ArrayPlace("score.bias", (2,), 401760),
    ),
)
ONET = WeightFile(
    "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
    (
        ArrayPlace("conv1.weight", (3, 3, 3, 32), 240),
        ArrayPlace("conv1.bias", (32,), 3744),
        ArrayPlace("prelu1.weight", (32,), 3936),
        ArrayPlace("conv2.weight", (3, 3, 32, 64), 4128),
        ArrayPlace("conv2.bias", (64,), 77904),
        ArrayPlace("prelu2.weight", (64,), 78224),
        ArrayPlace("conv3.weight", (3, 3, 64, 64), 78544),
        ArrayPlace("conv3.bias", (64,), 226048),
        ArrayPlace("prelu3.weight", (64,), 226368),
        ArrayPlace("conv4.weight", (2, 2, 64, 128), 226688),
        ArrayPlace("conv4.bias", (128,), 357808),
        ArrayPlace("prelu4.weight", (128,), 358384),
        ArrayPlace("dense.weight", (3, 3, 128, 256), 358960),
        ArrayPlace("dense.bias", (256,), 1538656),
        ArrayPlace("prelu5.weight", (256,), 1539728),
        ArrayPlace("box.weight", (256, 4), 1540816),
        ArrayPlace("box.bias", (4,), 1544960),
        ArrayPlace("points.weight", (256, 10), 1545040),
        ArrayPlace("points.bias", (10,), 1555328),
        ArrayPlace("score.weight", (256, 2), 1555424),
        ArrayPlace("score.bias", (2,), 1557520),
    ),
)

FILES = {"pnet": PNET, "rnet": RNET, "onet": ONET}
MEND = "run: pip install --force-reinstall mtcnn==1.0.0"


def weights_folder() -> Path:
    """Folder of the weight files inside the installed `mtcnn` package, which is not imported."""
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or spec.origin is None:
        raise UserError(f"face detection needs the mtcnn package's weight files; {MEND}")
    return Path(spec.origin).parent / "assets" / "weights"


def read_weights(name: str, folder: Path | None = None) -> dict[str, torch.Tensor]:
    """State of "pnet", "rnet" or "onet" in torch's layout (out, in, row, column)."""
    file = FILES[name]
    path = (folder or weights_folder()) / f"{name}.lz4"
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the face detector's weights {path}; {MEND}") from error
    found = hashlib.sha256(packed).hexdigest()
    if found != file.sha256:
        raise UserError(
            f"{path} is not the file of mtcnn 1.0.0: sha256 {found[:12]}..., "
            f"expected {file.sha256[:12]}...; {MEND}"
        )
    import lz4.frame  # only needed here

    data = lz4.frame.decompress(packed)
    return {place.name: _torch_layout(_array(data, place), place.name) for place in file.arrays}


def _array(data: bytes, place: ArrayPlace) -> np.ndarray:
    count = int(np.prod(place.shape))
    return np.frombuffer(data, "<f4", count, place.offset).reshape(place.shape)


def _torch_layout(array: np.ndarray, name: str) -> torch.Tensor:
    if name == "dense.weight":  # the first dense layer reads (column, row, channel)
        array = array.transpose(3, 2, 1, 0).reshape(array.shape[3], -1)
    elif array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    return torch.from_numpy(array.copy(order="C"))
