"""MATLAB's .mat files of version 5 (`save -v6`, `save -v7`): numbers, text and cells.

Source: The MathWorks, "MAT-File Format" (2023). A file is a header of 128 bytes and one element a
variable, mostly compressed. Variables that nobody asked for are passed over without unpacking more
than their names; structures, objects, functions and sparse matrices are not read.
"""

import math
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from flame_assets.inert.arrays import array_of
from flame_assets.inert.budgets import (
    ARRAY_DIMENSIONS,
    MAT_BYTES,
    MAT_DEPTH,
    MAT_ELEMENTS,
    MAT_UNPACKED,
    MAT_VARIABLES,
)
from flame_assets.inert.files import ReadError, disguise, errors_of, read_regular, shown

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_INT8, _INT32, _UINT32 = 1, 5, 6
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"} | {
    12: "i8",
    13: "u8",
}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _CHAR, _OPAQUE = 1, 4, 17  # classes of arrays; numbers have 6 to 15
_CLASSES = {2: "structure", 3: "object", 5: "sparse matrix", 16: "function"}
_COMPLEX = 0x0800
_NAME_HEAD = 1024
"""Unpacked bytes that hold the sizes and the name of any variable that MATLAB writes."""
_DAMAGED = "is a damaged .mat file, or only a part of one"


ByteOrder = Literal["<", ">"]


class MatCell(NamedTuple):
    """An array of anything, in MATLAB's order: the first index runs fastest."""

    shape: tuple[int, ...]
    values: tuple["MatValue", ...]


MatValue = np.ndarray | tuple[str, ...] | MatCell
"""Numbers (read-only, of the type they are stored in), the rows of a text, or a cell."""


def read_mat(path: Path, names: Collection[str]) -> dict[str, MatValue]:
    """The variables `names` of a file, those of them that it holds.

    Raises:
        ReadError: no file of version 5, damaged, beyond its budgets, or one of the variables is of
            a kind that is not read.
    """
    data = read_regular(path, MAT_BYTES)
    with errors_of(path):
        return _Reader(data, frozenset(names)).variables()


class _Element(NamedTuple):
    kind: int
    data: memoryview


class _Head(NamedTuple):
    """What stands before the values of an array."""

    kind: int
    complex: bool
    shape: tuple[int, ...]
    name: str
    values: int
    """Offset of what follows."""


