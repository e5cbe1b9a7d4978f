"""HTTP transfers that are bounded in bytes and time, for files that are fetched into the store.

A transfer may be cut and go on over several connections (HTTP Range). It is given up when it is
slower than a pace, whatever the server drips: bytes of the file, of headers or of chunk sizes.
"""

import contextlib
import http.client
import logging
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from flame_assets.errors import UserError, one_line

LOGGER = logging.getLogger(__name__)
CHUNK = 1 << 18
GO_ON = "run the same command again to go on"

Advance = Callable[[int, int | None], None]
"""Told how many bytes are here, and of how many if that is known."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a transfer may take."""

    silence_s: float = 30.0
    """Longest wait for the next bytes."""
    grace_s: float = 60.0
    slowest_bytes_per_s: float = 10_000.0
    """The bytes that have come may have taken `grace_s` and this pace."""
    total_s: float = 8 * 3600.0
    attempts: int = 5
    """Connections made before a transfer that is cut again and again is given up."""
    lock_s: float = 3600.0
    """Longest wait for another process that fetches the same file."""


class CutError(Exception):
    """The connection broke; what has come is kept."""


class StatusError(Exception):
    """The server answered with a status that is no success."""

    def __init__(self, code: int, reason: str, headers: Message) -> None:
        super().__init__(f"{code} {one_line(reason)[:100]}")
        self.code, self.headers = code, headers


class Pace:
    """How fast a transfer has been so far, over all its connections."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.start, self.received = limits, time.monotonic(), 0

    @property
    def is_late(self) -> bool:
        """Whether the transfer is to be given up."""
        allowed = self.limits.grace_s + self.received / self.limits.slowest_bytes_per_s
        return time.monotonic() - self.start > min(allowed, self.limits.total_s)


@contextlib.contextmanager
def open_url(request: urllib.request.Request, pace: Pace) -> Iterator[http.client.HTTPResponse]:
    """The server's answer to `request`, while it is read.

    Raises:
        CutError: the connection broke, or was closed because the pace is late.
        StatusError: the answer is no success.
        UserError: the server cannot be reached, or sends on to an unsafe or malformed address.
    """
    sockets: list[socket.socket] = []
    host = urllib.parse.urlsplit(request.full_url).netloc
    request.add_header("Accept-Encoding", "identity")
    request.add_header("User-Agent", "pacofr")
    opener = urllib.request.build_opener(_Redirects, _Plain(sockets), _Secure(sockets))
    with _closed_when_late(sockets, pace):
        try:
            answer = opener.open(request, timeout=pace.limits.silence_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise StatusError(error.code, str(error.reason), error.headers) from None
        except urllib.error.URLError as error:
            reason = one_line(str(error.reason))[:200]
            raise UserError(f"cannot reach {host}: {reason}; check the connection") from None
        except (http.client.HTTPException, OSError):
            raise CutError from None
        except ValueError as error:  # an address that is none
            reason = one_line(str(error))[:200]
            raise UserError(f"{host} sends on to a malformed address ({reason})") from None
        with answer:
            yield answer


def number(text: str | None) -> int | None:
    """A length out of a header; None if it is none or absurd."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,15}", text.strip()) else None


def start_of(answer: http.client.HTTPResponse, asked: int) -> int:
    """From which byte on the answer has the file: `asked`, or 0 if the server sends it whole."""
    found = re.match(r"bytes ([0-9]{1,15})-", answer.headers.get("Content-Range") or "")
    return asked if answer.status == 206 and found and int(found[1]) == asked else 0


def append(
    answer: http.client.HTTPResponse,
    file: BinaryIO,
    stop: int,
    total: int | None,
    pace: Pace,
    advance: Advance,
    first: bytes = b"",
) -> None:
    """Write `first` and what else comes into `file` until its position is `stop` or no more comes.

    `total` is the position that is expected in the end, for the progress bar.

    Raises:
        CutError: the connection broke.
        UserError: the transfer is too slow.
    """
    chunk = first or read_chunk(answer, stop - file.tell())
    while chunk:
        file.write(chunk)
        pace.received += len(chunk)
        advance(file.tell(), total)
        if file.tell() >= stop:
            return
        if pace.is_late:
            raise too_slow(file.tell())
        chunk = read_chunk(answer, stop - file.tell())


