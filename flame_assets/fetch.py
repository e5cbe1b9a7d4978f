"""Fetch a public file over HTTP: resumed, bounded in bytes and time, checked, moved into place.

What has come lies beside the target as `.<file>.<hash>.part`; the next call goes on from there. One
process fetches at a time, others wait for it.
"""

import contextlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from flame_assets.catalogue import Asset, is_intact
from flame_assets.errors import UserError

LOGGER = logging.getLogger(__name__)
CHUNK = 1 << 18
GO_ON = "run the same command again to go on"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a fetch may take."""

    silence_s: float = 30.0
    """Longest wait for the next bytes."""
    grace_s: float = 60.0
    slowest_bytes_per_s: float = 10_000.0
    """The whole fetch may last `grace_s` and this pace."""
    attempts: int = 5
    """Connections made before a fetch that is cut again and again is given up."""
    lock_s: float = 3600.0
    """Longest wait for another process that fetches the same file."""


class _CutError(Exception):
    """The connection broke; what has come is kept."""


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
            raise UserError(
                f"{old.netloc} sends on to {new.scheme}://{new.netloc}: expected https; "
                "the address is no longer safe, update the package"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(asset: Asset, target: Path, limits: Limits | None = None) -> Path:
    """The asset's file at `target`: as it lies there if it is intact, else fetched.

    Raises:
        UserError: the server cannot be reached, refuses, is too slow or sends another file; the
            folder cannot be written; another process holds the lock for too long.
    """
    limits = limits or Limits()
    try:
        if is_intact(asset, target):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target, limits.lock_s):
            if not is_intact(asset, target):  # another process may have been first
                _fetch_whole(asset, target, limits)
    except OSError as error:  # of the disk: those of the network are dealt with where they arise
        raise UserError(
            f"cannot write {target.parent}: {error.strerror or error}; mend that and {GO_ON}"
        ) from error
    return target


@contextlib.contextmanager
def _locked(target: Path, wait_s: float) -> Iterator[None]:
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


def _fetch_whole(asset: Asset, target: Path, limits: Limits) -> None:
    part = target.with_name(f".{target.name}.{asset.sha256[:8]}.part")
    deadline = time.monotonic() + limits.grace_s + asset.bytes / limits.slowest_bytes_per_s
    with _progress(asset) as advance:
        for attempt in range(limits.attempts):
            try:
                _receive(asset, part, limits, deadline, advance)
                break
            except _CutError:
                LOGGER.info("%s was cut, connection %d", asset.file, attempt + 1)
        else:
            raise UserError(
                f"{asset.file} was cut {limits.attempts} times, {_size(part)} of {asset.bytes} "
                f"bytes are here; {GO_ON}"
            )
    if not is_intact(asset, part):
        part.unlink()
        raise UserError(
            f"{asset.file} is not the expected file (sha256 {asset.sha256[:12]}...) and was "
            "deleted: run the same command again; if it stays so, update the package"
        )
    os.replace(part, target)


def _receive(
    asset: Asset, part: Path, limits: Limits, deadline: float, advance: "_Advance"
) -> None:
    """Append what `part` lacks."""
    if _size(part) > asset.bytes:
        part.unlink()
    start = _size(part)
    if start == asset.bytes:
        return
    with _open(asset, start, limits) as answer:
        start = _start_of(answer, asset, start)
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            _copy(answer, file, asset, deadline, advance)
            file.flush()
            os.fsync(file.fileno())


def _open(asset: Asset, start: int, limits: Limits) -> http.client.HTTPResponse:
    headers = {"Accept-Encoding": "identity", "User-Agent": "pacofr"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(asset.url, headers=headers)
    host = urllib.parse.urlsplit(asset.url).netloc
    try:
        opener = urllib.request.build_opener(_Redirects)
        return opener.open(request, timeout=limits.silence_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise UserError(f"{host} answered {error.code} {error.reason}; try again later") from None
    except urllib.error.URLError as error:
        raise UserError(f"cannot reach {host}: {error.reason}; check the connection") from None
    except (http.client.HTTPException, OSError):
        raise _CutError from None


def _start_of(answer: http.client.HTTPResponse, asset: Asset, asked: int) -> int:
    """From which byte the answer goes on; another file's length is refused."""
    sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range") or "")
    start = asked if answer.status == 206 and sent and int(sent[1]) == asked else 0
    length = answer.headers.get("Content-Length")
    if length and length.isdecimal() and start + int(length) != asset.bytes:
        host = urllib.parse.urlsplit(answer.url).netloc
        raise UserError(
            f"{host} offers {start + int(length)} bytes for {asset.file}: expected {asset.bytes}; "
            "it was replaced there, update the package"
        )
    return start


def _copy(
    answer: http.client.HTTPResponse,
    file: BinaryIO,
    asset: Asset,
    deadline: float,
    advance: "_Advance",
) -> None:
    while file.tell() < asset.bytes:
        if time.monotonic() > deadline:
            raise UserError(
                f"{asset.file} comes too slowly, {file.tell()} of {asset.bytes} bytes are here; "
                f"{GO_ON}"
            )
        try:
            chunk = answer.read1(min(CHUNK, asset.bytes - file.tell()))
        except (http.client.HTTPException, OSError):
            raise _CutError from None
        if not chunk:
            raise _CutError
        file.write(chunk)
        advance(file.tell())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class _Advance:
    """A progress bar on standard error, where that is a terminal."""

    def __init__(self, asset: Asset) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        console = Console(stderr=True)
        self.progress = Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task(asset.file, total=asset.bytes)

    def __call__(self, here: int) -> None:
        """So many bytes are here."""
        self.progress.update(self.task, completed=here)


@contextlib.contextmanager
def _progress(asset: Asset) -> Iterator[_Advance]:
    advance = _Advance(asset)
    with advance.progress:
        yield advance
