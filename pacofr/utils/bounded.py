"""Reading files of other people: regular files only, and no more bytes than the budget allows."""

import io
import os
import stat
from pathlib import Path

from pacofr.errors import UserError

ByteStream = io.BytesIO | io.BufferedReader
"""Bytes that can be read from any place."""

OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Opening a FIFO must not wait for its writer."""


def open_regular(path: Path | str, limit: int) -> io.BufferedReader:
    """Open a file for reading.

    Raises:
        UserError: it is a folder, a device, a FIFO or a socket, or larger than `limit` bytes.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, OPEN_FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is {_kind(status.st_mode)}: expected a regular file")
        if status.st_size > limit:
            raise UserError(
                f"{path} has {status.st_size} bytes: expected at most {limit} in a file of its kind"
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bounded(path: Path | str, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises:
        UserError: as `open_regular`, or the file holds more than its size says.
        OSError: it cannot be opened or read.
    """
    with open_regular(path, limit) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(size + 1)
    if len(data) > size:
        raise UserError(f"{path} grows while it is read: expected a whole, stored file")
    return data


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
