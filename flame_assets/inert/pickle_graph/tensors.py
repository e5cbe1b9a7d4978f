"""PyTorch's tensors and storages as they stand in a pickle, without PyTorch.

Source: torch/_utils.py and torch/serialization.py (formats of `torch.save` since 0.4).
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from flame_assets.inert.arrays import Unread, array_of, numeric_dtype, strided
from flame_assets.inert.files import ReadError, shown
from flame_assets.inert.pickle_graph.machine import PickleMachine
from flame_assets.inert.pickle_graph.nodes import GlobalRef, PersistentId
from flame_assets.inert.pickle_graph.opcodes import read_graph

_MAGIC = re.compile(  # the pickled number 0x1950a86a20f9469cfc6c
    rb"(?s)\x80[\x02-\x05](?:\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"
)
_STORAGES = {
    "Float": ("float32", "f4"),
    "Double": ("float64", "f8"),
    "Half": ("float16", "f2"),
    "BFloat16": ("bfloat16", "u2"),
    "Long": ("int64", "i8"),
    "Int": ("int32", "i4"),
    "Short": ("int16", "i2"),
    "Char": ("int8", "i1"),
    "Byte": ("uint8", "u1"),
    "Bool": ("bool", "b1"),
    "ComplexFloat": ("complex64", "c8"),
    "ComplexDouble": ("complex128", "c16"),
    "Untyped": ("uint8", "u1"),
}
_CODES = dict(_STORAGES.values())
_INLINE_STEPS = 1000


def is_older_format(head: bytes) -> bool:
    """Whether a file is one of PyTorch before 1.6 (or of today's that was asked to be)."""
    return _MAGIC.match(head) is not None


class StorageRef(NamedTuple):
    """Numbers of one type that lie elsewhere in a checkpoint; tensors are views of them."""

    key: str
    dtype: str
    """PyTorch's name, e.g. "float32", "bfloat16"."""
    count: int

    @property
    def bytes(self) -> int:
        """Size of the storage."""
        return self.count * np.dtype(_CODES[self.dtype]).itemsize


class TensorRef(NamedTuple):
    """A tensor of a checkpoint that has not been read yet; `TorchFile.read` does."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """PyTorch's name of the element type, e.g. "float32"."""
        return self.storage.dtype


class _InlineStorage(NamedTuple):
    flat: Shaped[np.ndarray, " n"]


def storage(id_: Any) -> StorageRef | Unread:
    """What a persistent id ("storage", type, key, location, count[, view]) refers to."""
    malformed = ReadError("refers to data in a way that PyTorch does not")
    if not isinstance(id_, tuple) or len(id_) not in (5, 6) or id_[0] != "storage":
        raise malformed
    kind, key, count = id_[1], id_[2], id_[4]
    if not isinstance(kind, Unread) or type(key) is not str or type(count) is not int:
        raise malformed
    if len(id_) == 6 and id_[5] is not None:
        return Unread("view of a tensor, as PyTorch before 0.4 wrote it")
    top, _, name = kind.name.rpartition(".")
    known = _STORAGES.get(name.removesuffix("Storage"))
    if known is None or top not in ("torch", "torch.cuda", "torch.storage"):
        return Unread(kind.name)
    if count < 0 or count >= 1 << 48:
        raise malformed
    return StorageRef(key, known[0], count)


def numbers(raw: bytes | bytearray, dtype: str, *, big_endian: bool = False) -> np.ndarray:
    """The elements of a storage [n]; bfloat16 as float32, which holds the same numbers."""
    plain = numeric_dtype(_CODES[dtype], ">" if big_endian else "<")
    assert plain is not None
    flat = array_of(raw, plain, (len(raw) // plain.itemsize,))
    if dtype == "bfloat16":
        return (flat.astype(np.uint32) << 16).view(np.float32)
    return flat


def tensor(source: Any, offset: Any, shape: Any, stride: Any) -> Any:
    """_rebuild_tensor_v2: a `TensorRef`, or an array if its storage stands in the pickle itself."""
    if isinstance(source, Unread):
        return source
    if not isinstance(shape, Sequence) or not isinstance(stride, Sequence):
        raise TypeError(type(shape))
    if isinstance(source, _InlineStorage):
        return strided(source.flat, offset, shape, stride)
    if not isinstance(source, StorageRef):
        raise TypeError(type(source))
    counts = (offset, *shape, *stride)
    if any(type(number) is not int or number < 0 for number in counts):
        raise ValueError(offset)
    return TensorRef(source, offset, tuple(shape), tuple(stride))


def parameter(value: Any) -> Any:
    """_rebuild_parameter: the tensor it wraps."""
    return value


def inline_storage(raw: bytes) -> Any:
    """_load_from_bytes: a storage that stands in the pickle as a small file of five pickles."""
    if not is_older_format(raw):
        raise ReadError("holds a malformed tensor")
    machine = PickleMachine(raw)
    *_, described, _ = (read_graph(machine, _INLINE_STEPS) for _ in range(5))
    if type(described) is not PersistentId or type(described.id) is not tuple:
        raise ReadError("holds a malformed tensor")
    known = storage(tuple(Unread(n.name) if type(n) is GlobalRef else n for n in described.id))
    if isinstance(known, Unread):
        return known
    body = raw[machine.position + 8 :]  # behind the count of elements
    if len(body) != known.bytes:
        raise ReadError(f"holds a tensor of {shown(known.dtype)} that is cut")
    return _InlineStorage(numbers(body, known.dtype))
