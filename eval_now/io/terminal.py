"""The terminal: progress, lines that hold names from files, and a reader that may leave."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from eval_now.errors import one_line

SECONDS_PER_LINE = 10.0
"""Time between two lines of progress where standard error is not a terminal."""


class Terminal(Console):
    """Lets a closed pipe end the program as everywhere else (rich would exit with code 1)."""

    def on_broken_pipe(self) -> None:
        """Called while a BrokenPipeError is handled."""
        raise


def print_line(console: Console, text: str) -> None:
    """Print one line as it is: no markup, no wrapping, control characters escaped."""
    console.print(one_line(text), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress on standard error: a bar on a terminal, else a line every few seconds.

    Yields:
        A function to call with the number of items that were finished.
    """
    if sys.stderr.isatty():
        with Progress(console=Terminal(stderr=True), transient=True) as bars:
            bar = bars.add_task(what.replace("[", r"\["), total=total)
            yield lambda count: bars.advance(bar, count)
        return
    done, last = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last > SECONDS_PER_LINE:
            last = time.monotonic()
            print(one_line(f"{what}: {done} of {total}"), file=sys.stderr, flush=True)

    yield advance
