"""NumPy's .npy and .npz files, read without NumPy's own readers.

The header is matched against its grammar, never evaluated; arrays of objects are pickles and go
through the inert reader. Format: numpy/lib/format.py, versions 1 to 3.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flame_assets.inert.arrays import array_of, nested_lists, numeric_dtype
from flame_assets.inert.budgets import NPY_BYTES, NPY_HEADER, NPZ_UNPACKED
from flame_assets.inert.files import (
    ReadError,
    disguise,
    errors_of,
    open_regular,
    read_regular,
    shown,
)
from flame_assets.inert.pickles import parse_pickle
from flame_assets.inert.zips import ZipReader

_MAGIC = b"\x93NUMPY"
_ITEM = re.compile(
    r"\s*['\"](?:(?P<descr>descr)['\"]\s*:\s*['\"](?P<code>[^'\"]{1,20})['\"]"
    r"|(?P<order>fortran_order)['\"]\s*:\s*(?P<fortran>True|False)"
    r"|(?P<shape>shape)['\"]\s*:\s*\((?P<sizes>[\d\s,L]*)\))\s*(?:,|$)"
)
_MALFORMED = "has a header that NumPy does not write"


class NpyHeader(NamedTuple):
    """What follows in an .npy file; `body` is the offset of the first byte behind the header."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    """Of numbers, or object: then the body is a pickle."""
    body: int


def parse_npy_header(data: bytes, *, text: bool = False) -> NpyHeader:
    """The header of an .npy file; other types than numbers and objects are a ReadError.

    `text`: arrays of Unicode text are read, too.
    """
    if not data.startswith(_MAGIC) or len(data) < 12:
        raise ReadError(disguise(data) or "is no .npy file")
    wide = data[6] > 1
    start = 12 if wide else 10
    size = int.from_bytes(data[8:start], "little")
    if data[6] not in (1, 2, 3) or size > NPY_HEADER or start + size > len(data):
        raise ReadError(_MALFORMED)
    fields = data[start : start + size].decode("latin-1").strip()
    if not (fields.startswith("{") and fields.endswith("}")):
        raise ReadError(_MALFORMED)
    found, at, fields = {}, 0, fields[1:-1].rstrip()
    while at < len(fields):
        match = _ITEM.match(fields, at)
        if match is None:
            raise ReadError(_other_type(fields) or _MALFORMED)
        found |= {name: value for name, value in match.groupdict().items() if value is not None}
        at = match.end()
    if not {"code", "fortran", "sizes"} <= found.keys():
        raise ReadError(_MALFORMED)
    sizes = [part.strip().rstrip("L") for part in found["sizes"].split(",") if part.strip()]
    if any(not size.isascii() or not size.isdigit() or len(size) > 18 for size in sizes):
        raise ReadError(_MALFORMED)
    code = found["code"]
    order, plain = (code[0], code[1:]) if code[0] in "<>|=" else ("=", code)
    dtype = np.dtype(object) if plain == "O" else numeric_dtype(plain, order)
    if text and re.fullmatch(r"U[1-9]\d{0,2}", plain):
        dtype = np.dtype(plain).newbyteorder(">" if order == ">" else "<")
    if dtype is None:
        raise ReadError(f"holds an array of {shown(code)}, not of numbers")
    return NpyHeader(tuple(map(int, sizes)), found["fortran"] == "True", dtype, start + size)


def parse_npy(data: bytes, *, text: bool = False) -> Any:
    """Content of an .npy file: an array of numbers, or the values of an array of objects.

    With `text` arrays of Unicode text are read, too, as lists of str (a 0-d one as one). Objects
    come as `values` says: the one of a 0-d array by itself, others in lists.
    """
    header = parse_npy_header(data, text=text)
    body = data[header.body :]
    if header.dtype.kind == "U":
        return _text_of(body, header)
    if header.dtype.kind != "O":
        return array_of(body, header.dtype, header.shape, fortran=header.fortran)
    return parse_pickle(body)


def read_npy(path: Path) -> Any:
    """Content of the .npy file `path`; see `parse_npy`."""
    with errors_of(path):
        return parse_npy(read_regular(path, NPY_BYTES))


def read_npz(
    path: Path, names: Collection[str] | None = None, *, text: bool = False
) -> dict[str, Any]:
    """Members of an .npz file by name without .npy, each as `parse_npy` reads it.

    Args:
        path: the file.
        names: the members wanted, where they are there; None: all. Others are not unpacked.
        text: whether arrays of Unicode text are read.
    """
    with errors_of(path), open_regular(path) as file:
        archive, found = ZipReader(file, NPZ_UNPACKED), {}
        for member in archive.members:
            name = member.removesuffix(".npy")
            if name != member and (names is None or name in names):
                found[name] = parse_npy(archive.read(member, NPZ_UNPACKED), text=text)
        return found


def _text_of(body: bytes, header: NpyHeader) -> Any:
    """Text as nested lists of str: 4 bytes a character, checked before Python sees them."""
    count = header.dtype.itemsize // 4
    points = array_of(
        body, np.dtype("<u4").newbyteorder(header.dtype.byteorder), (*header.shape, count)
    )
    if points.size and (points.max() > 0x10FFFF or bool(((points >> 11) == 0x1B).any())):
        raise ReadError("holds malformed text")
    rows = points.reshape(-1, count).tolist()
    flat = ["".join(map(chr, row)).rstrip("\0") for row in rows]
    return nested_lists(flat, header.shape)


def _other_type(header: str) -> str | None:
    fields = re.match(r"\s*['\"]descr['\"]\s*:\s*\[", header)
    return "holds an array of records, not of numbers" if fields else None
