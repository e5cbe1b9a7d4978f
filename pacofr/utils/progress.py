"""A progress bar for people."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

import rich.progress
from rich.console import Console

Item = TypeVar("Item")


def track(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Iterate under a bar on standard error; without one where that is no terminal."""
    return rich.progress.track(
        items,
        what,
        transient=True,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
