"""The one safe image loader: what a person calls a photo becomes RGB uint8, or one clear line.

Order of work: what kind of file it is -> size check -> decode the first frame -> then, strip by
strip: 16-bit and float to 8 bits, colour profile to sRGB, transparency onto white, the orientation
of EXIF. Memory is the decoder's picture and the result.
"""

import io
import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from pacofr.errors import UserError
from pacofr.images.color import ToSrgb
from pacofr.images.deep_colour import decode_deep_colour
from pacofr.images.jpeg import count_scans
from pacofr.images.kinds import (
    EXPECTED,
    HEAD_BYTES,
    holds_pnm_header,
    image_kind,
    refuse_stranger,
)
from pacofr.images.pixels import colour_pixels, exif_orientation, grey_pixels
from pacofr.images.png import clean_png
from pacofr.images.quiet import silenced
from pacofr.images.tiff import TiffHeader, read_tiff_header
from pacofr.utils import budgets
from pacofr.utils.bounded import ByteStream, open_regular

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000")
COPYING = ("WEBP", "AVIF", "HEIF", "JPEG2000")
"""Formats whose decoders hold the picture several times."""
HELD = ("JPEG", "PNG", *COPYING)
"""Formats whose files are held in memory."""
HIGH_BYTE_OF_12_BITS = 15
"""What is left of 12-bit values in the high byte of 16."""
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/)/?")
"""Begin of a web address; a Path has lost its second slash."""


def load_image(path: Path | str) -> UInt8[np.ndarray, "H W 3"]:
    """Read a photo as RGB, upright, sRGB.

    Raises:
        UserError: the file is missing, no image, damaged, or out of the budgets; one line.
    """
    try:
        with open_regular(path, budgets.IMAGE_BYTES) as stream:
            return _load(stream, str(path))
    except FileNotFoundError as error:
        if URL.match(str(path)):
            address = URL.sub(r"\1/", str(path), count=1)
            raise UserError(
                f"{address} is a web address: expected a file; download the photo first"
            ) from error
        raise UserError(f"{path} does not exist: expected an image file; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read: {reason}") from error


def decode_image(data: bytes, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """As `load_image`, for a file's bytes; `name` stands in the error line."""
    return _load(io.BytesIO(data), name)


def _load(stream: ByteStream, name: str) -> UInt8[np.ndarray, "H W 3"]:
    head = stream.read(HEAD_BYTES)
    if not head:
        raise UserError(f"{name} is empty (0 bytes): expected an image file; copy it again")
    refuse_stranger(head, name)
    kind = image_kind(head)
    if kind == "HEIF":
        _register_heif(name)
    try:
        with silenced():
            return _decode(stream, head, kind, name)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name, "more than 179 million", budgets.IMAGE_PIXELS) from error
    except UnidentifiedImageError as error:
        if kind is None:
            raise UserError(f"{name} is not an image: {EXPECTED}") from error
        raise UserError(
            f"{name} is damaged, or a {kind} of a rare kind: expected a whole image; copy it "
            "again, or save it as JPEG or PNG"
        ) from error
    except MemoryError as error:
        raise UserError(f"{name} needs more memory than there is: make it smaller") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"{name} is damaged or cut short ({reason}): expected a whole image; copy it again"
        ) from error


def _decode(
    stream: ByteStream, head: bytes, kind: str | None, name: str
) -> UInt8[np.ndarray, "H W 3"]:
    _refuse_slow(stream, head, kind, name)
    tiff = read_tiff_header(stream, name) if kind == "TIFF" else None
    profile, bits = None, tiff.bits if tiff else 8
    if kind == "PNG":
        stream, profile, bits = clean_png(stream)
    stream.seek(0)
    try:
        image = Image.open(stream, formats=_formats())
    except UnidentifiedImageError:
        if tiff is None:
            raise
        _refuse_too_large(name, tiff.width, tiff.height, budgets.DEEP_COLOUR_PIXELS)
        return decode_deep_colour(stream, tiff, ToSrgb(None), tiff.orientation)
    limit = budgets.COPYING_PIXELS if image.format in COPYING else budgets.IMAGE_PIXELS
    _refuse_too_large(name, image.width, image.height, limit)
    if kind == "JPEG":
        _refuse_many_scans(stream, image, name)
    image.load()
    orientation = exif_orientation(image)
    if image.mode.startswith(("I", "F")):
        return grey_pixels(image, tiff, orientation)
    to_srgb = ToSrgb(profile or image.info.get("icc_profile"))
    if bits == 16 and _uses_low_bits(image, tiff):
        orientation = tiff.orientation if tiff else orientation
        return decode_deep_colour(stream, tiff, to_srgb, orientation)
    return colour_pixels(image, to_srgb, orientation)


def _uses_low_bits(image: Image.Image, tiff: TiffHeader | None) -> bool:
    """Whether 16-bit colours, of which Pillow keeps the high byte, have another full scale."""
    colours = [band for band in image.getbands() if band in "RGBL"]
    if not colours or image.width * image.height > budgets.DEEP_COLOUR_PIXELS:
        return False
    brightest = max(int(np.asarray(image.getchannel(band)).max()) for band in colours)
    return brightest <= HIGH_BYTE_OF_12_BITS or bool(tiff and tiff.max_value)


def _refuse_slow(stream: ByteStream, head: bytes, kind: str | None, name: str) -> None:
    """Refuse files that are too large for the way in which they are read."""
    size = stream.seek(0, io.SEEK_END)
    limit = budgets.IMAGE_BYTES_HELD if kind in HELD else budgets.IMAGE_BYTES
    if kind == "PPM" and head[1:2] in b"123":
        limit = budgets.PLAIN_PNM_BYTES
    if kind == "PPM" and len(head) == HEAD_BYTES and not holds_pnm_header(head):
        raise UserError(f"{name} has a PNM header of more than {HEAD_BYTES} bytes: save it again")
    if kind == "BMP" and head[30:31] in b"\1\2":
        limit = budgets.BMP_RLE_BYTES
    if size > limit:
        raise UserError(f"{name} has {size} bytes: expected at most {limit} in a file of its kind")
    stream.seek(0)


def _refuse_many_scans(stream: ByteStream, image: Image.Image, name: str) -> None:
    at = stream.tell()
    stream.seek(0)
    scans = count_scans(stream.read(), budgets.JPEG_SCANS)
    stream.seek(at)
    pixels = image.width * image.height
    if scans > budgets.JPEG_SCANS or scans * pixels > budgets.JPEG_SCAN_PIXELS:
        raise UserError(
            f"{name} is a progressive JPEG of too many scans for {pixels} pixels: save it again"
        )


def _refuse_too_large(name: str, width: int, height: int, limit: int) -> None:
    if width * height > limit or max(width, height) > budgets.IMAGE_SIDE:
        raise _too_large(name, f"{width} x {height}", limit)


def _too_large(name: str, size: str, limit: int) -> UserError:
    return UserError(
        f"{name} has {size} pixels: expected at most {limit // 1_000_000} million and no "
        f"side above {budgets.IMAGE_SIDE}; make it smaller"
    )


def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in (*FORMATS, "HEIF") if name in Image.OPEN)


def _register_heif(name: str) -> None:
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"{name} is a HEIC image, which needs one more package; run: pip install pillow-heif"
        ) from error
    pillow_heif.register_heif_opener()
