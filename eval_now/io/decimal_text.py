"""Numbers as text with a fixed number of decimals, many at a time."""

import numpy as np
from jaxtyping import Float

_LARGEST = 1e9
"""Beyond it, times ten to the power of the decimals, Python formats the numbers."""


def decimal_lines(prefix: str, values: Float[np.ndarray, "N C"], decimals: int) -> bytes:
    """A line `prefix a b c` per row of `values`, as `%.{decimals}f` writes them, without -0."""
    count, columns = values.shape
    if count == 0:
        return b""
    scale = 10**decimals
    if not np.abs(values).max() * scale < _LARGEST:
        line = prefix + f" %.{decimals}f" * columns + "\n"
        return ((line * count) % tuple(values.ravel().tolist())).encode()
    whole = np.rint(values * scale).astype(np.int64)
    negative, whole = whole < 0, np.abs(whole)
    places = max(len(str(int(whole.max()))), decimals + 1)
    text = np.zeros((count, columns, places + 3), np.uint8)  # blank, sign, digits, point
    text[..., 0] = ord(" ")
    text[..., 1] = np.where(negative, ord("-"), 0)
    text[..., places + 2 - decimals] = ord(".")
    for place in range(places):  # from the right
        rest = whole // 10
        digit = (whole - 10 * rest + ord("0")).astype(np.uint8)
        if place > decimals:
            digit = np.where(whole > 0, digit, 0)  # no leading zeros
        text[..., places + 2 - place - (place >= decimals)] = digit
        whole = rest
    start = np.frombuffer(prefix.encode(), np.uint8)
    lines = np.empty((count, len(start) + columns * (places + 3) + 1), np.uint8)
    lines[:, : len(start)] = start
    lines[:, len(start) : -1] = text.reshape(count, -1)
    lines[:, -1] = ord("\n")
    return lines[lines > 0].tobytes()
