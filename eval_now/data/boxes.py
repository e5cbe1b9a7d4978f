"""Face boxes as the benchmark distributes them: pickled dictionaries inside `.npy` files.

Only what NumPy itself writes for a dictionary of numbers is unpickled; any other name in the file
is refused, so that a box file cannot run code.
"""

import io
import math
import pickle  # noqa: S403 - only through the allow-list below
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval_now.errors import UserError
from eval_now.io.budgets import MAX_BOX_BYTES
from eval_now.io.files import read_bytes, write_bytes_atomic
from eval_now.io.npy import read_npy_header

_ALLOWED = {
    (module, name)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("_reconstruct", "scalar")
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class Box(NamedTuple):
    """A face box in pixels of the photo."""

    left: float
    top: float
    right: float
    bottom: float


class _Unpickler(pickle.Unpickler):  # noqa: S301
    def find_class(self, module: str, name: str) -> Any:
        """Only the makers of NumPy arrays and scalars."""
        if (module, name) not in _ALLOWED:
            raise UserError(f"refuses to unpickle {module}.{name}")
        if module == "numpy.core.multiarray":
            module = "numpy._core.multiarray"  # files from NumPy 1
        return super().find_class(module, name)


def load_box(path: Path) -> Box:
    """Read the box of one photo: an `.npy` with the dictionary {left, right, top, bottom}."""
    data = read_bytes(path, MAX_BOX_BYTES)
    expected = f"{path}: expected a box with left, right, top and bottom"
    header = read_npy_header(path, data)
    if not header.dtype.hasobject or math.prod(header.shape) != 1:
        raise UserError(f"{expected}, found an array {header.shape} of {header.dtype}")
    try:
        content = _Unpickler(io.BytesIO(data[header.body :]), encoding="latin1").load()
        content = content.item() if isinstance(content, np.ndarray) else content
        named = {str(key): float(value) for key, value in content.items()}
        box = Box(named["left"], named["top"], named["right"], named["bottom"])
    except UserError as error:
        raise UserError(f"{expected}; {error}") from None
    except Exception as error:  # noqa: BLE001 - a broken pickle can raise anything
        raise UserError(f"{expected}, found a damaged file ({type(error).__name__})") from None
    if not all(map(math.isfinite, box)) or box.right <= box.left or box.bottom <= box.top:
        raise UserError(f"{expected}, left of right and top above bottom; found {tuple(box)}")
    return box


def save_box(path: Path, box: Box) -> None:
    """Write a box as the benchmark distributes it."""
    file = io.BytesIO()
    content = {name: float(value) for name, value in box._asdict().items()}
    np.save(file, np.array(content, dtype=object), allow_pickle=True)
    write_bytes_atomic(path, file.getvalue())
