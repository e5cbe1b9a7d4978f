"""Values of the calls that pickles of data make: arrays, matrices, tensors, containers, paths."""

from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from flame_assets.inert.arrays import SparseMatrix, Unread, array_of, nested_lists, numeric_dtype
from flame_assets.inert.pickle_graph.tensors import inline_storage, parameter, tensor

PLAIN = frozenset({type(None), bool, int, float, str, bytes})
"""Types of the values that a pickle holds as they are."""
_KEY = 4096  # characters of the longest key

Account = Callable[[int], None]
"""Told how many bytes a maker copies: what a pickle holds once may be copied many times."""


class Call(NamedTuple):
    """A call of a pickle, its arguments already values."""

    args: list[Any]
    state: Any
    items: list[Any]
    pairs: list[Any]


Maker = Callable[[Call, Account], Any]
"""Makes the value of a call; a TypeError, ValueError or the like of it means malformed input."""


def dict_of(pairs: list[Any]) -> dict[Any, Any]:
    """The dictionary of keys and values given in turn."""
    return {
        known: value
        for key, value in zip(pairs[::2], pairs[1::2], strict=True)
        if (known := key_of(key)) is not None
    }


def key_of(key: Any) -> str | int | None:
    """A key as it is hashed; None for one that is dropped."""
    if isinstance(key, str | bytes):
        if len(key) > _KEY:
            return None
        return key.decode("latin-1") if isinstance(key, bytes) else key
    if isinstance(key, np.integer):
        return int(key)
    return key if isinstance(key, int) and -(1 << 63) <= key < 1 << 64 else None


def set_of(items: list[Any]) -> set[Any] | list[Any]:
    """A set of text and numbers; other items stay a list, so that nothing else is hashed."""
    return set(items) if all(map(_is_cheaply_hashed, items)) else items


def _is_cheaply_hashed(item: Any) -> bool:
    return type(item) in PLAIN and (type(item) is not int or abs(item) < 1 << 64)


def _mapping(call: Call, account: Account) -> dict[Any, Any]:
    """OrderedDict(pairs), defaultdict(factory), Counter(dict), then items set one by one."""
    start = call.args[0] if call.args else None
    if isinstance(start, list | tuple):
        account(8 * len(start))
        made = dict_of([entry for pair in start for entry in (pair[0], pair[1])])
    elif isinstance(start, dict):
        account(8 * len(start))
        made = dict(start)
    else:
        made = {}
    return made | dict_of(call.pairs)


def _items(call: Call, account: Account) -> list[Any]:
    start = list(call.args[0]) if call.args else []
    account(8 * len(start))
    return start + call.items


def _bytes(call: Call, account: Account) -> bytes:
    """bytes(), bytearray(b".."), bytearray("..", "latin-1") and codecs.encode("..", "latin1")."""
    if not call.args:
        return b""
    text, *encoding = call.args
    if encoding and encoding[0] not in ("latin1", "latin-1"):
        raise ValueError(encoding)
    return _raw(text, account)


def _raw(value: Any, account: Account) -> bytes:
    """The bytes of an array or buffer; Python 2 and older protocols give them as text."""
    if isinstance(value, str):
        account(len(value))
        return value.encode("latin-1")
    if not isinstance(value, bytes):
        raise TypeError(type(value))
    return value


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _dtype(call: Call, account: Account) -> Any:
    """np.dtype(code) and its state (version, order, subarray, names, fields, ...)."""
    code = _text(call.args[0])
    state = call.state if call.state is not None else (3, "<", None, None, None)
    if any(part is not None for part in state[2:5]) or not isinstance(code, str):
        return Unread("numpy type with fields")
    if code in ("O", "O4", "O8"):
        return np.dtype(object)
    dtype = numeric_dtype(code, _text(state[1]))
    return Unread(f"numpy array of {code}") if dtype is None else dtype


def _reconstruct(call: Call, account: Account) -> Any:
    """_reconstruct(class, (0,), b"b") and the array's state."""
    cls = call.args[0]
    if not isinstance(cls, Unread) or not cls.name.startswith("numpy."):
        return Unread(cls.name if isinstance(cls, Unread) else "array")
    shape, dtype, fortran, raw = call.state[-4:]  # before it the version, if any
    return _array(raw, dtype, shape, bool(fortran), account)


def _array(raw: Any, dtype: Any, shape: Any, fortran: bool, account: Account) -> Any:
    if isinstance(dtype, Unread):
        return dtype
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple | list):
        raise TypeError(type(dtype))
    if dtype.kind != "O":
        raw = _raw(raw, account)
        account(len(raw) if dtype.kind == "b" else 0)
        return array_of(raw, dtype, shape, fortran=fortran)
    if not isinstance(raw, list):
        raise TypeError(type(raw))
    account(8 * len(raw))
    return nested_lists(raw, shape)


def _from_buffer(call: Call, account: Account) -> Any:
    """numpy's _frombuffer(raw, dtype, shape, order), of protocol 5."""
    raw, dtype, shape, order = call.args
    return _array(raw, dtype, shape, order == "F", account)


def _scalar(call: Call, account: Account) -> Any:
    dtype, *raw = call.args
    if isinstance(dtype, Unread) or dtype.kind == "O":
        return Unread("numpy scalar")
    return _array(raw[0], dtype, (), False, account)[()]


def _sparse(format_: str) -> Maker:
    major, minor = ("row", "col") if format_ == "coo" else ("indptr", "indices")

    def make(call: Call, account: Account) -> SparseMatrix:
        state = call.state
        if format_ == "coo" and "coords" in state:
            return SparseMatrix(format_, tuple(state["_shape"]), state["data"], *state["coords"])
        shape = tuple(state["_shape"])
        return SparseMatrix(format_, shape, state["data"], state[major], state[minor])

    return make


def _path(kind: type[PurePosixPath] | type[PureWindowsPath]) -> Maker:
    def make(call: Call, account: Account) -> str:
        parts = [_text(part) for part in call.args]
        account(sum(map(len, parts)))
        return str(kind(*parts))

    return make


def _tensor(call: Call, account: Account) -> Any:
    value = tensor(*call.args[:4])
    if isinstance(value, np.ndarray):
        account(value.nbytes if value.base is None else 0)
    return value


def _parameter(call: Call, account: Account) -> Any:
    return parameter(call.args[0])


def _load_from_bytes(call: Call, account: Account) -> Any:
    raw = _raw(call.args[0], account)
    account(len(raw))
    return inline_storage(raw)


MAKERS: dict[str, Maker] = {
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
    "builtins.set": lambda call, account: set_of(_items(call, account)),
    "builtins.frozenset": lambda call, account: set_of(_items(call, account)),
    "torch.Size": lambda call, account: tuple(_items(call, account)),
    **dict.fromkeys(("builtins.bytes", "builtins.bytearray", "_codecs.encode"), _bytes),
    "builtins.complex": lambda call, account: complex(*map(float, call.args)),
    **dict.fromkeys(("pathlib.PosixPath", "pathlib.PurePosixPath"), _path(PurePosixPath)),
    **dict.fromkeys(("pathlib.WindowsPath", "pathlib.PureWindowsPath"), _path(PureWindowsPath)),
}