def read_start(answer: http.client.HTTPResponse, size: int) -> bytes:
    """The first bytes of an answer, at least `size` unless it is shorter."""
    start = chunk = read_chunk(answer, CHUNK)
    while chunk and len(start) < size:
        chunk = read_chunk(answer, CHUNK)
        start += chunk
    return start


def read_chunk(answer: http.client.HTTPResponse, size: int) -> bytes:
    """The next bytes of an answer, at most `size`; none at its end."""
    try:
        return answer.read1(min(CHUNK, size))
    except (http.client.HTTPException, OSError, ValueError):  # ValueError: a malformed chunk size
        raise CutError from None


def receive_whole(
    receive: Callable[[Pace, Advance], bool],
    name: str,
    part: Path,
    limits: Limits,
    total: int | None = None,
) -> None:
    """Call `receive` until it says that all of a file has come; it appends what `part` lacks.

    `total` is the file's size, where it is known.

    Raises:
        UserError: it was cut too often, or time is up.
    """
    pace = Pace(limits)
    with progress_bar(name) as advance:
        for attempt in range(limits.attempts):
            try:
                if receive(pace, advance):
                    return
            except CutError:
                if pace.is_late:
                    raise too_slow(size_of(part)) from None
            LOGGER.info("%s was cut, connection %d", name, attempt + 1)
    received = size_of(part)
    here = f"{received} of {total} bytes" if total else f"{received >> 20} MiB"
    raise UserError(f"{name} was cut {limits.attempts} times, {here} are here; {GO_ON}")


def size_of(path: Path) -> int:
    """Bytes of a file; 0 without one."""
    return path.stat().st_size if path.exists() else 0


def too_slow(received: int) -> UserError:
    """What is said of a transfer that is given up."""
    return UserError(f"the file comes too slowly, {received} bytes are here; {GO_ON}")


@contextlib.contextmanager
def locked(target: Path, wait_s: float) -> Iterator[None]:
    """Let one process at a time fetch `target`."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        LOGGER.warning("another process is fetching %s: waiting for it", target.name)
        try:
            lock.acquire(timeout=wait_s)
        except Timeout:
            raise UserError(
                f"{target}: another process has been fetching it for {wait_s:.0f} s; stop it"
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def progress_bar(name: str) -> Iterator[Advance]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield lambda here, total: progress.update(task, completed=here, total=total)


@contextlib.contextmanager
def _closed_when_late(sockets: list[socket.socket], pace: Pace) -> Iterator[None]:
    """Shut the sockets down once the pace is late: reading from them then ends."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(min(1.0, pace.limits.grace_s / 4)):
            if pace.is_late:
                for each in list(sockets):
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for each in sockets:
            each.close()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to https, or within the same host and scheme."""

    max_redirections = 5

    def redirect_request(  # noqa: D102
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme != "https" and (new.scheme, new.netloc) != (old.scheme, old.netloc):
            fp.close()
            raise UserError(
                f"{old.netloc} sends on to {new.scheme}://{new.netloc}: expected https; "
                "the address is no longer safe, update the package"
            )
        _ = new.port  # above 65535: a ValueError here, else a socket that nobody closes
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(  # noqa: D102
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:  # an address that is none; urllib leaves the answer open
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _noting(
    kind: type[http.client.HTTPConnection], sockets: list[socket.socket]
) -> type[http.client.HTTPConnection]:
    """A class of connections that add their sockets to the list."""

    class Connection(kind):
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    return Connection


class _Plain(urllib.request.HTTPHandler):
    """HTTP; the sockets it opens are noted."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self.sockets = sockets

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:  # noqa: D102
        return self.do_open(_noting(http.client.HTTPConnection, self.sockets), req)


class _Secure(urllib.request.HTTPSHandler):
    """HTTPS; the sockets it opens are noted."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self.sockets = sockets

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:  # noqa: D102
        return self.do_open(_noting(http.client.HTTPSConnection, self.sockets), req)
