"""From a decoded picture of any mode to upright RGB, strip by strip."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from pacofr.images.color import ToSrgb
from pacofr.images.tiff import TiffHeader
from pacofr.images.tones import STRIP_VALUES, find_tones

ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that exchange width and height."""


class Strip(NamedTuple):
    """Some whole rows of a picture."""

    rows: slice
    image: Image.Image


def exif_orientation(image: Image.Image) -> int:
    """EXIF's orientation where the decoder has not applied it; damaged EXIF counts as none."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the metadata of strangers' photos fails in many ways
        return 1


def new_photo(width: int, height: int, orientation: int) -> UInt8[np.ndarray, "H W 3"]:
    """Room for the upright photo of a stored picture of that size."""
    shape = (width, height, 3) if orientation in SIDEWAYS else (height, width, 3)
    return np.empty(shape, np.uint8)


def stored_view(
    photo: Shaped[np.ndarray, "H W 3"], orientation: int
) -> Shaped[np.ndarray, "h w 3"]:
    """A view of an upright photo in which its pixels lie as they are stored in the file."""
    match orientation:
        case 2:
            return photo[:, ::-1]
        case 3:
            return photo[::-1, ::-1]
        case 4:
            return photo[::-1]
        case 5:
            return photo.transpose(1, 0, 2)
        case 6:
            return np.rot90(photo, 1)
        case 7:
            return np.rot90(photo.transpose(1, 0, 2), 2)
        case 8:
            return np.rot90(photo, -1)
    return photo


def colour_pixels(
    image: Image.Image, to_srgb: ToSrgb, orientation: int
) -> UInt8[np.ndarray, "H W 3"]:
    """A picture of 8-bit channels, with transparency laid on white."""
    photo = new_photo(*image.size, orientation)
    view = stored_view(photo, orientation)
    for strip in _strips(image):
        view[strip.rows] = np.asarray(_rgb(strip.image, to_srgb))
    return photo


def grey_pixels(
    image: Image.Image, tiff: TiffHeader | None, orientation: int
) -> UInt8[np.ndarray, "H W 3"]:
    """A picture of one channel of more than 8 bits, or of floats."""
    tones = find_tones(
        lambda: (np.asarray(strip.image) for strip in _strips(image)),
        max_value=tiff.max_value if tiff else None,
        inverted=tiff.white_is_zero if tiff else False,
    )
    photo = new_photo(*image.size, orientation)
    view = stored_view(photo, orientation)
    for strip in _strips(image):
        view[strip.rows] = tones(np.asarray(strip.image))[..., None]
    return photo


def _strips(image: Image.Image) -> Iterator[Strip]:
    rows = max(STRIP_VALUES // max(image.width, 1), 1)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        yield Strip(slice(top, bottom), image.crop((0, top, image.width, bottom)))


def _rgb(image: Image.Image, to_srgb: ToSrgb) -> Image.Image:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        flat = Image.new("RGB", image.size, (255, 255, 255))
        flat.paste(to_srgb(rgba.convert("RGB")), mask=rgba.getchannel("A"))
        return flat
    return to_srgb(image.convert("RGB") if image.mode == "P" else image)
