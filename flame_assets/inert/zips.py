"""Zip archives that nobody vouches for: the directory is bounded before it is read, members too."""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from flame_assets.inert.budgets import ZIP_DIRECTORY, ZIP_MEMBERS
from flame_assets.inert.files import ReadError, shown

_END = struct.Struct("<4s4H2LH")  # end of central directory: its size is the sixth field
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_CHUNK = 1 << 20
_UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    struct.error,
    RuntimeError,
)
_NO_ZIP = "is no readable zip archive, or only a part of one"


class ZipReader:
    """Members of a zip archive by name; all of them together unpack to at most `total` bytes."""

    def __init__(self, file: BinaryIO, total: int) -> None:
        self.file, self.left = file, total
        _check_directory_size(file)
        try:
            self.archive = zipfile.ZipFile(file)
        except Exception as error:  # zipfile raises its own errors and what unpacking bytes raises
            raise ReadError(_NO_ZIP) from error
        listed = self.archive.infolist()
        if len(listed) > ZIP_MEMBERS:
            raise ReadError(f"holds {len(listed)} members, over {ZIP_MEMBERS}")
        self.members = {info.filename: info for info in listed}
        if len(self.members) < len(listed):
            raise ReadError("lists a member twice")

    def read(self, name: str, limit: int) -> bytes:
        """One member of at most `limit` bytes, checked against its checksum."""
        return b"".join(self._chunks(name, limit))

    def read_into(self, name: str, buffer: bytearray) -> None:
        """A member of exactly the buffer's size into it, checked against its checksum."""
        at = 0
        for chunk in self._chunks(name, len(buffer)):
            buffer[at : at + len(chunk)] = chunk
            at += len(chunk)
        if at != len(buffer):
            raise ReadError(f"has the member {shown(name)} of {at} bytes, expected {len(buffer)}")

    def verify(self) -> None:
        """Read every member, keeping nothing; one that is damaged is a ReadError."""
        for name in self.members:
            for _ in self._chunks(name, self.left):
                pass

    def stored_at(self, name: str) -> int | None:
        """Where the bytes of a member lie in the file; None if they are compressed."""
        info = self._member(name, self.left)
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        self.file.seek(max(info.header_offset, 0))
        header = self.file.read(_LOCAL.size)
        if info.header_offset < 0 or len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
            raise ReadError(f"has the damaged member {shown(name)}")
        *_, name_size, extra_size = _LOCAL.unpack(header)
        start = info.header_offset + _LOCAL.size + name_size + extra_size
        if start + info.file_size > os.fstat(self.file.fileno()).st_size:
            raise ReadError(f"is cut: the member {shown(name)} is not whole")
        return start

    def _chunks(self, name: str, limit: int) -> Iterator[bytes]:
        """The bytes of a member, piece by piece; at its end they were as many as it says."""
        info = self._member(name, limit)
        size = 0
        try:
            with self.archive.open(info) as member:
                while chunk := member.read(_CHUNK):
                    size += len(chunk)
                    yield chunk
        except _UNPACKING_ERRORS as error:
            raise ReadError(f"has the damaged member {shown(name)}") from error
        if size != info.file_size:
            raise ReadError(f"has the damaged member {shown(name)}")

    def _member(self, name: str, limit: int) -> zipfile.ZipInfo:
        info = self.members.get(name)
        if info is None:
            raise ReadError(f"lacks the member {shown(name)}")
        if info.flag_bits & 1:
            raise ReadError(f"has the encrypted member {shown(name)}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ReadError(f"has the member {shown(name)} in a compression that is not read here")
        if info.file_size > min(limit, self.left):
            raise ReadError(f"has the member {shown(name)} of {info.file_size >> 20} MiB")
        self.left -= info.file_size
        return info


def _check_directory_size(file: BinaryIO) -> None:
    """Refuse a directory of more than ZIP_DIRECTORY bytes before anything of it is read."""
    size = file.seek(0, os.SEEK_END)
    tail_size = min(size, (1 << 16) + _END.size + _END64_LOCATOR.size + _END64.size)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = len(tail) - _END.size
    if not (at >= 0 and tail[at:].startswith(b"PK\x05\x06") and tail[-2:] == b"\0\0"):
        at = tail.rfind(b"PK\x05\x06", 0, len(tail))
    if at < 0 or at + _END.size > len(tail):
        raise ReadError(_NO_ZIP)
    directory = _END.unpack_from(tail, at)[5]
    locator = at - _END64_LOCATOR.size
    if locator >= 0 and tail[locator:].startswith(b"PK\x06\x07"):
        start = locator - _END64.size
        if start >= 0 and tail[start:].startswith(b"PK\x06\x06"):
            directory = _END64.unpack_from(tail, start)[8]
        else:
            raise ReadError(_NO_ZIP)
    if directory > ZIP_DIRECTORY:
        raise ReadError(f"has a directory of {directory >> 20} MiB, as no data file has")
    file.seek(0)
