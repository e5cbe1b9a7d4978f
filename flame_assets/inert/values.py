"""Values of the nodes that a pickle was read as: plain Python, NumPy arrays, nothing else.

| in the pickle                                   | the value                                   |
|-------------------------------------------------|---------------------------------------------|
| None, numbers, text, bytes, list, tuple         | the same                                    |
| 8-bit strings of Python 2                       | text, as latin-1                            |
| dict, OrderedDict, defaultdict, Counter         | dict; keys that are bytes become text,      |
|                                                 | NumPy integers int; entries whose key is no |
|                                                 | text up to 4096 characters or integer of 64 |
|                                                 | bits are dropped                            |
| set, frozenset                                  | the same if of text and numbers, else list  |
| deque, torch.Size                               | list, tuple                                 |
| numpy arrays and scalars of numbers             | read-only array, NumPy scalar               |
| numpy arrays of objects                         | lists in lists of values; 0-d: the value    |
| scipy.sparse csc, csr, coo                      | `arrays.SparseMatrix`                       |
| torch tensors and parameters                    | `tensors.TensorRef`, or array if inline     |
| paths of pathlib                                | text                                        |
| any other class, function or array              | `arrays.Unread`                             |
"""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from flame_assets.inert.arrays import (
    SparseMatrix,
    Unread,
    array_of,
    nested_lists,
    numeric_dtype,
)
from flame_assets.inert.budgets import PICKLE_BYTES, PICKLE_DEPTH, PICKLE_UNFOLDED
from flame_assets.inert.files import ReadError, shown
from flame_assets.inert.nodes import (
    GlobalRef,
    OldString,
    PairList,
    PersistentId,
    PickledCall,
    SetList,
)
from flame_assets.inert.tensors import inline_storage, parameter, tensor

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_LONG = frozenset({str, bytes})
_TEXT = 128  # characters that count as one value
_KEY = 4096  # characters of the longest key


class PickledObject(NamedTuple):
    """An instance of a class that the caller knows how to read."""

    name: str
    args: tuple[Any, ...]
    state: Any


class _Node(NamedTuple):
    node: Any  # keeps its id from being used again
    value: Any
    height: int  # containers within it
    size: int  # values within it, shared ones each time they occur


