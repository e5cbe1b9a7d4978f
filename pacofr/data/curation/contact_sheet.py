"""The picture of a curation: faces kept above, photos refused below, each with its reason."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

THUMB = 96
"""Side of a thumbnail [px]."""
KEPT = "kept"
COLUMNS, EACH = 16, 64


class Thumb(NamedTuple):
    """A small picture for the contact sheet."""

    label: str
    """"kept" or the reason."""
    image: UInt8[np.ndarray, "t t 3"]


def contact_sheet(thumbs: list[Thumb]) -> UInt8[np.ndarray, "h w 3"]:
    """Kept faces above, refused ones below with their reasons, as RGB."""
    kept = [thumb for thumb in thumbs if thumb.label == KEPT]
    refused = _by_turns([thumb for thumb in thumbs if thumb.label != KEPT])
    width = COLUMNS * THUMB
    rows = []
    for title, group in ((KEPT, kept[:EACH]), ("rejected", refused[:EACH])):
        head = np.full((28, width, 3), 255, np.uint8)
        _text(head, title, (4, 20), 0.6)
        rows.append(head)
        for start in range(0, len(group), COLUMNS):
            row = np.full((THUMB + (16 if title == "rejected" else 0), width, 3), 255, np.uint8)
            for column, thumb in enumerate(group[start : start + COLUMNS]):
                x = column * THUMB
                row[:THUMB, x : x + THUMB] = thumb.image
                if title == "rejected":
                    _text(row, thumb.label[:16], (x + 2, THUMB + 11), 0.36)
            rows.append(row)
    return np.vstack(rows)


def _by_turns(thumbs: list[Thumb]) -> list[Thumb]:
    """One of each reason after the other, so that rare reasons are seen; then grouped."""
    ranks: dict[str, int] = {}
    ranked = []
    for thumb in thumbs:
        ranks[thumb.label] = ranks.get(thumb.label, 0) + 1
        ranked.append((ranks[thumb.label], thumb))
    first = sorted(ranked, key=lambda pair: pair[0])[:EACH]
    return sorted((thumb for _, thumb in first), key=lambda thumb: thumb.label)


def _text(image: np.ndarray, text: str, at: tuple[int, int], size: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)
