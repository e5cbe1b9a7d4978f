"""`compiled`: numba's compiler, which keeps its work on disk where it may."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`numba.njit(**options)` cached on disk, or anew in each process where none can be written."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # "no locator available": read-only installation and home
            return njit(**options)(function)

    return wrap
