"""Fetch a public file of the catalogue: resumed, bounded, checked, moved into place.

What has come lies beside the target as `.<file>.<hash>.part`; the next call goes on from there. One
process fetches at a time, others wait for it.
"""

import os
import urllib.parse
import urllib.request
from pathlib import Path

from flame_assets.download.catalogue import Asset, damage, is_intact
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
    receive_whole,
    size_of,
    start_of,
)
from flame_assets.errors import UserError
from flame_assets.inert.budgets import ARCHIVE_BYTES


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
        with locked(target, limits.lock_s):
            if not is_intact(asset, target):  # another process may have been first
                _fetch_whole(asset, target, limits)
    except OSError as error:  # of the disk: those of the network are dealt with where they arise
        raise UserError(
            f"cannot write {target.parent}: {error.strerror or error}; mend that and {GO_ON}"
        ) from error
    return target


def _fetch_whole(asset: Asset, target: Path, limits: Limits) -> None:
    part = target.with_name(f".{target.name}.{(asset.sha256 or 'unpinned')[:8]}.part")
    receive_whole(
        lambda pace, advance: _receive(asset, part, pace, advance),
        asset.file,
        part,
        limits,
        asset.bytes,
    )
    if not is_intact(asset, part):
        expected = f"sha256 {asset.sha256[:12]}..." if asset.sha256 else damage(asset, part)
        expected = expected or f"MD5 {asset.md5_start}..."
        part.unlink()
        raise UserError(
            f"{asset.file} is not the expected file ({expected}) and was deleted: run the same "
            "command again; if it stays so, update the package"
        )
    os.replace(part, target)


def _receive(asset: Asset, part: Path, pace: Pace, advance: Advance) -> bool:
    """Append what `part` lacks; whether all has come."""
    limit = asset.bytes or ARCHIVE_BYTES
    if size_of(part) > limit:
        part.unlink()
    asked = size_of(part)
    if asked == asset.bytes:
        return True
    host = urllib.parse.urlsplit(asset.url).netloc
    request = urllib.request.Request(asset.url)
    if asked:
        request.add_header("Range", f"bytes={asked}-")
    try:
        with open_url(request, pace) as answer:
            start = start_of(answer, asked)
            length = number(answer.headers.get("Content-Length"))
            total = asset.bytes if length is None else start + length
            if total is not None and total != (asset.bytes or total):
                raise UserError(
                    f"{host} offers {total} bytes for {asset.file}: expected {asset.bytes}; it was "
                    "replaced there, update the package"
                )
            if (total or 0) > limit:
                raise UserError(f"{host} offers {total} bytes for {asset.file}: that is too large")
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                append(answer, file, limit, total, pace, advance)
                file.flush()
                os.fsync(file.fileno())
    except StatusError as error:
        if error.code == 416 and asked and asset.bytes is None:  # nothing behind what is here
            whole = number((error.headers.get("Content-Range") or "").rpartition("/")[2])
            if whole == asked:
                return True
            part.unlink()
            return False
        raise UserError(f"{host} answered {error}; try again later") from None
    return total is None or size_of(part) >= total
