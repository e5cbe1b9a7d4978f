"""Progress of a loop for people: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

import rich.progress
from rich.console import Console

LOGGER = logging.getLogger(__name__)
LINE_SECONDS = 10.0
"""Time between two lines where standard error is no terminal."""

Item = TypeVar("Item")


def track(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Iterate under a bar on standard error, or log a line every `LINE_SECONDS`."""
    if sys.stderr is not None and sys.stderr.isatty():
        console = Console(stderr=True)
        return rich.progress.track(items, what, transient=True, console=console)
    return _logged(items, what)


def _logged(items: Sequence[Item], what: str) -> Iterable[Item]:
    last = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - last > LINE_SECONDS:
            last = time.monotonic()
            LOGGER.info("%s: %d of %d", what, number, len(items))
        yield item
