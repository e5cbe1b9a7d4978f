"""What a file is, by its first bytes: an image, or something else that people take for one."""

import re
from typing import NamedTuple

from pacofr.errors import UserError

HEAD_BYTES = 4096
"""How much of a file's beginning tells its kind."""
EXPECTED = "expected JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF or HEIC"
HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
AVIF_BRANDS = frozenset((b"avif", b"avis"))
BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))
"""Sizes of the header that follows a BMP's 14 bytes."""
PREFIXES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)


class Stranger(NamedTuple):
    """A kind of file that is no photo, and what to do with it."""

    noun: str
    advice: str


VIDEO = Stranger(
    "a video",
    "expected a photo; save a frame as a picture first, for example: ffmpeg -i VIDEO -ss 1 "
    "-frames:v 1 frame.png",
)
RAW = Stranger(
    "a camera's raw file", "expected a developed photo: save it as JPEG, PNG or TIFF first"
)
OTHER = "expected a photo: save it as JPEG or PNG first"
STRANGERS = (
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),
    (b"FOVb", RAW),
    (b"\0MRM", RAW),
    (b"\x1a\x45\xdf\xa3", VIDEO),
    (b"FLV\x01", VIDEO),
    (b"\0\0\x01\xba", VIDEO),
    (b"\0\0\x01\xb3", VIDEO),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", VIDEO),
    (b"\xff\x0a", Stranger("a JPEG XL image", OTHER)),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Stranger("a JPEG XL image", OTHER)),
    (b"\x76\x2f\x31\x01", Stranger("an OpenEXR image", OTHER)),
    (b"#?RADIANCE", Stranger("a Radiance HDR image", OTHER)),
    (b"8BPS", Stranger("a Photoshop file", OTHER)),
    (b"%PDF", Stranger("a PDF file", OTHER)),
    (b"%!PS", Stranger("a PostScript file", OTHER)),
    (b"PK\x03\x04", Stranger("a ZIP archive", "expected a photo: unpack it first")),
    (b"\x1f\x8b", Stranger("a gzip archive", "expected a photo: unpack it first")),
    (b"Rar!", Stranger("a RAR archive", "expected a photo: unpack it first")),
    (b"7z\xbc\xaf\x27\x1c", Stranger("a 7z archive", "expected a photo: unpack it first")),
    (
        b"version https://git-lfs",
        Stranger("a Git LFS pointer, not the file it stands for", "run: git lfs pull"),
    ),
)
PNM_GAP = rb"(?:\s|#[^\r\n]*+[\r\n])++"
"""What may stand between the numbers of a PNM header: blanks and comments."""
PNM_HEADERS = {
    b"P" + digit: re.compile(rb"P.(?:%b\d++){%d}\s" % (PNM_GAP, 2 if digit in b"14" else 3))
    for digit in (b"1", b"2", b"3", b"4", b"5", b"6")
}
WEB_PAGE = Stranger("a web page, not the picture on it", "download the picture itself")
SVG = Stranger("an SVG drawing", OTHER)
VIDEO_ATOMS = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))
"""First atoms of QuickTime files without a `ftyp`."""


def image_kind(head: bytes) -> str | None:
    """Name of the image format that a file's first bytes announce; None for anything else."""
    for prefix, name in PREFIXES:
        if head.startswith(prefix):
            return None if _raw_tiff(head) else name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADERS:
        return "BMP"
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    brands = _brands(head)
    if brands & AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & HEIF_BRANDS else None


def holds_pnm_header(head: bytes) -> bool:
    """Whether the header of a PNM file ends within its first bytes.

    Decoders read it byte by byte, however long its comments are.
    """
    return PNM_HEADERS[head[:2]].match(head) is not None


def refuse_stranger(head: bytes, name: str) -> None:
    """Raise UserError with the file's kind where its first bytes tell that it is no photo."""
    if image_kind(head) is not None:
        return
    stranger = _stranger(head)
    if stranger is not None:
        raise UserError(f"{name} is {stranger.noun}: {stranger.advice}")


def is_video_head(head: bytes) -> bool:
    """Whether a file's first bytes are those of a video."""
    return image_kind(head) is None and _stranger(head) is VIDEO


def _stranger(head: bytes) -> Stranger | None:
    for prefix, stranger in STRANGERS:
        if head.startswith(prefix):
            return stranger
    if _raw_tiff(head) or b"crx " in _brands(head):
        return RAW
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return VIDEO
    if head[4:8] == b"ftyp" or head[4:8] in VIDEO_ATOMS:
        return VIDEO
    if head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G":
        return VIDEO  # MPEG transport stream
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return WEB_PAGE
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in head.lower():
        return SVG
    return None


def _raw_tiff(head: bytes) -> bool:
    """Canon's CR2, a TIFF with a mark of its own."""
    return head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR"


def _brands(head: bytes) -> frozenset[bytes]:
    """Major and compatible brands of an ISO media file."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset([head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))])
