"""Opening files that nobody vouches for: regular ones only, their size known before they are read.

Also says in words what a file is that is not what it should be: a Git LFS pointer, a web page.
"""

import contextlib
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flame_assets.errors import UserError, one_line

_HEAD = 512
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class ReadError(UserError):
    """A file that is not what was expected; the text is one line, "FILE reason" if FILE is known.

    Attributes:
        reason: what is wrong, a sentence without its subject, e.g. "is no pickle".
        path: the file, None while only its bytes are known.
    """

    def __init__(self, reason: str, path: Path | None = None) -> None:
        self.reason, self.path = one_line(reason), path
        super().__init__(self.reason if path is None else one_line(f"{path} {self.reason}"))


@contextlib.contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Let a ReadError that does not say its file name `path`."""
    try:
        yield
    except ReadError as error:
        if error.path is not None:
            raise
        raise ReadError(error.reason, path) from error.__cause__


def shown(name: Any) -> str:
    """A name or number out of a file for a message, at most 80 characters; of others the type."""
    if isinstance(name, str):
        text = one_line(name)
    elif name is None or type(name) in (bool, float) or (type(name) is int and abs(name) < 1 << 64):
        text = repr(name)
    else:
        text = f"a {type(name).__name__}"
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-25:]}"


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading. Pipes, devices and folders are a ReadError, at once."""
    try:
        number = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReadError(f"cannot be read: {reason}", path) from error
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(number, "rb")
    os.close(number)
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise ReadError(f"is {kind}, not a file", path)


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ReadError(f"is larger than {limit >> 20} MiB", path)
        data = file.read(size + 1)  # never `limit`: as much memory as is asked for is taken
    if len(data) > size:
        raise ReadError("grows while it is read", path)
    return data


def disguise(head: bytes) -> str | None:
    """What a file is, from its first bytes, if it is one of what often comes instead of a model."""
    head = head[:_HEAD]
    if not head:
        return "is empty: download it again"
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
    if re.match(rb"(?i)\s*<(!doctype|html|head|\?xml|!--)", head.removeprefix(b"\xef\xbb\xbf")):
        return "is a web page, not the file: sign in where it comes from, and download it again"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")):
        return "is a compressed archive: unpack it first"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"%PDF")):
        return "is a picture or document"
    return None


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are plain text."""
    head = head[:_HEAD]
    return bool(head) and all(32 <= byte < 127 or byte in b"\t\n\r" for byte in head)
