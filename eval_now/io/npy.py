"""Parser of the header of untrusted `.npy` files."""

import ast
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval_now.errors import UserError

_MAX_HEADER_BYTES = 4096


class NpyHeader(NamedTuple):
    """Layout of the array; `body` is the offset of its first byte."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    body: int


def read_npy_header(path: Path, data: bytes) -> NpyHeader:
    """Parse the header of an `.npy` file of format version 1, 2 or 3.

    Raises:
        UserError: the header is truncated, too long or malformed.
    """
    wide = data[6:7] in (b"\x02", b"\x03")
    start = 12 if wide else 10
    length = int.from_bytes(data[8:start], "little")
    body = start + length
    if data[:6] != b"\x93NUMPY" or data[6:7] not in (b"\x01", b"\x02", b"\x03") or len(data) < body:
        raise UserError(f"{path}: not a .npy file (its header is damaged)")
    try:
        if length > _MAX_HEADER_BYTES:
            raise ValueError(length)
        entries = ast.literal_eval(data[start:body].decode("latin-1").strip())
        shape = tuple(int(size) for size in entries["shape"])
        dtype = np.dtype(entries["descr"])
        return NpyHeader(shape, bool(entries["fortran_order"]), dtype, body)
    except (
        ValueError,
        SyntaxError,
        KeyError,
        TypeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ):
        raise UserError(f"{path}: not a .npy file (its header is not understood)") from None
