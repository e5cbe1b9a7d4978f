"""Bounded reading of whole files, and atomic writing."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from eval_now.errors import UserError

MAX_FILE_BYTES = 2**30
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_bytes(path: Path) -> bytes:
    """Content of a file without a UTF-8 byte-order mark.

    Raises:
        UserError: the file cannot be read, is empty or larger than 1 GiB.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) > MAX_FILE_BYTES:
        raise UserError(f"{path}: expected at most {MAX_FILE_BYTES >> 20} MiB")
    data = data.removeprefix(BYTE_ORDER_MARK)
    if not data:
        raise UserError(f"{path}: the file is empty")
    return data


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file for writing that replaces `path` only if the block succeeds."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file completely or not at all; missing parent folders are made."""
    with open_atomic(path) as file:
        file.write(data)
