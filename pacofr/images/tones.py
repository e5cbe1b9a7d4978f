"""Integers of more than 8 bits, and floats, as 0..255."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

INTEGER_SCALES = (1023.0, 4095.0, 65535.0)
"""Full scale of 10- and 12-bit sensors and of 16 bits."""
FLOAT_SCALES = (1.0, 255.0, 65535.0)
STRIP_VALUES = 4_000_000
"""Values converted at a time: memory does not grow with the picture."""


class Tones(NamedTuple):
    """A linear map of pixel values to 0..255."""

    low: float
    full: float
    """Distance of white from `low`."""
    inverted: bool = False
    """Whether `low` is white."""

    def __call__(self, values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
        """The values as bytes; NaN and infinities count as 0."""
        grey = (_finite(values) - np.float32(self.low)) * np.float32(255 / self.full)
        grey = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
        return 255 - grey if self.inverted else grey


def find_tones(
    strips: Callable[[], Iterator[Shaped[np.ndarray, "..."]]],
    *,
    max_value: int | None = None,
    inverted: bool = False,
) -> Tones:
    """Choose the full scale for pixel values that come in strips.

    It is `max_value` where the file gives one that holds all values; else the least of 1 (floats),
    255 (floats), 1023, 4095 (integers) and 65535 that does. Negative or larger values are stretched
    from their minimum to their maximum.
    """
    low, high, integers = np.inf, -np.inf, True
    for values in strips():
        integers = bool(np.issubdtype(values.dtype, np.integer))
        values = _finite(values)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low >= 0:
        given = (float(max_value),) if max_value else ()
        for scale in (*given, *(INTEGER_SCALES if integers else FLOAT_SCALES)):
            if high <= scale:
                return Tones(0.0, scale, inverted)
    return Tones(low, max(high - low, 1e-12), inverted)


def _finite(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    return np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
