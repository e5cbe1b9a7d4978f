"""Copies of remote files on a local disk, fetched once from end to end.

Tars are read from copies: a store serves one long read far better than a request for each photo,
and a copy can be read in any order whatever the server is able to.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from pacofr.data.remote.location import Location, Url
from pacofr.data.remote.pipes import read_pipe
from pacofr.data.remote.stores import (
    UnreadableFileError,
    open_store,
    pause,
    store_errors,
)
from pacofr.errors import UserError
from pacofr.utils.budgets import SLOWEST_BYTES

LOGGER = logging.getLogger(__name__)
CHUNK = 4 << 20
COPY_PREFIX = ".fetched."
RESERVE_BYTES = 1 << 28
"""Left free on the disk."""
PACE_SECONDS = 60.0


def _go_on() -> None:
    """What nobody wants to stop."""


@contextlib.contextmanager
def local_copy(
    source: Location, folder: Path | None, limit: int, check_stop: Callable[[], None] = _go_on
) -> Iterator[Path]:
    """A path where the file can be read until the block ends: the file itself if it is local.

    Args:
        source: a path, URL or pipe.
        folder: for the copy, which is deleted at the end, or left by a killed process; None is the
            system's folder for temporary files.
        limit: most bytes.
        check_stop: called between pieces; raises where the work is to be left.

    Raises:
        MissingFileError: there is no such file.
        UserError: it cannot be fetched, is too large, or the disk is full.
    """
    if isinstance(source, Path):
        yield source
        return
    with contextlib.ExitStack() as held:
        try:
            file = held.enter_context(tempfile.NamedTemporaryFile(dir=folder, prefix=COPY_PREFIX))
            fetch(source, file, limit, check_stop)
            file.flush()
        except OSError as error:
            raise UserError(
                f"cannot copy {source} to {folder or tempfile.gettempdir()}:"
                f" {error.strerror or error}"
            ) from error
        yield Path(file.name)


def fetch(
    source: Url, target: IO[bytes], limit: int, check_stop: Callable[[], None] = _go_on
) -> None:
    """Write a remote file or a pipe's output into an empty local file; see `local_copy`."""
    if source.is_pipe:
        done = 0
        for data in read_pipe(source, check_stop):
            done += len(data)
            if done > limit:
                raise UserError(f"{source} prints more than {limit} bytes")
            _write(source, target, data)
        return
    failures = furthest = 0
    while True:
        try:
            _fetch_rest(source, target, limit, check_stop)
            return
        except UnreadableFileError as error:
            failures = 1 if target.tell() >= furthest + CHUNK else failures + 1
            furthest = max(furthest, target.tell())
            pause(failures, error)
            LOGGER.warning("%s; trying again", str(error).partition("; give")[0])
            check_stop()


def _fetch_rest(source: Url, target: IO[bytes], limit: int, check_stop: Callable[[], None]) -> None:
    """Fetch what is missing, or all of it where the store does not serve parts."""
    with store_errors(source):
        store, path = open_store(source)
        with store.open(path, "rb", block_size=CHUNK, cache_type="readahead") as stream:
            size = getattr(stream, "size", None)
            size = source.size if size is None else size
            if size is not None:
                _check_room(source, target, size, limit)
            done = target.tell()
            if done:
                if stream.seekable():
                    stream.seek(done)
                else:
                    target.seek(0)
                    target.truncate()
                    done = 0
            pace = _Pace(source)
            while data := stream.read(CHUNK):
                done += len(data)
                if done > limit or (size is not None and done > size):
                    raise UserError(f"{source} is longer than {min(limit, size or limit)} bytes")
                _write(source, target, data)
                pace.add(len(data))
                check_stop()
        if size is not None and done != size:
            raise UnreadableFileError(
                f"{source} ended after {done} of {size} bytes; give the same command again to go on"
            )


class _Pace:
    """Gives up a store that sends less than a minimum of bytes a second over a minute."""

    def __init__(self, source: Url) -> None:
        self._source, self._began, self._bytes = source, time.monotonic(), 0

    def add(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            UnreadableFileError: they were too few.
        """
        self._bytes += count
        seconds = time.monotonic() - self._began
        if seconds > PACE_SECONDS:
            if self._bytes < SLOWEST_BYTES * seconds:
                raise UnreadableFileError(
                    f"{self._source} sends less than {SLOWEST_BYTES} bytes a second; give the same"
                    " command again to go on"
                )
            self._began, self._bytes = time.monotonic(), 0


def _write(source: Url, target: IO[bytes], data: bytes) -> None:
    """Write a piece, and leave some room on the disk.

    Raises:
        UserError: there is none.
    """
    folder = os.path.dirname(target.name)
    try:
        target.write(data)
        free = shutil.disk_usage(folder).free
    except OSError as error:  # of this disk, not of the store
        raise UserError(f"cannot copy {source} to {folder}: {error.strerror or error}") from error
    if free < RESERVE_BYTES:
        raise UserError(f"{source} does not fit on the disk of {folder}; give a larger disk")


def _check_room(source: Url, target: IO[bytes], size: int, limit: int) -> None:
    if size > limit:
        raise UserError(f"{source} has {size} bytes: expected at most {limit}")
    free = shutil.disk_usage(os.path.dirname(target.name)).free
    if size - target.tell() + RESERVE_BYTES > free:
        raise UserError(
            f"{source} has {size} bytes, and {os.path.dirname(target.name)} has {free} left; give"
            " a larger disk"
        )