class _Reader:
    def __init__(self, data: bytes, names: frozenset[str]) -> None:
        self.data, self.names = memoryview(data), names
        self.order: ByteOrder = _byte_order(data)
        self.words = struct.Struct(f"{self.order}2I")
        self.left, self.elements = MAT_UNPACKED, MAT_ELEMENTS

    def variables(self) -> dict[str, MatValue]:
        found: dict[str, MatValue] = {}
        at = _HEADER
        for _ in range(MAT_VARIABLES):
            if at >= len(self.data):
                return found
            element, at = self._element(self.data, at)
            if element.kind == _COMPRESSED:
                body = self._unpack(element.data)
            elif element.kind == _MATRIX and self._is_wanted(element.data):
                self._take(len(element.data))
                body = element.data
            elif element.kind == _MATRIX:
                body = None
            else:
                raise ReadError(_DAMAGED)
            if body is not None:
                found[self._head(body).name] = self._value(body, 0)
        raise ReadError(f"holds more than {MAT_VARIABLES} variables")

    def _is_wanted(self, body: memoryview) -> bool:
        return len(body) > 0 and self._head(body).name in self.names

    def _unpack(self, packed: memoryview) -> memoryview | None:
        """The array in a compressed element; None if it is not wanted."""
        try:
            start = zlib.decompressobj().decompress(packed, _NAME_HEAD)
            kind, size = self._words(start, 0)
            if kind != _MATRIX:
                raise ReadError(_DAMAGED)
            if not self._is_wanted(memoryview(start)[8 : 8 + size]):
                return None
            self._take(size)
            unpacker = zlib.decompressobj()
            whole = unpacker.decompress(packed, 8 + size)
            rest = unpacker.decompress(unpacker.unconsumed_tail, 1)  # its end, with the checksum
        except zlib.error as error:
            raise ReadError(_DAMAGED) from error
        if len(whole) < 8 + size or rest or not unpacker.eof:
            raise ReadError(_DAMAGED)
        return memoryview(whole)[8:]

    def _take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ReadError(f"holds more than {MAT_UNPACKED >> 20} MiB of data")

    def _count_element(self) -> None:
        self.elements -= 1
        if self.elements < 0:
            raise ReadError(f"holds more than {MAT_ELEMENTS} arrays in cells")

    def _words(self, data: bytes | memoryview, at: int) -> tuple[int, int]:
        if at + 8 > len(data):
            raise ReadError(_DAMAGED)
        return self.words.unpack_from(data, at)

    def _element(self, data: memoryview, at: int) -> tuple[_Element, int]:
        """The element at `at` and where the next one begins."""
        kind, size = self._words(data, at)
        start = at + 8
        if kind >> 16:  # small: type, size and at most four bytes in eight
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > 4:
                raise ReadError(_DAMAGED)
            after = at + 8
        else:
            after = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(data):
            raise ReadError(_DAMAGED)
        return _Element(kind, data[start : start + size]), after

    def _head(self, body: memoryview) -> _Head:
        flags, at = self._element(body, 0)
        if len(flags.data) == 8 and self._words(flags.data, 0)[0] & 0xFF == _OPAQUE:
            name, at = self._element(body, at)
            return _Head(_OPAQUE, False, (), str(name.data, "latin-1"), at)
        sizes, at = self._element(body, at)
        name, at = self._element(body, at)
        if flags.kind != _UINT32 or len(flags.data) != 8 or sizes.kind != _INT32:
            raise ReadError(_DAMAGED)
        if len(sizes.data) % 4 or not 8 <= len(sizes.data) <= 4 * ARRAY_DIMENSIONS:
            raise ReadError(_DAMAGED)
        shape = struct.unpack(f"{self.order}{len(sizes.data) // 4}i", sizes.data)
        if name.kind != _INT8 or min(shape) < 0:
            raise ReadError(_DAMAGED)
        word = self._words(flags.data, 0)[0]
        return _Head(word & 0xFF, bool(word & _COMPLEX), shape, str(name.data, "latin-1"), at)

    def _value(self, body: memoryview, depth: int) -> MatValue:
        if not body:  # an empty cell within a cell
            return np.zeros((0, 0))
        head = self._head(body)
        if head.kind == _CELL:
            return self._cell(body, head, depth)
        if head.kind not in (_CHAR, *range(6, 16)) or head.complex:
            kind = "complex array" if head.complex else _CLASSES.get(head.kind, "object")
            raise ReadError(f"has a {kind} in {shown(head.name)}: expected numbers, text or cells")
        element, _ = self._element(body, head.values)
        if head.kind == _CHAR:
            return _text(element, head.shape, self.order)
        if element.kind not in _NUMBERS:
            raise ReadError(_DAMAGED)
        dtype = np.dtype(_NUMBERS[element.kind]).newbyteorder(self.order)
        return array_of(bytes(element.data), dtype, head.shape, fortran=True)

    def _cell(self, body: memoryview, head: _Head, depth: int) -> MatCell:
        if depth == MAT_DEPTH:
            raise ReadError(f"holds cells within cells, more than {MAT_DEPTH} deep")
        values, at = [], head.values
        for _ in range(math.prod(head.shape)):
            self._count_element()
            element, at = self._element(body, at)
            if element.kind != _MATRIX:
                raise ReadError(_DAMAGED)
            values.append(self._value(element.data, depth + 1))
        return MatCell(head.shape, tuple(values))


def _byte_order(data: bytes) -> ByteOrder:
    """Of the numbers in a file, "<" or ">"; refuses what is no file of version 5."""
    if data[:20].startswith(b"MATLAB 7.3") or data.startswith(b"\x89HDF"):
        raise ReadError("is a .mat file of version 7.3: save it in MATLAB with -v7")
    mark = data[126:_HEADER]
    if mark not in (b"IM", b"MI"):
        raise ReadError(disguise(data) or "is no .mat file of version 5")
    return "<" if mark == b"IM" else ">"


def _text(element: _Element, shape: tuple[int, ...], order: ByteOrder) -> tuple[str, ...]:
    """The rows of an array of characters."""
    if element.kind not in _TEXT or len(shape) != 2:
        raise ReadError(_DAMAGED)
    encoding = _TEXT[element.kind]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    text = str(element.data, encoding, "replace")
    rows = shape[0]
    if rows == 1:
        return (text,)
    if len(text) != math.prod(shape) or rows > MAT_ELEMENTS:
        raise ReadError(_DAMAGED)
    return tuple(text[row::rows] for row in range(rows))
