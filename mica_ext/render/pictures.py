"""Picture files."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic

SUFFIXES = (".png", ".jpg", ".jpeg")


def picture_bytes(picture: UInt8[np.ndarray, "H W 3"], suffix: str) -> bytes:
    """An RGB picture as the content of a file with this suffix.

    Raises:
        UserError: the picture cannot be packed.
    """
    full_colour = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95, *full_colour] if suffix != ".png" else []
    done, packed = cv2.imencode(suffix, picture[:, :, ::-1], quality)
    if not done:
        raise UserError(f"the picture cannot be packed as {suffix}")
    return packed.tobytes()


def save_picture(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write an RGB picture as PNG or JPEG, atomically.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: expected a picture name ending in .png or .jpg")
    write_bytes_atomic(path, picture_bytes(picture, suffix))
