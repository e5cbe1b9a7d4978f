"""Bounded reading of whole files, and atomic writing."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from eval_now.errors import UserError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_bytes(path: Path, limit: int) -> bytes:
    """Content of a regular file without a UTF-8 byte-order mark.

    Raises:
        UserError: it cannot be read, is a pipe or device, is empty or longer than `limit` bytes.
    """
    try:
        # without O_NONBLOCK, opening a pipe would wait for somebody to write into it
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise UserError(f"{path}: expected a file, found a folder, pipe or device")
        with os.fdopen(number, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, limit) + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason})") from None
    if len(data) > limit:
        most = f"{limit >> 20} MiB" if limit >= 2**20 else f"{limit >> 10} KiB"
        raise UserError(f"{path}: expected at most {most}")
    data = data.removeprefix(BYTE_ORDER_MARK)
    if not data:
        raise UserError(f"{path}: the file is empty")
    return data


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file for writing that replaces `path` only if the block succeeds."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file completely or not at all; missing parent folders are made."""
    with open_atomic(path) as file:
        file.write(data)
