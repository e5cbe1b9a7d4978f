"""Progress over many photos or frames: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable

LINE_EVERY_S = 10.0


class Progress:
    """Shows on standard error how far a run is; other lines print above the bar."""

    def __init__(
        self,
        total: int,
        *,
        what: str = "photos",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._done, self._what = total, 0, what
        self._clock = clock
        self._began = self._last_line = clock()
        self._bar = None
        if total > 1 and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # a redirected output keeps its lines
            )
            self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """One photo more is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.advance(self._task)
            return
        now = self._clock()
        if now - self._last_line >= LINE_EVERY_S and self._done < self._total:
            self._last_line = now
            self.say(self._line(now - self._began), error=True)

    def say(self, text: str, *, error: bool = False) -> None:
        """Print `text` on standard output, or on standard error."""
        print(text, file=sys.stderr if error else sys.stdout, flush=True)

    def _line(self, elapsed_s: float) -> str:
        rate = self._done / elapsed_s
        minutes = (self._total - self._done) / rate / 60
        left = f"{minutes:.0f} min" if minutes >= 1 else f"{60 * minutes:.0f} s"
        return f"{self._done} of {self._total} {self._what}, {rate:.1f} a second, {left} left"
