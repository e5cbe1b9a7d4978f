"""Download FLAME's archives from MPI, for people who are registered and accepted the licence.

The servers take a POST form with `username` and `password` and answer with the file, or with a
web page when they do not agree. A cut download goes on where it stopped (HTTP Range). Nothing of
the account is logged, stored or put into an address.
"""

import getpass
import logging
import os
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flame_assets.download.transfer import (
    GO_ON,
    Advance,
    Limits,
    Pace,
    StatusError,
    append,
    locked,
    number,
    open_url,
    read_start,
    receive_whole,
    size_of,
    start_of,
)
from flame_assets.errors import UserError
from flame_assets.files import sha256_of
from flame_assets.inert.budgets import ARCHIVE_BYTES, ARCHIVE_UNPACKED
from flame_assets.inert.files import ReadError, open_regular
from flame_assets.inert.zips import ZipReader

LOGGER = logging.getLogger(__name__)
ENDPOINT = "https://download.is.tue.mpg.de/download.php"
REGISTER = "https://flame.is.tue.mpg.de"


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


class Request(NamedTuple):
    """What is asked of the server."""

    archive: Archive
    account: Account | None
    endpoint: str


def ask_account() -> Account:
    """The account in $FLAME_USERNAME and $FLAME_PASSWORD, else asked for at the terminal.

    Raises:
        UserError: there is no terminal to ask at, or nothing was answered.
    """
    username, password = os.environ.get("FLAME_USERNAME"), os.environ.get("FLAME_PASSWORD")
    if username and password:
        return Account(username, password)
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
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
    return target if target.is_file() and _damage(archive, target) is None else None


def download(
    archive: Archive,
    folder: Path,
    account: Account | None,
    *,
    endpoint: str | None = None,
    limits: Limits | None = None,
) -> Path:
    """Fetch `archive` into `folder` and check it; a finished one is kept, a part is continued.

    Raises:
        UserError: the server cannot be reached, refuses the account, is too slow or sends something
            else; the folder cannot be written; another process holds the lock for too long.
    """
    limits = limits or Limits()
    request = Request(archive, account, endpoint or ENDPOINT)
    target = folder / archive.file
    try:
        if (here := finished(archive, folder)) is not None:
            return here
        folder.mkdir(parents=True, exist_ok=True)
        with locked(target, limits.lock_s):
            if finished(archive, folder) is None:  # another process may have been first
                _fetch_whole(request, target, limits)
    except OSError as error:  # of the disk: the network's are dealt with where they arise
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}; mend that and {GO_ON}"
        ) from error
    return target


def _fetch_whole(request: Request, target: Path, limits: Limits) -> None:
    archive, part = request.archive, target.with_name(target.name + ".part")
    receive_whole(
        lambda pace, advance: _receive(request, part, pace, advance), archive.file, part, limits
    )
    if (reason := _damage(archive, part)) is not None:
        part.unlink()
        raise UserError(
            f"{archive.file} came damaged ({reason}) and was deleted; run the same command again"
        )
    os.replace(part, target)


def _http_request(request: Request, start: int) -> urllib.request.Request:
    archive, account, endpoint = request
    headers = {"Range": f"bytes={start}-"} if start else {}
    if archive.url is not None:
        return urllib.request.Request(archive.url, headers=headers)
    if account is None:
        raise UserError(f"{archive.file} needs an account at {REGISTER}")
    query = urllib.parse.urlencode({"domain": archive.domain, "sfile": archive.file, "resume": 1})
    form = urllib.parse.urlencode(account._asdict()).encode()
    return urllib.request.Request(f"{endpoint}?{query}", data=form, headers=headers)


def _receive(request: Request, part: Path, pace: Pace, advance: Advance) -> bool:
    """Append what `part` lacks; whether all has come, as far as the server tells."""
    asked = size_of(part)
    asking = _http_request(request, asked)
    try:
        with open_url(asking, pace) as answer:
            first = read_start(answer, len(b"PK"))
            start = start_of(answer, asked)
            if not start and first and not first.startswith(b"PK"):
                raise _refused(asking.host)
            length = number(answer.headers.get("Content-Length"))
            total = None if length is None else start + length
            if (total or 0) > ARCHIVE_BYTES:
                raise _too_large(request.archive)
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                if first:
                    append(answer, file, ARCHIVE_BYTES + 1, total, pace, advance, first)
                here = file.tell()
    except StatusError as error:
        if error.code == 416 and asked:  # nothing behind what is here: complete, or stale
            whole = number((error.headers.get("Content-Range") or "").rpartition("/")[2])
            if whole == asked:
                return True
            part.unlink()
            return False
        if error.code in (401, 403):
            raise _refused(asking.host) from None
        raise UserError(f"{asking.host} answered {error}; try again later") from None
    if here > ARCHIVE_BYTES:
        part.unlink()
        raise _too_large(request.archive)
    return here == total if total is not None else _is_zip(part)


def _damage(archive: Archive, path: Path) -> str | None:
    """What is wrong with a file that should be the archive; None if nothing is."""
    if archive.sha256 is not None:
        return None if sha256_of(path) == archive.sha256 else "its sha256 is another one"
    try:
        with open_regular(path) as file:
            ZipReader(file, ARCHIVE_UNPACKED).verify()
    except ReadError as error:
        return f"it {error.reason}"
    return None


def _is_zip(path: Path) -> bool:
    """Whether a file has a zip's directory at its end: it is not cut."""
    try:
        with path.open("rb") as file:
            ZipReader(file, ARCHIVE_UNPACKED)
    except ReadError:
        return False
    return True


def _refused(host: str) -> UserError:
    return UserError(
        f"{host} answered with a web page instead of the archive: user name or password is wrong, "
        f"or the licence is not accepted yet; sign in at {REGISTER} and run the command again"
    )


def _too_large(archive: Archive) -> UserError:
    return UserError(
        f"{archive.file}: the server sends more than {ARCHIVE_BYTES >> 20} MiB, which is no such "
        "archive"
    )
