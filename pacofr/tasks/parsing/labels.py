"""Label maps: PNG files of class numbers, or one mask per class."""

import io

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pacofr.errors import UserError
from pacofr.images.png import SIGNATURE, clean_png
from pacofr.images.quiet import silenced
from pacofr.tasks.records import FaceSample, StoredFile, read_photo
from pacofr.utils.budgets import IMAGE_PIXELS, LABEL_BYTES


def read_labels(sample: FaceSample, classes: int) -> UInt8[np.ndarray, "H W"]:
    """The sample's label map, merged from its layers.

    Raises:
        UserError: a file cannot be read, holds other classes, or has another size than the others.
    """
    merged: UInt8[np.ndarray, "H W"] | None = None
    for layer in sample.labels:
        values = read_label_file(layer.file, mask=layer.class_id is not None)
        if layer.class_id is None:
            largest = int(values.max(initial=0))
            if largest >= classes:
                raise UserError(
                    f"{layer.file}: expected classes 0 to {classes - 1}, found {largest}"
                )
            merged = values
            continue
        if merged is None:
            merged = np.zeros_like(values)
        if values.shape != merged.shape:
            raise UserError(
                f"{layer.file}: expected a mask of {merged.shape[1]} x {merged.shape[0]} px as the"
                f" others of this face, got {values.shape[1]} x {values.shape[0]}"
            )
        merged[values > 0] = layer.class_id
    if merged is None:
        raise UserError(f"{sample.image}: expected a label map for this picture, found none")
    return merged


def read_label_file(file: StoredFile, *, mask: bool) -> UInt8[np.ndarray, "H W"]:
    """Class numbers of a PNG (a palette's are its indices), or of a mask its brightness.

    Raises:
        UserError: it is missing, no PNG, damaged or too large, or no map of 8 bits.
    """
    data = file.read(LABEL_BYTES)
    if not data.startswith(SIGNATURE):
        raise UserError(f"{file}: expected a PNG of labels, got another kind of file")
    try:
        with silenced():
            return _decode(data, str(file), mask=mask)
    except UserError:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise UserError(f"{file} is damaged: expected a whole PNG; copy it again") from error


def _decode(data: bytes, name: str, *, mask: bool) -> UInt8[np.ndarray, "H W"]:
    cleaned = clean_png(io.BytesIO(data))
    try:
        image = Image.open(cleaned.stream, formats=("PNG",))
    except Image.DecompressionBombError as error:
        raise UserError(f"{name} has more than {IMAGE_PIXELS} pixels: too many") from error
    if image.width * image.height > IMAGE_PIXELS:
        raise UserError(f"{name} has {image.width} x {image.height} pixels: too many")
    if mask:
        return np.asarray(image.convert("L"))
    if image.mode not in ("L", "P") or cleaned.bit_depth > 8:
        raise UserError(
            f"{name}: expected class numbers in one channel of 8 bits, got mode {image.mode}"
        )
    return np.asarray(image)


def read_photo_and_labels(
    sample: FaceSample, classes: int
) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
    """Picture and label map of one size; a square picture is resized to its square labels.

    Raises:
        UserError: one of them cannot be read, or their sizes do not fit.
    """
    photo, labels = read_photo(sample), read_labels(sample, classes)
    if photo.shape[:2] == labels.shape:
        return photo, labels
    if photo.shape[0] * labels.shape[1] != photo.shape[1] * labels.shape[0] or not _masks(sample):
        raise UserError(
            f"{sample.labels[0].file}: expected labels of the picture's {photo.shape[1]} x"
            f" {photo.shape[0]} px, got {labels.shape[1]} x {labels.shape[0]}"
        )
    size = labels.shape[1], labels.shape[0]
    return cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR), labels


def _masks(sample: FaceSample) -> bool:
    """Whether labels may be smaller than the picture: CelebAMask-HQ has 512 for 1024 px."""
    return sample.points is None
