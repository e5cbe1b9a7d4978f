"""Photos with 68 landmarks, NAME.jpg beside NAME.pts as in 300-W; photos of numbered people."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mica_ext.errors import UserError
from pacofr.errors import UserError as ImageError
from pacofr.faces import landmarks68
from pacofr.faces.boxes import iou
from pacofr.faces.detect import Face, detect
from pacofr.images import list_images, load_image

MIN_OVERLAP = 0.3
"""Least IoU of a detection with the bounding box of the annotated landmarks."""


class LabelledPhoto(NamedTuple):
    """A photo with the 68 landmarks of one face in its pixels."""

    image: UInt8[np.ndarray, "H W 3"]
    points: Float[np.ndarray, "68 2"]


def read_labelled(folder: Path) -> list[tuple[Path, LabelledPhoto]]:
    """Read all photos NAME.jpg of a folder that have a NAME.pts beside them, in name order.

    Landmarks are in pixels of the upright photo, after its EXIF orientation.

    Raises:
        UserError: no .pts file, or one of the files cannot be read.
    """
    photos = []
    for label in labelled_photos(folder):
        path = label.with_suffix(".jpg")
        try:
            image = load_image(path)
        except ImageError as error:
            raise UserError(f"{error} (it belongs to {label.name})") from error
        points = landmarks68.read_pts(label).astype(np.float32)
        photos.append((path, LabelledPhoto(image, points)))
    return photos


def labelled_photos(folder: Path) -> list[Path]:
    """The .pts files of a folder, in name order.

    Raises:
        UserError: there are none.
    """
    labels = sorted(folder.glob("*.pts"))
    if not labels:
        raise UserError(f"{folder}: expected photos NAME.jpg beside NAME.pts, found no .pts file")
    return labels


def match_face(photo: LabelledPhoto) -> Face | None:
    """The detected face that overlaps the annotated one most."""
    faces = detect(photo.image)
    if not faces:
        return None
    marked = np.concatenate([photo.points.min(0), photo.points.max(0)])
    overlaps = iou(marked, np.stack([face.box for face in faces]))
    best = int(overlaps.argmax())
    return faces[best] if overlaps[best] > MIN_OVERLAP else None


def photos_of(folder: Path, subjects: str) -> list[Path]:
    """Photos of a folder; of names NUMBER_..., those of even or odd numbers.

    Raises:
        UserError: if there are none.
    """
    photos = list_images(folder)
    if subjects != "all":
        numbers = [(photo, photo.name.partition("_")[0]) for photo in photos]
        odd = subjects == "odd"
        photos = [photo for photo, n in numbers if n.isdecimal() and int(n) % 2 == odd]
    if not photos:
        raise UserError(f"{folder}: expected photos of faces, of subjects: {subjects}; found none")
    return photos
