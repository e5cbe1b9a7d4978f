"""Arrays of a page: typed, little-endian, base64, each stored once."""

import base64
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int16, Shaped

TYPES = {
    np.dtype("<f4"): "float32",
    np.dtype("<i2"): "int16",
    np.dtype("u1"): "uint8",
    np.dtype("<u2"): "uint16",
    np.dtype("<u4"): "uint32",
}
"""What `assets/decode.js` reads."""


class BufferTable:
    """Grows by arrays; equal ones share an entry."""

    def __init__(self) -> None:
        self.entries: list[dict[str, str]] = []
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, array: Shaped[np.ndarray, "..."]) -> int:
        """The index of the entry that holds the array's values in row-major order."""
        content = np.ascontiguousarray(array)
        kind, data = TYPES[content.dtype.newbyteorder("<")], content.tobytes()
        key = kind, sha256(data).digest()
        if key not in self._known:
            self._known[key] = len(self.entries)
            self.entries.append({"type": kind, "data": base64.b64encode(data).decode()})
        return self._known[key]


class Quantised(NamedTuple):
    """values = scale * integers, to half a `scale`."""

    integers: Int16[np.ndarray, "..."]
    scale: float


def quantise(values: Float[np.ndarray, "..."]) -> Quantised:
    """Values as 16-bit integers whose largest has the size 32767."""
    largest = float(np.abs(values).max(initial=0.0))
    scale = largest / 32767 if largest else 1.0
    return Quantised(np.rint(np.asarray(values, np.float64) / scale).astype(np.int16), scale)
