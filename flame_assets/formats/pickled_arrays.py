"""Arrays out of what inert_pickle wrote down, out of .npy and out of .npz: data only, no code.

Each function checks sizes before it allocates and raises `PickleError` on anything unexpected.
"""

import io
import math
import re
import zipfile
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy.lib import format as npy_format

from flame_assets.formats.pickle_reader import (
    MALFORMED,
    Call,
    Name,
    PickleError,
    read_pickle,
    read_pickle_from,
)

MAX_ELEMENTS = 1 << 28
_STORAGES = {"Long": "<i8", "Int": "<i4", "Float": "<f4", "Double": "<f8"}


def as_array(value: Any, depth: int = 0) -> Shaped[np.ndarray, "..."]:
    """The numbers of a numpy array, scipy csc matrix, torch tensor or chumpy object as an array."""
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, Call) or depth > 8:
        raise PickleError("holds something else where an array should be")
    try:
        if value.function.startswith("chumpy."):
            return _chumpy(value, depth)
        if value.function.startswith("scipy.sparse."):
            return _csc_matrix(value.state)
        if value.function == "torch._utils._rebuild_tensor_v2":
            return _torch_tensor(*value.args[:4])
        if value.function == "numpy._core.numeric._frombuffer":
            raw, dtype, shape, order = value.args
            return _ndarray(shape, _dtype(dtype), order == "F", raw)
        if value.function == "numpy._core.multiarray._reconstruct":
            _, shape, dtype, fortran, raw = value.state
            return _ndarray(shape, _dtype(dtype), bool(fortran), raw)
    except PickleError:
        raise
    except MALFORMED as error:
        raise PickleError("holds a malformed array") from error
    raise PickleError(f"holds a {value.function} where an array should be")


def read_npy(data: bytes) -> Any:
    """Content of a .npy file: an array, or the Python value of a 0-d object array, read inertly."""
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        read_header = {
            (1, 0): npy_format.read_array_header_1_0,
            (2, 0): npy_format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(stream)
    except (ValueError, LookupError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise PickleError("is no readable .npy file") from error
    rest = data[stream.tell() :]
    if not dtype.hasobject:
        return _ndarray(shape, dtype, fortran, rest)
    pickled = read_pickle(rest)
    if shape != () or not isinstance(pickled, Call) or not isinstance(pickled.state, tuple):
        raise PickleError("is no .npy file of arrays or of one dictionary of arrays")
    if len(pickled.state) != 5 or not isinstance(pickled.state[4], list):
        raise PickleError("is no .npy file of arrays or of one dictionary of arrays")
    return pickled.state[4][0] if len(pickled.state[4]) == 1 else pickled.state[4]


def read_npz(data: bytes, max_bytes: int) -> dict[str, Any]:
    """Members of a .npz file by name, each read with `read_npy`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                info.filename.removesuffix(".npy"): read_npy(read_member(archive, info, max_bytes))
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
    except zipfile.BadZipFile as error:
        raise PickleError("is no readable .npz file") from error


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int) -> bytes:
    """One member of a zip, into memory, refused where it is encrypted, too large or damaged."""
    if info.flag_bits & 1:
        raise PickleError(f"has the encrypted member {info.filename}")
    if info.file_size > max_bytes:
        raise PickleError(f"has the member {info.filename} of {info.file_size >> 20} MiB")
    try:
        return archive.read(info)
    except Exception as error:  # zlib.error, LZMAError, BadZipFile: each compressor has its own
        raise PickleError(f"has the damaged member {info.filename}") from error


def _dtype(value: Any) -> np.dtype:
    code = value.args[0]
    if isinstance(code, bytes):
        code = code.decode("latin-1")
    if value.function != "numpy.dtype" or not re.fullmatch(r"[biuf](1|2|4|8)", code):
        raise PickleError(f"holds an array of {code!r}, not of numbers")
    order = value.state[1] if isinstance(value.state, tuple) else "="
    swapped = order in (">", b">")
    return np.dtype(code).newbyteorder(">" if swapped else "<")


def _ndarray(shape: Any, dtype: np.dtype, fortran: bool, raw: Any) -> np.ndarray:
    if isinstance(raw, str):
        raw = raw.encode("latin-1")
    if not isinstance(raw, bytes | bytearray) or dtype.hasobject:
        raise PickleError("holds a malformed array")
    if any(type(size) is not int or size < 0 for size in shape):
        raise PickleError("holds a malformed array")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise PickleError("holds an array whose size is not its shape's")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def _chumpy(value: Call, depth: int) -> np.ndarray:
    """Ch holds its numbers as x; Select picks flat indices idxs of another one, a."""
    state = value.state
    if value.function == "chumpy.ch.Ch":
        return as_array(state["x"], depth + 1)
    if value.function == "chumpy.reordering.Select":
        picked = as_array(state["a"], depth + 1).ravel()[as_array(state["idxs"], depth + 1)]
        shape = state.get("preferred_shape")
        return picked if shape is None else picked.reshape(shape)
    raise PickleError(f"holds a {value.function} where numbers should be")


def _csc_matrix(state: dict[str, Any]) -> np.ndarray:
    rows, columns = state["_shape"]
    data, indices, indptr = (as_array(state[key]) for key in ("data", "indices", "indptr"))
    steps = np.diff(indptr)
    if not (0 < rows * columns <= MAX_ELEMENTS and len(steps) == columns and indptr[0] == 0):
        raise PickleError("holds a malformed sparse matrix")
    if (steps < 0).any() or indptr[-1] != len(data) or len(indices) != len(data):
        raise PickleError("holds a malformed sparse matrix")
    if len(indices) and (indices.min() < 0 or indices.max() >= rows):
        raise PickleError("holds a malformed sparse matrix")
    dense = np.zeros((rows, columns), dtype=data.dtype)
    np.add.at(dense, (indices, np.repeat(np.arange(columns), steps)), data)
    return dense


def _torch_tensor(storage: Any, offset: int, size: Any, stride: Any) -> np.ndarray:
    """A contiguous tensor; its storage is a small file in torch's older format, of 5 pickles."""
    if not isinstance(storage, Call) or storage.function != "torch.storage._load_from_bytes":
        raise PickleError("holds a malformed tensor")
    stream = io.BytesIO(storage.args[0])
    _magic, _protocol, _system, described, _keys = (read_pickle_from(stream) for _ in range(5))
    kind = described.args[0][1]
    if described.function != "persistent" or not isinstance(kind, Name):
        raise PickleError("holds a malformed tensor")
    dtype = np.dtype(_STORAGES[kind.dotted.removeprefix("torch.").removesuffix("Storage")])
    raw = stream.read()[8:]  # behind the count of elements
    count = math.prod(size)
    if offset < 0 or min(size, default=0) < 0:
        raise PickleError("holds a malformed tensor")
    for axis, step in enumerate(stride):
        if count and size[axis] > 1 and step != math.prod(size[axis + 1 :]):
            raise PickleError("holds a tensor that is not contiguous")
    part = raw[offset * dtype.itemsize : (offset + count) * dtype.itemsize]
    return _ndarray(tuple(size), dtype, False, part)
