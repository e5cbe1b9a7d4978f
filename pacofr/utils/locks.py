"""Locks between processes: a lock on a file, which ends with its process at the latest.

On a file system without such locks (`flock`) a lost machine leaves its .lock files behind; delete
them then.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pacofr.errors import UserError


@contextmanager
def file_lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Lock the file `PATH.lock`; yields whether this process holds it.

    Args:
        path: what is locked; its folder is made.
        wait: wait until the lock is free instead of giving up at once.

    Raises:
        UserError: no lock file can be written there.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise UserError(
            f"expected a folder to write to, got {path.parent} ({error}); give another --out"
        ) from error
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def exclusive_run(run: Path) -> Iterator[None]:
    """Lock the folder of a run for this process.

    Raises:
        UserError: another process holds it.
    """
    with file_lock(run / ".run") as held:
        if not held:
            raise UserError(
                f"another process is at work in {run}; wait for its end or give another --out"
            )
        yield
