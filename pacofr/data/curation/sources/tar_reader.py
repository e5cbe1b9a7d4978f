"""Members of tars of other people, one after the other.

The standard library's tarfile believes what headers say: negative sizes make it loop, huge ones
take memory, and it stops at the first end mark. Here a header is checked before it is used, memory
does not depend on what it says, and what follows an end mark (`cat a.tar b.tar`) is read, too.
POSIX ustar, pax and GNU tar.
"""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from pacofr.utils.bounded import open_regular
from pacofr.utils.budgets import TAR_BYTES, TAR_NAME_BYTES, TAR_PADDING_BYTES

BLOCK = 512
HARD_LINK, SYMBOLIC_LINK, FOLDER = b"1", b"2", b"5"
LONG_NAME, PAX, GNU_SPARSE = b"L", b"x", b"S"
EXTENDED = b"LKxg"
"""Headers that say more of the next member, or of all."""
WITHOUT_DATA = b"123456"
"""Links, devices, folders and FIFOs: their size says nothing."""


class MemberKind(Enum):
    """What a member is."""

    FILE = "file"
    LINK = "link"
    FOLDER = "folder"
    SPECIAL = "sparse file, device or FIFO"


class TarMember(NamedTuple):
    """A member and where its data lies."""

    name: str
    """Bytes that are no UTF-8 are surrogates, as in file names."""
    kind: MemberKind
    offset: int
    size: int


class TarDamageError(Exception):
    """The tar cannot be read from here on."""


class TarReader:
    """An open tar; iterating gives its members.

    Raises:
        UserError: it is no regular file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_regular(path, TAR_BYTES)
        self._end = self._file.seek(0, 2)

    def __enter__(self) -> "TarReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[TarMember]:
        """Members in order; raises TarDamageError behind the last that is whole."""
        if not self._end:
            raise TarDamageError("it is empty")
        at, behind, extended = 0, 0, _Extended()
        while at < self._end:
            header = self._read(at, min(BLOCK, self._end - at))
            if header == bytes(len(header)):  # end mark or padding: another tar may follow
                at += BLOCK
                if at - behind > TAR_PADDING_BYTES:
                    raise TarDamageError("zeros without end follow a member")
                continue
            flag, size = _check(header), 0
            if flag not in WITHOUT_DATA:
                size = _number(header[124:136])
            if flag in EXTENDED and size > TAR_NAME_BYTES:
                raise TarDamageError("a name is too long")
            at += BLOCK
            if flag in EXTENDED:
                extended = extended.updated(flag, self._read(at, size))
                at += _padded(size)
                continue
            if flag == GNU_SPARSE:
                at = self._skip_sparse_map(header, at)
            if extended.size is not None and flag not in WITHOUT_DATA:
                size = extended.size
            name = extended.name or _name(header)
            if at + size > self._end:
                raise TarDamageError(f"it ends within {name}")
            kind = MemberKind.SPECIAL if extended.sparse else _kind(flag, name)
            yield TarMember(name, kind, at, size)
            at, extended = at + _padded(size), _Extended()
            behind = at
        if extended != _Extended():
            raise TarDamageError("it ends behind a name")

    def read(self, member: TarMember, limit: int) -> bytes:
        """A member's first bytes, at most `limit`.

        Raises:
            TarDamageError: the file ends before them.
        """
        return self._read(member.offset, min(member.size, limit))

    def _read(self, at: int, count: int) -> bytes:
        self._file.seek(at)
        data = self._file.read(min(count, self._end - at))
        if len(data) != count:
            raise TarDamageError("it is cut short")
        return data

    def _skip_sparse_map(self, header: bytes, at: int) -> int:
        """Place behind the blocks that extend an old GNU sparse header."""
        more = header[482:483]
        while more and more != b"\0":
            more = self._read(at, BLOCK)[504:505]
            at += BLOCK
        return at


class _Extended(NamedTuple):
    """What long names and extended headers say of the member behind them."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False

    def updated(self, flag: bytes, data: bytes) -> "_Extended":
        """With what one more of these headers says."""
        if flag == LONG_NAME:
            return self._replace(name=_text(data))
        return self._pax(data) if flag == PAX else self

    def _pax(self, data: bytes) -> "_Extended":
        """With the records "LENGTH KEY=VALUE\\n" of a pax header."""
        found, at = self, 0
        while at < len(data) and data[at]:
            length, space, _ = data[at : at + 12].partition(b" ")
            if not space or not length.isdigit():
                raise TarDamageError("an extended header is damaged")
            end = at + int(length)
            if not at + len(length) + 1 < end <= len(data):
                raise TarDamageError("an extended header is damaged")
            key, _, value = data[at + len(length) + 1 : end - 1].partition(b"=")
            if key == b"path":
                found = found._replace(name=value.decode("utf-8", "surrogateescape"))
            elif key == b"size":
                if not value.isdigit() or len(value) > 18:
                    raise TarDamageError("a size is no number")
                found = found._replace(size=int(value))
            elif key.startswith(b"GNU.sparse."):
                found = found._replace(sparse=True)
            at = end
        return found


def _check(header: bytes) -> bytes:
    """The type flag of a header whose checksum is right, as sum of unsigned or signed bytes."""
    if len(header) < BLOCK:
        raise TarDamageError("it is cut short")
    blank = header[:148] + b" " * 8 + header[156:]
    stated, unsigned = _number(header[148:156]), sum(blank)
    if stated != unsigned and stated != unsigned - 256 * sum(byte > 127 for byte in blank):
        raise TarDamageError("a header is damaged")
    return header[156:157]


def _number(field: bytes) -> int:
    """Octal digits, or GNU's base 256."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    if digits.strip(b"01234567"):
        raise TarDamageError("a size is no number")
    return int(digits or b"0", 8)


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _kind(flag: bytes, name: str) -> MemberKind:
    if flag in (HARD_LINK, SYMBOLIC_LINK):
        return MemberKind.LINK
    if flag == FOLDER or (flag in (b"0", b"\0") and name.endswith("/")):
        return MemberKind.FOLDER
    return MemberKind.FILE if flag in (b"0", b"\0", b"7") else MemberKind.SPECIAL


def _padded(size: int) -> int:
    return size + -size % BLOCK
