"""The picture of a curation: faces kept above, photos rejected below, each with its reason."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from pacofr.faces.detect import Face

THUMBNAIL_PX = 96
KEPT = "kept"
COLUMNS = 16
MAX_THUMBNAILS = 64
"""Of kept faces, and of rejected photos."""
TITLE_PX, LABEL_PX = 28, 16
"""Heights of the lines of text."""


class Thumbnail(NamedTuple):
    """A small picture for the contact sheet."""

    label: str
    """"kept" or the reason."""
    image: UInt8[np.ndarray, "96 96 3"]


def thumbnail(image: UInt8[np.ndarray, "H W 3"], face: Face | None) -> UInt8[np.ndarray, "96 96 3"]:
    """A square about a face, or the whole photo fitted into a square."""
    height, width = image.shape[:2]
    x, y, side = width / 2, height / 2, max(height, width)
    if face is not None and np.isfinite(face.box).all() and 4 <= face.size <= side:
        (x, y), side = (face.box[:2] + face.box[2:]) / 2, 2 * face.size
    scale, middle = THUMBNAIL_PX / side, THUMBNAIL_PX / 2
    matrix = np.array([[scale, 0, middle - scale * x], [0, scale, middle - scale * y]])
    return cv2.warpAffine(image, matrix, (THUMBNAIL_PX, THUMBNAIL_PX), flags=cv2.INTER_AREA)


def contact_sheet(thumbnails: list[Thumbnail]) -> UInt8[np.ndarray, "h w 3"]:
    """Kept faces above, rejected photos below with their reasons, as RGB."""
    kept = [each for each in thumbnails if each.label == KEPT]
    rejected = _of_every_label([each for each in thumbnails if each.label != KEPT])
    width = COLUMNS * THUMBNAIL_PX
    rows = []
    for title, group in ((KEPT, kept[:MAX_THUMBNAILS]), ("rejected", rejected)):
        labelled = title != KEPT
        head = np.full((TITLE_PX, width, 3), 255, np.uint8)
        _text(head, title, (4, 20), 0.6)
        rows.append(head)
        for start in range(0, len(group), COLUMNS):
            row = np.full((THUMBNAIL_PX + LABEL_PX * labelled, width, 3), 255, np.uint8)
            for column, each in enumerate(group[start : start + COLUMNS]):
                x = column * THUMBNAIL_PX
                row[:THUMBNAIL_PX, x : x + THUMBNAIL_PX] = each.image
                if labelled:
                    _text(row, each.label[:16], (x + 2, THUMBNAIL_PX + 11), 0.36)
            rows.append(row)
    return np.vstack(rows)


def _of_every_label(thumbnails: list[Thumbnail]) -> list[Thumbnail]:
    """The first of each label, the second of each and so on, as many as fit; grouped by label."""
    counts: dict[str, int] = {}
    ranked = []
    for each in thumbnails:
        counts[each.label] = counts.get(each.label, 0) + 1
        ranked.append((counts[each.label], each))
    chosen = sorted(ranked, key=lambda pair: pair[0])[:MAX_THUMBNAILS]
    return sorted((each for _, each in chosen), key=lambda each: each.label)


def _text(image: np.ndarray, text: str, at: tuple[int, int], size: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)