class Resolver:
    """Makes values of one pickle's nodes.

    Args:
        persistent: gives the value of something outside the pickle by its (resolved) id.
        keep: package name; instances of its classes become `PickledObject`.
    """

    def __init__(
        self, persistent: Callable[[Any], Any] | None = None, keep: str | None = None
    ) -> None:
        self.persistent, self.keep = persistent, keep
        self.done: dict[int, _Node | None] = {}
        self.copied = 0

    def resolve(self, node: Any) -> Any:
        """The value of a node."""
        return self._visit(node, 0).value

    def resolve_pairs(self, pairs: list[Any]) -> Iterator[tuple[str | int, Any]]:
        """Key and value of a part of a dictionary, its keys and values given in turn."""
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            known = _key(self.resolve(key))
            if known is not None:
                yield known, self.resolve(value)

    def _visit(self, node: Any, depth: int) -> "_Node":
        """The value of a node that lies in `depth` containers."""
        if type(node) in _PLAIN:
            return _Node(node, node, 0, 1)
        if id(node) in self.done:
            known = self.done[id(node)]
            if known is None:
                raise ReadError("contains itself")
            if depth + known.height > PICKLE_DEPTH:
                raise ReadError(f"is nested deeper than {PICKLE_DEPTH} levels")
            return known
        if depth >= PICKLE_DEPTH:
            raise ReadError(f"is nested deeper than {PICKLE_DEPTH} levels")
        self.done[id(node)] = None
        self.done[id(node)] = made = self._make(node, depth)
        if made.size > PICKLE_UNFOLDED:
            raise ReadError(f"unfolds to more than {PICKLE_UNFOLDED} values")
        return made

    def _make(self, node: Any, depth: int) -> "_Node":
        kind = type(node)
        if kind is PickledCall:
            return self._call(node, depth)
        if kind is GlobalRef:
            return _Node(node, Unread(node.name), 0, 1)
        if kind is OldString:
            return _Node(node, node.decode("latin-1"), 0, 1 + len(node) // _TEXT)
        if kind is PersistentId:
            if self.persistent is None:
                raise ReadError("refers to data outside itself")
            id_ = self._visit(node.id, depth + 1)
            return _Node(node, self.persistent(id_.value), id_.height + 1, id_.size)
        items = self._children(node, depth)
        if kind is tuple:
            return items._replace(value=tuple(items.value))
        if kind is PairList:
            return items._replace(value=_dict(items.value))
        return items._replace(value=_set(items.value)) if kind is SetList else items

    def _children(self, node: Any, depth: int) -> "_Node":
        """The values in a list of nodes, as a list."""
        values, height, size = [], 1, 1
        for child in node:
            if type(child) in _PLAIN:
                values.append(child)
                size += 1 + (len(child) // _TEXT if type(child) in _LONG else 0)
            else:
                made = self._visit(child, depth + 1)
                values.append(made.value)
                height, size = max(height, made.height + 1), size + made.size
        return _Node(node, values, height, size)

    def _call(self, node: PickledCall, depth: int) -> "_Node":
        kept = self.keep is not None and node.function.startswith(f"{self.keep}.")
        maker = _MAKERS.get(node.function)
        if maker is None and not kept:
            return _Node(node, Unread(node.function), 0, 1)
        parts = [self._children(part, depth) for part in (node.args, node.items, node.pairs)]
        parts.append(state := self._visit(node.state, depth + 1))
        height, size = max(part.height for part in parts) + 1, sum(part.size for part in parts)
        args, items, pairs = (part.value for part in parts[:3])
        if kept or maker is None:
            value = PickledObject(node.function, tuple(args), state.value)
            return _Node(node, value, height, size)
        try:
            value = maker(self, _Call(args, state.value, items, pairs))
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise ReadError(f"holds a malformed {shown(node.function)}") from error
        return _Node(node, value, height, size)

    def copy(self, size: int) -> None:
        """Account for `size` bytes or items that are copied: shared ones may be copied often."""
        self.copied += size
        if self.copied > PICKLE_BYTES:
            raise ReadError(f"unfolds to more than {PICKLE_BYTES >> 20} MiB")


class _Call(NamedTuple):
    args: list[Any]
    state: Any
    items: list[Any]
    pairs: list[Any]


def _dict(pairs: list[Any]) -> dict[Any, Any]:
    return {
        known: value
        for key, value in zip(pairs[::2], pairs[1::2], strict=True)
        if (known := _key(key)) is not None
    }


def _key(key: Any) -> str | int | None:
    """A key as it is hashed; None for one that is dropped."""
    if isinstance(key, str | bytes):
        if len(key) > _KEY:
            return None
        return key.decode("latin-1") if isinstance(key, bytes) else key
    if isinstance(key, np.integer):
        return int(key)
    return key if isinstance(key, int) and -(1 << 63) <= key < 1 << 64 else None


def _set(items: list[Any]) -> set[Any] | list[Any]:
    return set(items) if all(map(_is_cheaply_hashed, items)) else items


def _is_cheaply_hashed(item: Any) -> bool:
    return type(item) in _PLAIN and (type(item) is not int or abs(item) < 1 << 64)


def _mapping(resolver: Resolver, call: _Call) -> dict[Any, Any]:
    """OrderedDict(pairs), defaultdict(factory), Counter(dict), then items set one by one."""
    start = call.args[0] if call.args else None
    if isinstance(start, list | tuple):
        resolver.copy(8 * len(start))
        made = _dict([entry for pair in start for entry in (pair[0], pair[1])])
    elif isinstance(start, dict):
        resolver.copy(8 * len(start))
        made = dict(start)
    else:
        made = {}
    return made | _dict(call.pairs)


def _items(resolver: Resolver, call: _Call) -> list[Any]:
    start = list(call.args[0]) if call.args else []
    resolver.copy(8 * len(start))
    return start + call.items


def _bytes(resolver: Resolver, call: _Call) -> bytes:
    """bytes(), bytearray(b".."), bytearray("..", "latin-1") and codecs.encode("..", "latin1")."""
    if not call.args:
        return b""
    text, *encoding = call.args
    if encoding and encoding[0] not in ("latin1", "latin-1"):
        raise ValueError(encoding)
    return _raw(resolver, text)


def _raw(resolver: Resolver, value: Any) -> bytes:
    """The bytes of an array or buffer; Python 2 and older protocols give them as text."""
    if isinstance(value, str):
        resolver.copy(len(value))
        return value.encode("latin-1")
    if not isinstance(value, bytes):
        raise TypeError(type(value))
    return value


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _dtype(resolver: Resolver, call: _Call) -> Any:
    """np.dtype(code) and its state (version, order, subarray, names, fields, ...)."""
    code = _text(call.args[0])
    state = call.state if call.state is not None else (3, "<", None, None, None)
    if any(part is not None for part in state[2:5]) or not isinstance(code, str):
        return Unread("numpy type with fields")
    if code in ("O", "O4", "O8"):
        return np.dtype(object)
    dtype = numeric_dtype(code, _text(state[1]))
    return Unread(f"numpy array of {code}") if dtype is None else dtype


def _reconstruct(resolver: Resolver, call: _Call) -> Any:
    """_reconstruct(class, (0,), b"b") and the array's state."""
    cls = call.args[0]
    if not isinstance(cls, Unread) or not cls.name.startswith("numpy."):
        return Unread(cls.name if isinstance(cls, Unread) else "array")
    shape, dtype, fortran, raw = call.state[-4:]  # before it the version, if any
    return _array(resolver, raw, dtype, shape, bool(fortran))


def _array(resolver: Resolver, raw: Any, dtype: Any, shape: Any, fortran: bool) -> Any:
    if isinstance(dtype, Unread):
        return dtype
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple | list):
        raise TypeError(type(dtype))
    if dtype.kind != "O":
        raw = _raw(resolver, raw)
        resolver.copy(len(raw) if dtype.kind == "b" else 0)
        return array_of(raw, dtype, shape, fortran=fortran)
    if not isinstance(raw, list):
        raise TypeError(type(raw))
    resolver.copy(8 * len(raw))
    return nested_lists(raw, shape)


def _from_buffer(resolver: Resolver, call: _Call) -> Any:
    """numpy's _frombuffer(raw, dtype, shape, order), of protocol 5."""
    raw, dtype, shape, order = call.args
    return _array(resolver, raw, dtype, shape, order == "F")


def _scalar(resolver: Resolver, call: _Call) -> Any:
    dtype, *raw = call.args
    if isinstance(dtype, Unread) or dtype.kind == "O":
        return Unread("numpy scalar")
    return _array(resolver, raw[0], dtype, (), False)[()]


def _sparse(format_: str) -> Callable[[Resolver, _Call], SparseMatrix]:
    major, minor = ("row", "col") if format_ == "coo" else ("indptr", "indices")

    def make(resolver: Resolver, call: _Call) -> SparseMatrix:
        state = call.state
        if format_ == "coo" and "coords" in state:
            return SparseMatrix(format_, tuple(state["_shape"]), state["data"], *state["coords"])
        shape = tuple(state["_shape"])
        return SparseMatrix(format_, shape, state["data"], state[major], state[minor])

    return make


def _path(kind: type[PurePosixPath] | type[PureWindowsPath]) -> Callable[[Resolver, _Call], str]:
    def make(resolver: Resolver, call: _Call) -> str:
        parts = [_text(part) for part in call.args]
        resolver.copy(sum(map(len, parts)))
        return str(kind(*parts))

    return make


def _tensor(resolver: Resolver, call: _Call) -> Any:
    value = tensor(*call.args[:4])
    if isinstance(value, np.ndarray):
        resolver.copy(value.nbytes if value.base is None else 0)
    return value


def _parameter(resolver: Resolver, call: _Call) -> Any:
    return parameter(call.args[0])


def _load_from_bytes(resolver: Resolver, call: _Call) -> Any:
    raw = _raw(resolver, call.args[0])
    resolver.copy(len(raw))
    return inline_storage(raw)


Maker = Callable[[Resolver, _Call], Any]
_MAKERS: dict[str, Maker] = {
    "numpy.dtype": _dtype,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _from_buffer,
    **{
        f"scipy.sparse._{format_}.{format_}_{kind}": _sparse(format_)
        for format_ in ("csc", "csr", "coo")
        for kind in ("matrix", "array")
    },
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _load_from_bytes,
    **dict.fromkeys(
        ("collections.OrderedDict", "collections.defaultdict", "collections.Counter"), _mapping
    ),
    "builtins.dict": _mapping,
    "builtins.list": _items,
    "collections.deque": _items,
    "builtins.set": lambda resolver, call: _set(_items(resolver, call)),
    "builtins.frozenset": lambda resolver, call: _set(_items(resolver, call)),
    "torch.Size": lambda resolver, call: tuple(_items(resolver, call)),
    **dict.fromkeys(("builtins.bytes", "builtins.bytearray", "_codecs.encode"), _bytes),
    "builtins.complex": lambda resolver, call: complex(*map(float, call.args)),
    **dict.fromkeys(("pathlib.PosixPath", "pathlib.PurePosixPath"), _path(PurePosixPath)),
    **dict.fromkeys(("pathlib.WindowsPath", "pathlib.PureWindowsPath"), _path(PureWindowsPath)),
}
