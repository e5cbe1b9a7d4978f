"""Copies of remote files on a local disk, fetched once from end to end.

Tars are read from copies: a store serves one long read far better than a request for each photo,
and a copy can be read in any order whatever the server is able to.
"""

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from pacofr.data.remote.location import PIPE, Location, Url
from pacofr.data.remote.stores import (
    UnreadableFileError,
    open_store,
    pause,
    store_errors,
)
from pacofr.errors import UserError

LOGGER = logging.getLogger(__name__)
CHUNK = 4 << 20
COPY_PREFIX = ".fetched."
RESERVE_BYTES = 1 << 28
"""Left free on the disk."""


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
        _run_pipe(source, target, limit, check_stop)
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
            while data := stream.read(CHUNK):
                done += len(data)
                if done > limit or (size is not None and done > size):
                    raise UserError(f"{source} is longer than {min(limit, size or limit)} bytes")
                target.write(data)
                check_stop()
        if size is not None and done != size:
            raise UnreadableFileError(
                f"{source} ended after {done} of {size} bytes; give the same command again to go on"
            )


def _check_room(source: Url, target: IO[bytes], size: int, limit: int) -> None:
    if size > limit:
        raise UserError(f"{source} has {size} bytes: expected at most {limit}")
    free = shutil.disk_usage(os.path.dirname(target.name)).free
    if size - target.tell() + RESERVE_BYTES > free:
        raise UserError(
            f"{source} has {size} bytes, and {os.path.dirname(target.name)} has {free} left; give"
            " a larger disk"
        )


def _run_pipe(source: Url, target: IO[bytes], limit: int, check_stop: Callable[[], None]) -> None:
    """Run the command without a shell and write what it prints; what it says last is told."""
    try:
        arguments = shlex.split(source.text.removeprefix(PIPE))
    except ValueError as error:
        raise UserError(f"{source}: expected a command and its arguments ({error})") from error
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
            )
        except OSError as error:
            raise UserError(f"{source}: cannot be run ({error.strerror})") from error
        with process:
            assert process.stdout is not None
            try:
                while data := process.stdout.read(CHUNK):
                    if target.tell() + len(data) > limit:
                        raise UserError(f"{source} prints more than {limit} bytes")
                    target.write(data)
                    check_stop()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            end = said.seek(0, os.SEEK_END)
            said.seek(max(0, end - 2000))
            lines = said.read().decode("utf-8", "replace").strip().splitlines()
            reason = f": {lines[-1].strip()}" if lines else ""
            raise UserError(f"{source} failed with exit code {process.returncode}{reason}")
