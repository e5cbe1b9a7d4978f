"""How many bytes the pages of a parquet file unpack to, by their headers.

A page of some kB can unpack to gigabytes, and the footer's totals need not tell so; a reader
allocates what the page headers say (Thrift's compact protocol; Parquet format, PageHeader).
"""

import os
from typing import IO, NamedTuple

from pacofr.utils.budgets import PARQUET_PAGE_HEADER_BYTES

UNPACKED, PACKED = 2, 3
"""Fields of a PageHeader: bytes of its page unpacked, and as stored."""
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
DEEPEST = 16


class PageDamageError(ValueError):
    """The pages are not what a reader could follow."""


class _PageSizes(NamedTuple):
    header: int
    packed: int
    unpacked: int


class UnpackedPages(NamedTuple):
    """Of a column chunk."""

    pages: int
    unpacked: int
    """Bytes."""


def check_footer_size(stream: IO[bytes], limit: int) -> None:
    """Refuse a footer longer than `limit` bytes, before a reader makes objects of it.

    Raises:
        PageDamageError: it is longer, or there is none.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 8))
    tail = stream.read(8)
    if len(tail) < 8 or tail[4:] not in (b"PAR1", b"PARE"):
        raise PageDamageError("it does not end as one")
    length = int.from_bytes(tail[:4], "little")
    if length > limit:
        raise PageDamageError(f"its footer has {length} bytes, expected at most {limit}")
    stream.seek(0)


def unpacked_pages(stream: IO[bytes], begin: int, size: int, limit: int) -> UnpackedPages:
    """What the pages of a column chunk unpack to.

    Args:
        stream: the file.
        begin: where its first page header lies.
        size: of the chunk as stored.
        limit: most pages.

    Raises:
        PageDamageError: a header is damaged, or the pages do not fill the chunk.
    """
    total, at = 0, begin
    for number in range(limit + 1):
        if at >= begin + size:
            return UnpackedPages(number, total)
        stream.seek(at)
        page = _page_sizes(stream.read(PARQUET_PAGE_HEADER_BYTES))
        total += page.unpacked
        at += page.header + page.packed
    raise PageDamageError("it has too many pages")


def _page_sizes(data: bytes) -> _PageSizes:
    reader = _CompactReader(data)
    sizes = reader.integers_of_struct()
    packed, unpacked = sizes.get(PACKED, -1), sizes.get(UNPACKED, -1)
    if packed < 0 or unpacked < 0:
        raise PageDamageError("a page has no size")
    return _PageSizes(reader.at, packed, unpacked)


class _CompactReader:
    """Values of Thrift's compact protocol, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def integers_of_struct(self, depth: int = 0) -> dict[int, int]:
        """The integer fields of a struct by their numbers; whatever else it has is skipped."""
        if depth > DEEPEST:
            raise PageDamageError("a page header is nested too deeply")
        found, number = {}, 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._integer()
            if kind in (I16, I32, I64):
                found[number] = self._integer()
            elif kind not in (TRUE, FALSE):
                self._skip(kind, depth)
        return found

    def _skip(self, kind: int, depth: int) -> None:
        if kind in (I16, I32, I64):
            self._varint()
        elif kind in (TRUE, FALSE, BYTE):  # elements of lists: a byte each
            self.at += 1
        elif kind == DOUBLE:
            self.at += 8
        elif kind == BINARY:
            size = self._varint()
            self.at += size
        elif kind == STRUCT:
            self.integers_of_struct(depth + 1)
        elif kind in (LIST, SET):
            head = self._byte()
            count = self._varint() if head >> 4 == 15 else head >> 4
            for _ in range(self._at_most_left(count)):
                self._skip(head & 15, depth + 1)
        else:  # page headers have no maps
            raise PageDamageError("a page header is damaged")

    def _at_most_left(self, count: int) -> int:
        if count > len(self.data) - self.at:
            raise PageDamageError("a page header is cut short")
        return count

    def _byte(self) -> int:
        if self.at >= len(self.data):
            raise PageDamageError("a page header is cut short")
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise PageDamageError("a page header is damaged")

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
