"""The weights of a TensorFlow Lite file, read without its runtime.

A .tflite file is a flatbuffer (flatbuffers.dev, "Internals"; tflite's schema.fbs). Every offset and
count is checked against the bytes at hand, so that a damaged or hostile file ends in `ValueError`.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32

IDENTIFIER = b"TFL3"
COUNT_MAX = 4096
"""Most operators, tensors or buffers of a file; Face Mesh has 726 tensors."""
INPUTS_MAX = 8
"""Most inputs of one operator; Face Mesh needs 4."""
FLOAT32, FLOAT16 = 0, 1
"""Values of the schema's `TensorType`."""
DEQUANTIZE = 6
"""Value of the schema's `BuiltinOperator`; float16 constants pass through this operator."""

Item = TypeVar("Item")


class Operator(NamedTuple):
    """One operator of the graph, in order of execution."""

    code: int
    """The schema's `BuiltinOperator`."""
    constants: tuple[Float32[np.ndarray, "..."], ...]
    """Its constant float inputs, in the file's axis order."""


class _Table:
    """A flatbuffer table whose reads are checked."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position
        self.vtable = position - self._number("<i", position)
        self.vtable_size = self._number("<H", self.vtable)

    def _number(self, kind: str, at: int) -> int:
        if not 0 <= at <= len(self.data) - struct.calcsize(kind):
            raise ValueError(f"an offset leads to byte {at} of {len(self.data)}")
        return struct.unpack_from(kind, self.data, at)[0]

    def _field(self, number: int) -> int | None:
        entry = 4 + 2 * number
        offset = self._number("<H", self.vtable + entry) if entry < self.vtable_size else 0
        return self.position + offset if offset else None

    def scalar(self, number: int, kind: str) -> int:
        """Field `number` as the struct type `kind`; 0 if the file leaves it out."""
        at = self._field(number)
        return 0 if at is None else self._number(kind, at)

    def vector(self, number: int, width: int, count_max: int) -> tuple[int, int]:
        """Position and count of a vector of elements of `width` bytes."""
        at = self._field(number)
        if at is None:
            return 0, 0
        at += self._number("<I", at)
        count = self._number("<I", at)
        if count > count_max or at + 4 + count * width > len(self.data):
            raise ValueError(f"a list of {count} entries does not fit")
        return at + 4, count

    def integers(self, number: int, count_max: int = COUNT_MAX) -> tuple[int, ...]:
        """A vector of int32."""
        at, count = self.vector(number, 4, count_max)
        return struct.unpack_from(f"<{count}i", self.data, at)

    def tables(self, number: int) -> list["_Table"]:
        """A vector of tables."""
        at, count = self.vector(number, 4, COUNT_MAX)
        places = range(at, at + 4 * count, 4)
        return [_Table(self.data, place + self._number("<I", place)) for place in places]


def read_operators(data: bytes) -> list[Operator]:
    """Operators of a .tflite file's first graph, without its DEQUANTIZE steps.

    Raises:
        ValueError: not a TensorFlow Lite file, cut short, or with impossible offsets.
    """
    if data[4:8] != IDENTIFIER:
        raise ValueError("the mark of a TensorFlow Lite file is missing")
    model = _Table(data, struct.unpack_from("<I", data)[0])
    codes = [max(code.scalar(0, "<b"), code.scalar(3, "<i")) for code in model.tables(1)]
    graph = _item(model.tables(2), 0)
    constants = _Constants(data, graph.tables(0), model.tables(4))
    operators = []
    for operator in graph.tables(3):
        code, inputs = _item(codes, operator.scalar(0, "<I")), operator.integers(1, INPUTS_MAX)
        if code == DEQUANTIZE:
            constants.alias[_item(operator.integers(2, INPUTS_MAX), 0)] = _item(inputs, 0)
        else:
            found = (constants.read(index) for index in inputs if index >= 0)
            operators.append(Operator(code, tuple(c for c in found if c is not None)))
    return operators


class _Constants:
    """The graph's constant tensors, each decoded once; together no larger than the file."""

    def __init__(self, data: bytes, tensors: list[_Table], buffers: list[_Table]) -> None:
        self.data, self.tensors, self.buffers = data, tensors, buffers
        self.alias: dict[int, int] = {}
        self.decoded: dict[int, np.ndarray | None] = {}
        self.bytes_left = len(data)

    def read(self, index: int) -> Float32[np.ndarray, "..."] | None:
        """Tensor `index`; None if it is computed, or holds no floats."""
        index = self.alias.get(index, index)
        if index not in self.decoded:
            self.decoded[index] = self._decode(_item(self.tensors, index))
        return self.decoded[index]

    def _decode(self, tensor: _Table) -> Float32[np.ndarray, "..."] | None:
        buffer = _item(self.buffers, tensor.scalar(2, "<I"))
        at, size = buffer.vector(0, 1, self.bytes_left)
        kind = tensor.scalar(1, "<b")
        if size == 0 or kind not in (FLOAT32, FLOAT16):
            return None
        self.bytes_left -= size
        values = np.frombuffer(self.data[at : at + size], "<f4" if kind == FLOAT32 else "<f2")
        return values.reshape(tensor.integers(0, INPUTS_MAX)).astype(np.float32)


def _item(items: Sequence[Item], index: int) -> Item:
    if not 0 <= index < len(items):
        raise ValueError(f"entry {index} of {len(items)} is asked for")
    return items[index]
