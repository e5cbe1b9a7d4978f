"""NumPy arrays out of bytes whose type, shape and order a foreign file states.

NumPy never sees a type it could misread: only the numeric ones of a fixed list are made, and the
bytes that are there must be as many as the shape needs.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from flame_assets.inert.budgets import ARRAY_DIMENSIONS, ARRAY_ELEMENTS
from flame_assets.inert.files import ReadError, shown

NUMERIC = frozenset(
    {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}
    | {"b1", "f2", "f4", "f8", "c8", "c16"}
)
"""Type codes of the arrays that are read: kind and bytes."""
_MALFORMED = "holds a malformed array"


class Unread:
    """Something in a file that no value is made of: a class instance, an array of text, a function.

    Attributes:
        name: what it is, for messages.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = shown(name)

    def __repr__(self) -> str:
        return f"<unread {self.name}>"


class SparseMatrix(NamedTuple):
    """A matrix of SciPy as it lies in a pickle; `as_array` makes it dense."""

    format: str
    """csc, csr or coo."""
    shape: tuple[int, int]
    data: Any
    major: Any
    """Start of each column (csc) or row (csr) in `data`; row of each number (coo)."""
    minor: Any
    """Row (csc) or column (csr, coo) of each number."""


def numeric_dtype(code: str, order: str = "<") -> np.dtype | None:
    """The type of `code`, e.g. "f8", in the byte order "<" or ">"; None for all but numbers."""
    return np.dtype(code).newbyteorder(">" if order == ">" else "<") if code in NUMERIC else None


def array_of(
    raw: bytes | bytearray, dtype: np.dtype, shape: Sequence[int], *, fortran: bool = False
) -> Shaped[np.ndarray, "..."]:
    """An array over `raw`, not copied (but for booleans), if its size is the shape's."""
    if any(type(size) is not int or size < 0 for size in shape) or len(shape) > ARRAY_DIMENSIONS:
        raise ReadError(_MALFORMED)
    if math.prod(shape) * dtype.itemsize != len(raw) or max(shape, default=0) >= 1 << 62:
        raise ReadError(
            f"holds an array of shape {tuple(shape)!r}"[:200]
            + f" and {dtype} in {len(raw)} bytes: it is cut or damaged"
        )
    if dtype.kind == "b":
        flat = np.frombuffer(raw, np.uint8) != 0  # other bytes than 0 and 1 would be odd booleans
        flat.flags.writeable = False
    else:
        flat = np.frombuffer(raw, dtype)
        flat.flags.writeable = False
    return flat.reshape(tuple(shape), order="F" if fortran else "C")


def strided(
    flat: Shaped[np.ndarray, " n"], offset: int, shape: Sequence[int], stride: Sequence[int]
) -> Shaped[np.ndarray, "..."]:
    """The elements of `flat` from `offset` on at steps of `stride`: a view if they are in order."""
    counts = (offset, *shape, *stride)
    if len(shape) != len(stride) or len(shape) > ARRAY_DIMENSIONS:
        raise ReadError("holds a malformed tensor")
    if any(type(number) is not int or not 0 <= number < 1 << 62 for number in counts):
        raise ReadError("holds a malformed tensor")
    count = math.prod(shape)
    if not count:
        return np.zeros(_small(shape), flat.dtype)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if last >= len(flat):
        raise ReadError("holds a tensor that reaches beyond its data")
    if count > len(flat) and count > ARRAY_ELEMENTS:
        raise ReadError(f"holds a tensor that repeats its data {count} times")
    steps = [step * flat.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(flat[offset:], tuple(shape), steps, writeable=False)
    return view if view.flags.c_contiguous else view.copy()


def nested_lists(flat: list[Any], shape: Sequence[int]) -> Any:
    """The elements of an object array as lists within lists; the element of a 0-d one."""
    if any(type(size) is not int or size < 0 for size in shape) or len(shape) > ARRAY_DIMENSIONS:
        raise ReadError(_MALFORMED)
    if math.prod(shape) != len(flat):
        raise ReadError(_MALFORMED)
    if not shape:
        return flat[0]
    if not flat:
        return []
    for size in tuple(shape)[:0:-1]:
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat


def as_array(value: Any) -> Shaped[np.ndarray, "..."]:
    """The numbers of an array, a sparse matrix, a number or lists of these, as one array."""
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if isinstance(value, SparseMatrix):
        return _dense(value)
    if type(value) in (bool, int, float, complex, list, tuple):
        return _stacked(value)
    kind = value.name if isinstance(value, Unread) else type(value).__name__
    raise ReadError(f"holds a {kind} where an array should be")


def _stacked(value: Any) -> Shaped[np.ndarray, "..."]:
    """Lists of lists of numbers or arrays, all of one length a level, as one array."""
    items, shape = [value], []
    while items and type(items[0]) in (list, tuple):
        size = len(items[0])
        if any(type(item) not in (list, tuple) or len(item) != size for item in items):
            raise ReadError("holds lists of different lengths where an array should be")
        shape.append(size)
        if len(shape) > ARRAY_DIMENSIONS or len(items) * size > ARRAY_ELEMENTS:
            raise ReadError("holds too long or too deep lists where an array should be")
        items = [entry for item in items for entry in item]
    for item in items:
        if not isinstance(item, bool | int | float | complex | np.ndarray | np.generic):
            raise ReadError(f"holds a {type(item).__name__} among numbers")
        if isinstance(item, int) and not -(1 << 63) <= item < 1 << 64:
            raise ReadError("holds a number of more than 64 bits")
    if not items:
        return np.zeros(_small(shape))
    parts = [np.asarray(item) for item in items]
    inner = parts[0].shape
    if any(part.shape != inner or part.dtype.kind not in "biufc" for part in parts):
        raise ReadError("holds lists of different lengths where an array should be")
    if len(parts) * parts[0].size > ARRAY_ELEMENTS:
        raise ReadError("holds too long lists where an array should be")
    return np.stack(parts).reshape((*shape, *inner))


def _small(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of an empty array, if NumPy can make it."""
    if math.prod(size for size in shape if size) >= 1 << 62:
        raise ReadError(_MALFORMED)
    return tuple(shape)


def _dense(matrix: SparseMatrix) -> Shaped[np.ndarray, "rows columns"]:
    malformed = ReadError("holds a malformed sparse matrix")
    data, major, minor = (as_array(part) for part in (matrix.data, matrix.major, matrix.minor))
    if len(matrix.shape) != 2 or any(type(n) is not int or n < 0 for n in matrix.shape):
        raise malformed
    rows, columns = matrix.shape
    if rows * columns > ARRAY_ELEMENTS:
        raise ReadError(f"holds a sparse matrix of {rows} x {columns}")
    if data.ndim != 1 or major.ndim != 1 or minor.shape != data.shape:
        raise malformed
    if major.dtype.kind not in "iu" or minor.dtype.kind not in "iu":
        raise malformed
    if matrix.format != "coo":
        count = columns if matrix.format == "csc" else rows
        if len(major) != count + 1 or major[0] != 0 or major[-1] != len(data):
            raise malformed
        if (major[1:] < major[:-1]).any():
            raise malformed
        major = np.repeat(np.arange(count), np.diff(major))
    at, across = (minor, major) if matrix.format == "csc" else (major, minor)
    for index, size in ((at, rows), (across, columns)):
        if index.shape != data.shape or (len(index) and not 0 <= index.min() <= index.max() < size):
            raise malformed
    dense = np.zeros((rows, columns), data.dtype)
    np.add.at(dense, (at, across), data)
    return dense
