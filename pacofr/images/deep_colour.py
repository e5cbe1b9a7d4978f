"""Colour pictures of 16-bit integers or floats, which Pillow cannot hold: OpenCV decodes them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, UnidentifiedImageError

from pacofr.images.color import ToSrgb
from pacofr.images.pixels import new_photo, stored_view
from pacofr.images.tiff import TiffHeader
from pacofr.images.tones import STRIP_VALUES, Tones, find_tones
from pacofr.utils.bounded import ByteStream
from pacofr.utils.budgets import DEEP_COLOUR_BYTES


def decode_deep_colour(
    stream: ByteStream, tiff: TiffHeader | None, to_srgb: ToSrgb, orientation: int
) -> UInt8[np.ndarray, "H W 3"]:
    """Upright RGB of a PNG or TIFF of deep channels, transparency laid on white.

    Raises:
        UnidentifiedImageError: OpenCV does not know it either, or it is damaged.
    """
    decoded = _decode(stream)
    colours, alpha = decoded[..., 2::-1], decoded[..., 3:]
    tones = find_tones(
        lambda: (colours[rows] for rows in _strips(decoded)),
        max_value=tiff.max_value if tiff else None,
    )
    photo = new_photo(decoded.shape[1], decoded.shape[0], orientation)
    view = stored_view(photo, orientation)
    for rows in _strips(decoded):
        strip = np.ascontiguousarray(tones(colours[rows]))
        strip = np.asarray(to_srgb(Image.fromarray(strip)))
        view[rows] = _on_white(strip, alpha[rows]) if alpha.shape[-1] else strip
    return photo


def _decode(stream: ByteStream) -> Shaped[np.ndarray, "h w c"]:
    """BGR or BGRA as it is stored."""
    import cv2

    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    data = np.frombuffer(stream.read(min(size, DEEP_COLOUR_BYTES)), np.uint8)
    try:
        with _silenced():
            decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UnidentifiedImageError from error
    if decoded is None:
        raise UnidentifiedImageError
    if decoded.ndim == 2:
        decoded = decoded[..., None]
    if decoded.shape[2] not in (3, 4):
        decoded = np.broadcast_to(decoded[..., :1], (*decoded.shape[:2], 3))
    return decoded


def _strips(decoded: np.ndarray) -> Iterator[slice]:
    rows = max(STRIP_VALUES // max(decoded.shape[1] * decoded.shape[2], 1), 1)
    for top in range(0, len(decoded), rows):
        yield slice(top, top + rows)


def _on_white(
    colours: UInt8[np.ndarray, "h w 3"], alpha: Shaped[np.ndarray, "h w 1"]
) -> UInt8[np.ndarray, "h w 3"]:
    integers = np.issubdtype(alpha.dtype, np.integer)
    full = np.iinfo(alpha.dtype).max if integers else 1.0
    cover = Tones(0.0, float(full))(alpha).astype(np.float32) / 255
    return np.rint(colours * cover + 255 * (1 - cover)).astype(np.uint8)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep OpenCV's log of damaged files off standard error."""
    from cv2.utils import logging

    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
