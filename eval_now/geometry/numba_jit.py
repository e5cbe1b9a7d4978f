"""numba's compiler with an on-disk cache that cannot fail a run.

Cached code is checked by a digest before it is loaded. A cache that is missing, damaged, full or
not writable costs a compilation.
"""

import contextlib
import hashlib
import pickle  # noqa: S403 - only to write; numba itself reads, after the digest was checked
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Shaped
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

_DIGEST_BYTES = hashlib.sha256().digest_size


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`numba.njit(**options)` with an optional cache on disk."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher = njit(**options)(function)
        with contextlib.suppress(RuntimeError):  # no folder that can be written to
            dispatcher._cache = _OptionalCache(function)  # pyright: ignore[reportAttributeAccessIssue]
        return dispatcher

    return wrap


def kernel_input(
    array: Shaped[np.ndarray, "*shape"], dtype: npt.DTypeLike | None = None
) -> Shaped[np.ndarray, "*shape"]:
    """A contiguous, read-only view or copy of an array that a kernel only reads, as `dtype`.

    numba compiles a kernel once per argument type, and read-only arrays have another type than
    writable ones: with every input read-only, it is compiled once.
    """
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


class _OptionalCache(FunctionCache):
    """Loads nothing and saves nothing where numba's own cache would raise."""

    def __init__(self, py_func: Callable[..., Any]) -> None:
        super().__init__(py_func)
        self._cache_file = _CheckedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for a signature, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001 - whatever a damaged cache leads to
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function if that is possible."""
        with contextlib.suppress(Exception):
            super().save_overload(sig, data)


class _CheckedFiles(IndexDataCacheFile):
    """numba's cache files with a SHA-256 digest behind each pickle, where unpickling ignores it."""

    def _dump(self, obj: Any) -> bytes:
        data = super()._dump(obj)
        return data + hashlib.sha256(data).digest()

    def _load_index(self) -> dict[Any, str]:
        """The index; empty if it is damaged, so that it is written anew."""
        version = pickle.dumps(self._version, protocol=-1)
        try:
            with open(self._index_path, "rb") as file:
                intact = file.read(len(version)) == version and _is_intact(file.read())
        except OSError:
            intact = False
        return super()._load_index() if intact else {}

    def _load_data(self, name: str) -> Any:
        with open(self._data_path(name), "rb") as file:
            if not _is_intact(file.read()):
                raise OSError(f"{name}: damaged")  # numba takes it for missing
        return super()._load_data(name)


def _is_intact(data: bytes) -> bool:
    return data[-_DIGEST_BYTES:] == hashlib.sha256(data[:-_DIGEST_BYTES]).digest()
