"""Copies of shards on a faster disk, made when a shard is first read, remote ones too."""

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import shutil
from pathlib import Path

from pacofr.data.remote.local_copy import fetch, local_copy
from pacofr.data.remote.location import Location, Url
from pacofr.data.remote.stores import MissingFileError
from pacofr.data.shard_index import INDEX_FILES, ShardEntry, ShardIndex
from pacofr.errors import UserError
from pacofr.utils.budgets import INDEX_BYTES, JSON_BYTES
from pacofr.utils.files import write_atomic
from pacofr.utils.locks import file_lock

LOGGER = logging.getLogger(__name__)
RESERVE_BYTES = 1 << 28
"""Left free in the cache: a disk in memory that is full takes its machine down."""


class ShardCache:
    """Copies of a folder's shards in CACHE/FINGERPRINT/, shared by all processes of a machine.

    A shard for which there is no room, or which another process is copying, is read from where it
    is; that the cache is full is logged once.

    Args:
        cache: folder on a local disk or in memory; made if it is not there.
        index: of the shards.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, cache: Path, index: ShardIndex) -> None:
        self._folder = cache / index.fingerprint[:16]
        self._full = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--data.cache {cache}: cannot be made ({error.strerror}); give a folder on a local"
                " disk, or leave it out"
            ) from error

    def location(self, shard: Location, entry: ShardEntry) -> Location:
        """Where to read a shard: its copy, if there is one now, or the shard itself."""
        copy = self._folder / entry.name
        if _size(copy) == entry.bytes:
            return copy
        if self._full:
            return shard
        with file_lock(copy) as mine:
            if not mine:
                return shard
            if _size(copy) == entry.bytes:  # by a process that was faster
                return copy
            if self._has_room(entry.bytes) and _copied(shard, copy, entry.bytes):
                return copy
        self._full = True
        LOGGER.warning("%s is full: the other shards are read from where they are", self._folder)
        return shard

    def _has_room(self, size: int) -> bool:
        return shutil.disk_usage(self._folder).free >= size + RESERVE_BYTES


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def cached_index(shards: Url, cache: Path) -> Path:
    """Fetch the index of remote shards, where it has changed, and return its folder in the cache.

    Raises:
        UserError: it cannot be fetched, or the cache not be written.
    """
    folder = cache / f"index-{hashlib.sha256(str(shards).encode()).hexdigest()[:16]}"
    about, table = (folder / name for name in INDEX_FILES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / "index", wait=True):
            with local_copy(shards.child(about.name), folder, JSON_BYTES) as fetched:
                content = fetched.read_bytes()
            if not (about.exists() and table.exists()) or about.read_bytes() != content:
                about.unlink(missing_ok=True)
                with local_copy(shards.child(table.name), folder, INDEX_BYTES) as fetched:
                    table.unlink(missing_ok=True)
                    os.link(fetched, table)
                write_atomic(about, content)
    except MissingFileError as error:
        raise UserError(
            f"{shards} holds no finished shards: {error}; give the folder that pacofr curate wrote"
        ) from error
    except OSError as error:
        raise UserError(f"--data.cache {cache}: cannot be written ({error.strerror})") from error
    return folder


def _copied(shard: Location, copy: Path, size: int) -> bool:
    """Copy a file, whole or not at all; whether there was room.

    Raises:
        UserError: the shard cannot be read, is of another size, or the cache not written for
            another reason.
    """
    writing = copy.with_name(f".{copy.name}.{secrets.token_hex(4)}")
    try:
        if isinstance(shard, Path):
            shutil.copyfile(shard, writing)
        else:
            with open(writing, "wb") as target:
                fetch(shard, target, size)
            if writing.stat().st_size != size:
                raise UserError(
                    f"{shard} has {writing.stat().st_size} bytes, the index says {size}; copy the"
                    " folder of shards again"
                )
        os.replace(writing, copy)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return False
        raise UserError(f"cannot copy {shard} to {copy}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            writing.unlink(missing_ok=True)
    return True
