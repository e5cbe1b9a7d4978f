"""numba's compiler with an on-disk cache that is optional."""

from collections.abc import Callable
from typing import Any

from numba import njit


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`numba.njit(**options)`, cached on disk; compiled in each process where no cache can be."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # "no locator available": read-only installation and home
            return njit(**options)(function)

    return wrap
