"""PNG files without what cannot change the picture, so that odd metadata never costs a photo.

Text and colour-profile chunks may unpack to far more than Pillow allows, and the checksum of any
chunk that decoders need not understand may be wrong: every viewer shows such files.
"""

import io
import zlib
from typing import NamedTuple

from pacofr.utils.bounded import ByteStream
from pacofr.utils.budgets import PNG_CHUNKS, PNG_TEXT_BYTES, PROFILE_BYTES

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"))
ORIENTATION_KEYWORDS = (b"XML:com.adobe.xmp", b"Raw profile type exif")
"""Keywords of the text chunks in which other programs write the orientation."""
COPY_BYTES = 2**20
BIT_DEPTH_AT = 24
"""Place in a PNG file whose first chunk is IHDR."""


class CleanPng(NamedTuple):
    """A PNG of the kept chunks, and the colour profile that stood beside them."""

    stream: ByteStream
    profile: bytes | None
    bit_depth: int
    """Of a channel."""


def clean_png(stream: ByteStream) -> CleanPng:
    """Leave out every chunk that is not needed for pixels, orientation and colour.

    Damage to what is needed stays for the decoder to report.
    """
    stream.seek(len(SIGNATURE))
    kept = io.BytesIO(SIGNATURE)
    kept.seek(0, io.SEEK_END)
    profile, bit_depth = None, 8
    for _ in range(PNG_CHUNKS):
        head = stream.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if len(head) < 8 or length > 2**31 - 1:
            kept.write(head)
            break
        if kind[:1].isupper() or kind in KEPT:
            if kind[:1].islower() and not _intact(stream, kind, length):
                continue
            kept.write(head)
            _copy(stream, kept, length + 4)
            if kind == b"IHDR":
                bit_depth = kept.getvalue()[BIT_DEPTH_AT] if kept.tell() > BIT_DEPTH_AT else 8
            if kind == b"IEND":
                break
        elif kind == b"iCCP" and profile is None:
            profile = _profile(stream.read(length))
            stream.seek(4, io.SEEK_CUR)
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and length <= PNG_TEXT_BYTES:
            data = stream.read(length + 4)
            if _tells_orientation(kind, data[:-4]) and _crc_fits(kind, data):
                kept.write(head + data)
        else:
            stream.seek(length + 4, io.SEEK_CUR)
    kept.seek(0)
    return CleanPng(kept, profile, bit_depth)


def _intact(stream: ByteStream, kind: bytes, length: int) -> bool:
    """Whether the checksum of a chunk at hand is right; moves behind the chunk where it is not."""
    at = stream.tell()
    if length <= PNG_TEXT_BYTES and _crc_fits(kind, stream.read(length + 4)):
        stream.seek(at)
        return True
    stream.seek(at + length + 4)
    return False


def _crc_fits(kind: bytes, data: bytes) -> bool:
    """Whether data, which ends with its checksum, is intact."""
    return zlib.crc32(kind + data[:-4]) == int.from_bytes(data[-4:], "big")


def _copy(source: ByteStream, target: io.BytesIO, count: int) -> None:
    while count > 0 and (part := source.read(min(count, COPY_BYTES))):
        target.write(part)
        count -= len(part)


def _profile(chunk: bytes) -> bytes | None:
    """The profile of an iCCP chunk; None where it is damaged or too large."""
    _, _, packed = chunk.partition(b"\0")
    return _unpack(packed[1:], PROFILE_BYTES)


def _tells_orientation(kind: bytes, chunk: bytes) -> bool:
    """Whether a text chunk may hold the orientation and unpacks within its budget."""
    keyword, _, rest = chunk.partition(b"\0")
    if keyword not in ORIENTATION_KEYWORDS:
        return False
    if kind == b"zTXt":
        return _unpack(rest[1:], PNG_TEXT_BYTES) is not None
    if kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].split(b"\0", 2)
        return len(packed) == 3 and _unpack(packed[2], PNG_TEXT_BYTES) is not None
    return True


def _unpack(packed: bytes, limit: int) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, limit + 1)
    except zlib.error:
        return None
    return data if len(data) <= limit and unpacker.eof else None
