"""One process at a time: a claim is a lock on a file that ends with its process at the latest.

On a disk that knows no such locks (`flock`) a machine that is lost leaves its claims behind; delete
the .lock files then.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pacofr.errors import UserError


@contextmanager
def claim(place: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process alone holds `place` (the file `place`.lock); `wait`: until it does.

    Raises UserError where no lock can be written.
    """
    lock = FileLock(place.with_name(f"{place.name}.lock"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise UserError(
            f"expected a folder to write to, got {place.parent} ({error}); give another --out"
        ) from error
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Hold the folder of a run; raises UserError where another process is at work in it."""
    with claim(run / ".run") as mine:
        if not mine:
            raise UserError(
                f"another process is at work in {run}; wait for its end or give another --out"
            )
        yield
