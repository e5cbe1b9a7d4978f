"""Download FLAME's archives from MPI, for people who are registered and accepted the licence.

The servers take a POST form with `username` and `password` and answer with the file, or with a
web page when they do not agree. A cut download goes on where it stopped (HTTP Range). Nothing of
the account is logged, stored or put into an address.
"""

import contextlib
import getpass
import http.client
import logging
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flame_assets.errors import UserError
from flame_assets.files import sha256_of

LOGGER = logging.getLogger(__name__)
ENDPOINT = "https://download.is.tue.mpg.de/download.php"
REGISTER = "https://flame.is.tue.mpg.de"
TIMEOUT_S = 60
ATTEMPTS = 5
CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A file on MPI's servers. With `url` it is free to fetch, otherwise behind the form."""

    file: str
    domain: str = "flame"
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None


ARCHIVES = {
    "flame2020": Archive(file="FLAME2020.zip"),
    "flame2023": Archive(file="FLAME2023.zip"),
    "flame2023-open": Archive(
        file="FLAME2023Open.zip",
        bytes=47_586_229,
        sha256="a6b4c3dc15d569d98136a1e548b6fe532eb2830ca12a4f0d4b3a5dba8ee87a91",
    ),
    "flame2019": Archive(file="FLAME2019.zip"),
    "flame-masks": Archive(
        file="FLAME_masks.zip",
        url="https://files.is.tue.mpg.de/tbolkart/FLAME/FLAME_masks.zip",
    ),
}


class Account(NamedTuple):
    """A registered user; its repr hides both parts."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "Account(hidden)"


class Advance:
    """Where a download stands, told to a progress bar."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        console = Console(stderr=True)
        self.progress = Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
        )
        self.task = self.progress.add_task(name, total=None)

    def __call__(self, here: int, total: int | None) -> None:
        """`here` of `total` bytes have come."""
        self.progress.update(self.task, completed=here, total=total)


def ask_account() -> Account:
    """From $FLAME_USERNAME and $FLAME_PASSWORD, else asked for at the terminal."""
    username, password = os.environ.get("FLAME_USERNAME"), os.environ.get("FLAME_PASSWORD")
    if username and password:
        return Account(username, password)
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError(
            f"an account at {REGISTER} is needed: run in a terminal, or set FLAME_USERNAME and "
            "FLAME_PASSWORD"
        )
    print(f"Your account at {REGISTER} (its licence must have been accepted there):")
    try:
        return Account(input("User name or e-mail: "), getpass.getpass("Password: "))
    except EOFError:
        print()  # the prompt's line is still open
        raise UserError("no account was given; run the command again to be asked anew") from None


def finished(archive: Archive, folder: Path) -> Path | None:
    """The archive in `folder` if it lies there whole; no account is needed to know."""
    target = folder / archive.file
    return target if target.is_file() and _is_right(archive, target) else None


def fetch_archive(
    archive: Archive, folder: Path, account: Account | None, *, endpoint: str = ENDPOINT
) -> Path:
    """Fetch `archive` into `folder` and check it; a finished one is kept, a part is continued."""
    try:
        if (here := finished(archive, folder)) is not None:
            return here
        folder.mkdir(parents=True, exist_ok=True)
        return _fetch_whole(archive, account, endpoint, folder / archive.file)
    except OSError as error:  # of the disk: the network's are dealt with where they arise
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}; mend that and run the same "
            "command again to go on"
        ) from error


def _fetch_whole(archive: Archive, account: Account | None, endpoint: str, target: Path) -> Path:
    part = target.with_name(target.name + ".part")
    with _progress(archive.file) as advance:
        for attempt in range(1, ATTEMPTS + 1):
            if _fetch(archive, account, endpoint, part, advance):
                break
            LOGGER.info("%s was cut; attempt %d of %d", archive.file, attempt, ATTEMPTS)
        else:
            raise UserError(
                f"{archive.file} was cut {ATTEMPTS} times, {_size(part) >> 20} MiB are "
                "here; run the same command again to go on"
            )
    if not _is_right(archive, part):
        part.unlink()
        raise UserError(f"{archive.file} came damaged and was deleted; run the same command again")
    os.replace(part, target)
    return target


def _request(
    archive: Archive, account: Account | None, endpoint: str, start: int
) -> urllib.request.Request:
    headers = {"Range": f"bytes={start}-"} if start else {}
    if archive.url is not None:
        return urllib.request.Request(archive.url, headers=headers)
    query = urllib.parse.urlencode({"domain": archive.domain, "sfile": archive.file, "resume": 1})
    if account is None:
        raise UserError(f"{archive.file} needs an account at {REGISTER}")
    form = urllib.parse.urlencode(account._asdict()).encode()
    return urllib.request.Request(f"{endpoint}?{query}", data=form, headers=headers)


def _fetch(
    archive: Archive, account: Account | None, endpoint: str, part: Path, advance: Advance
) -> bool:
    """Ask for what `part` lacks and append it; True when all has come, False when it was cut."""
    start = _size(part)
    request = _request(archive, account, endpoint, start)
    host = request.host
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing behind what is here: complete, or stale
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total == str(start):
                return True
            part.unlink()
            return False
        if error.code in (401, 403):
            raise _refused(host) from None
        raise UserError(f"{host} answered {error.code} {error.reason}; try again later") from None
    except urllib.error.URLError as error:
        raise UserError(f"cannot reach {host}: {error.reason}; check the connection") from None
    except (http.client.HTTPException, OSError):
        return False
    with answer, contextlib.suppress(_CutError):
        return _receive(answer, part, start, advance)
    return False


def _receive(answer: http.client.HTTPResponse, part: Path, start: int, advance: Advance) -> bool:
    first = _read(answer)
    sent_range = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
    continues = answer.status == 206 and sent_range is not None and int(sent_range[1]) == start
    if not continues:
        start = 0
        if first and not first.startswith(b"PK"):
            raise _refused(urllib.parse.urlsplit(answer.url).netloc)
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length else None
    with part.open("ab" if continues else "wb") as file:
        here = start
        while first:
            file.write(first)
            here += len(first)
            advance(here, total)
            first = _read(answer)
    return here == total if total is not None else zipfile.is_zipfile(part)


class _CutError(Exception):
    """The connection broke while bytes were coming."""


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _CutError from error


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _refused(host: str) -> UserError:
    return UserError(
        f"{host} answered with a web page instead of the archive: user name or password is wrong, "
        f"or the licence is not accepted yet; sign in at {REGISTER} and run the command again"
    )


def _is_right(archive: Archive, path: Path) -> bool:
    if archive.sha256 is not None:
        return sha256_of(path) == archive.sha256
    try:
        with zipfile.ZipFile(path) as members:
            return members.testzip() is None
    except Exception:  # whatever a broken zip raises, it is not right
        return False


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Advance]:
    advance = Advance(name)
    with advance.progress:
        yield advance
