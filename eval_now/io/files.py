"""Files in and out: read whole or refused in one line, written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from eval_now.errors import UserError

LARGEST_FILE = 2**30
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_bytes(path: Path) -> bytes:
    """Content of a file that must be readable, not empty and not absurdly large.

    The byte-order mark that Windows editors put before text is taken off: no reader expects it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) > LARGEST_FILE:
        raise UserError(f"{path}: expected at most {LARGEST_FILE >> 20} MiB")
    data = data.removeprefix(BYTE_ORDER_MARK)
    if not data:
        raise UserError(f"{path}: the file is empty")
    return data


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its place only when the block has ended well."""
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


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or nothing."""
    with whole_file(path) as file:
        file.write(data)
