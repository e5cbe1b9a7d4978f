"""What commands print."""

import contextlib
import os
import queue
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import IO

from pacofr.data.remote.location import PIPE, Url
from pacofr.errors import UserError

PIECE = 1 << 20
POLL_SECONDS = 0.2
"""Between two looks whether the work is to be left."""
KEPT_OF_ERRORS = 2000
"""Last bytes of what a command says on standard error."""


def read_pipe(source: Url, check_stop: Callable[[], None]) -> Iterator[bytes]:
    """Run the command of `pipe:COMMAND` without a shell; yields what it prints.

    A command that is left, by whatever error, is killed with all that it has started.

    Raises:
        UserError: it cannot be run, or failed; what it said last is told.
    """
    try:
        arguments = shlex.split(source.text.removeprefix(PIPE))
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except ValueError as error:
        raise UserError(f"{source}: expected a command and its arguments ({error})") from error
    except OSError as error:
        raise UserError(f"{source}: cannot be run ({error.strerror})") from error
    assert process.stdout is not None
    assert process.stderr is not None
    pieces: queue.Queue[bytes] = queue.Queue(2)
    said = bytearray()
    left = threading.Event()
    threads = [
        threading.Thread(target=_read, args=(process.stdout, pieces, left), daemon=True),
        threading.Thread(target=_keep_end, args=(process.stderr, said), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        while data := _next(pieces, check_stop):
            yield data
        while True:
            check_stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
                break
    except BaseException:
        left.set()
        _kill(process)
        raise
    threads[1].join(POLL_SECONDS)
    if process.returncode:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        reason = f": {lines[-1].strip()}" if lines else ""
        raise UserError(f"{source} failed with exit code {process.returncode}{reason}")


def _next(pieces: queue.Queue[bytes], check_stop: Callable[[], None]) -> bytes:
    while True:
        check_stop()
        with contextlib.suppress(queue.Empty):
            return pieces.get(timeout=POLL_SECONDS)


def _read(stream: IO[bytes], pieces: queue.Queue[bytes], left: threading.Event) -> None:
    """Pass on what comes, and b"" at the end."""
    data = b" "
    with stream:
        while data:
            data = os.read(stream.fileno(), PIECE)
            while not left.is_set():
                with contextlib.suppress(queue.Full):
                    pieces.put(data, timeout=POLL_SECONDS)
                    break


def _keep_end(stream: IO[bytes], said: bytearray) -> None:
    with stream:
        while data := os.read(stream.fileno(), PIECE):
            said += data
            del said[:-KEPT_OF_ERRORS]


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
