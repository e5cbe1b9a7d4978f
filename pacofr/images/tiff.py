"""The first directory of a TIFF, read within bounds before any decoder sees the file."""

import struct
from typing import NamedTuple

from pacofr.errors import UserError
from pacofr.images.kinds import RAW
from pacofr.utils.bounded import ByteStream
from pacofr.utils.budgets import TIFF_STRIPS, TIFF_TAGS

WIDTH, HEIGHT, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES_PER_PIXEL, MAX_SAMPLE_VALUE = 273, 274, 277, 281
TILE_OFFSETS, SAMPLE_FORMAT = 324, 339
NEW_SUBFILE_TYPE, DNG_VERSION = 254, 50706
RAW_PHOTOMETRIC = frozenset((32803, 34892))
"""Colour filter array, linear raw."""
RAW_COMPRESSION = frozenset((32767, 32769, 32770, 34713, 65000, 65535))
"""Sony, Epson, Samsung, Nikon, Kodak, Pentax."""
FLOAT = 3
NUMBER_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q", 11: "f", 12: "d"}
"""struct's letter of the field types that the tags of interest have."""


class TiffHeader(NamedTuple):
    """What the first directory says of its picture."""

    width: int
    height: int
    bits: int
    """Of a channel."""
    channels: int
    is_float: bool
    white_is_zero: bool
    max_value: int | None
    """The largest value used, where the file gives one."""
    orientation: int
    """EXIF's, 1 to 8."""


def read_tiff_header(stream: ByteStream, name: str) -> TiffHeader:
    """Read the first directory of a classic or Big TIFF.

    Raises:
        UserError: it is damaged or out of bounds, a camera's raw file, or its first picture is the
            reduced copy of another one.
    """
    try:
        tags = _Directory(stream)
    except (struct.error, OSError, OverflowError, ValueError) as error:
        raise UserError(
            f"{name} is damaged or cut short (its TIFF directory): expected a whole image; "
            "copy it again"
        ) from error
    photometric, compression = tags.number(PHOTOMETRIC, 1), tags.number(COMPRESSION, 1)
    if DNG_VERSION in tags or photometric in RAW_PHOTOMETRIC or compression in RAW_COMPRESSION:
        raise UserError(f"{name} is {RAW.noun}: {RAW.advice}")
    if tags.number(NEW_SUBFILE_TYPE, 0) & 1:
        raise UserError(
            f"{name} holds a thumbnail as its first picture, as {RAW.noun} does: {RAW.advice}"
        )
    if max(tags.count(STRIP_OFFSETS), tags.count(TILE_OFFSETS)) > TIFF_STRIPS:
        raise UserError(f"{name} is cut into more than {TIFF_STRIPS} pieces: save it again")
    max_value = tags.number(MAX_SAMPLE_VALUE, 0)
    return TiffHeader(
        width=tags.number(WIDTH, 0),
        height=tags.number(HEIGHT, 0),
        bits=tags.number(BITS_PER_SAMPLE, 1),
        channels=tags.number(SAMPLES_PER_PIXEL, 1),
        is_float=tags.number(SAMPLE_FORMAT, 1) == FLOAT,
        white_is_zero=photometric == 0,
        max_value=max_value if max_value > 0 else None,
        orientation=tags.number(ORIENTATION, 1),
    )


class _Directory:
    """Fields of a TIFF directory: type, count, and where their values lie."""

    def __init__(self, stream: ByteStream) -> None:
        stream.seek(0)
        head = stream.read(16)
        self.order = "<" if head[:2] == b"II" else ">"
        self.stream, self.big = stream, self._unpack("H", head[2:4]) == 43
        at = self._unpack("Q", head[8:16]) if self.big else self._unpack("I", head[4:8])
        stream.seek(at)
        size = 8 if self.big else 2
        count = self._unpack("Q" if self.big else "H", stream.read(size))
        if count > TIFF_TAGS:
            raise ValueError("too many tags")
        entry = 20 if self.big else 12
        table = stream.read(entry * count)
        self.fields: dict[int, tuple[int, int, int]] = {}
        for start in range(0, len(table) - entry + 1, entry):
            tag, kind = struct.unpack_from(self.order + "HH", table, start)
            length = struct.unpack_from(self.order + ("Q" if self.big else "I"), table, start + 4)
            place = at + size + start + (12 if self.big else 8)
            self.fields.setdefault(tag, (kind, length[0], place))

    def __contains__(self, tag: int) -> bool:
        return tag in self.fields

    def count(self, tag: int) -> int:
        """Number of values of a field."""
        return self.fields[tag][1] if tag in self.fields else 0

    def number(self, tag: int, default: int) -> int:
        """First value of a field of numbers."""
        kind, count, _ = self.fields.get(tag, (0, 0, 0))
        letter = NUMBER_FORMATS.get(kind)
        if letter is None or not count:
            return default
        data = self._values(tag, struct.calcsize(letter))
        try:
            return int(self._unpack(letter, data))
        except (struct.error, OverflowError, ValueError):
            return default

    def _values(self, tag: int, size: int) -> bytes:
        """First `size` bytes of a field's values, which stand in the entry where they fit."""
        kind, count, place = self.fields[tag]
        width = count * struct.calcsize(NUMBER_FORMATS.get(kind, "B"))
        self.stream.seek(place)
        if width > (8 if self.big else 4):
            letter, bytes_ = ("Q", 8) if self.big else ("I", 4)
            self.stream.seek(self._unpack(letter, self.stream.read(bytes_)))
        return self.stream.read(size)

    def _unpack(self, letter: str, data: bytes) -> int:
        return struct.unpack(self.order + letter, data)[0]
