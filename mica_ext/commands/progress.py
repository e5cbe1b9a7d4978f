"""Progress of runs over many photos: a bar on a terminal."""

import sys


class Progress:
    """A bar on standard error; lines of text print above it."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._bar = None
        if shown:
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # a redirected output keeps its lines
            )
            self._task = self._bar.add_task("photos", total=total)

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """One photo more is done."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def say(self, text: str, *, error: bool = False) -> None:
        """Print `text` on standard output, or on standard error."""
        print(text, file=sys.stderr if error else sys.stdout)
