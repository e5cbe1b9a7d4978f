"""The benchmark's image lists: one SUBJECT/CHALLENGE/IMAGE.jpg per line."""

import logging
from pathlib import Path
from typing import NamedTuple

from eval_now.errors import UserError
from eval_now.io.budgets import MAX_IMAGE_LIST_BYTES
from eval_now.io.files import read_bytes

LOGGER = logging.getLogger(__name__)


class ImageEntry(NamedTuple):
    """One line of the image list, e.g. FaMoS_180424_03335_TA/multiview_neutral/IMG_0041.jpg."""

    name: str
    subject: str
    challenge: str
    stem: str


def read_image_list(path: Path) -> list[ImageEntry]:
    """Read an image list; blank lines and Windows line ends are allowed.

    Repeated images, also with another suffix, are left out with a logged warning.

    Raises:
        UserError: a line is not SUBJECT/CHALLENGE/IMAGE.SUFFIX, or the list is empty.
    """
    entries: list[ImageEntry] = []
    line_of: dict[str, int] = {}
    repeats: list[str] = []
    lines = read_bytes(path, MAX_IMAGE_LIST_BYTES).decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        name = line.strip().lstrip("\ufeff")
        if not name:
            continue
        parts = name.split("/")
        plain = len(parts) == 3 and all(part.strip(". ") and "\\" not in part for part in parts)
        if not plain or not name.isprintable() or "\ufffd" in name or "." not in parts[2]:
            raise UserError(
                f"{path} line {number}: expected SUBJECT/CHALLENGE/IMAGE.jpg, found {name!r}"
            )
        entry = ImageEntry(name, parts[0], parts[1], parts[2].rsplit(".", 1)[0])
        key = f"{entry.subject}/{entry.challenge}/{entry.stem}"
        if key in line_of:
            repeats.append(f"line {number} repeats line {line_of[key]}: {name!r}")
            continue
        line_of[key] = number
        entries.append(entry)
    if not entries:
        raise UserError(f"{path}: the image list is empty")
    if repeats:
        more = f" and {len(repeats) - 1} more such lines" if len(repeats) > 1 else ""
        LOGGER.warning("%s %s%s; an image counts once", path, repeats[0], more)
    return entries


def select_challenges(images: list[ImageEntry], challenges: tuple[str, ...]) -> list[ImageEntry]:
    """Entries of the named challenges; all entries if none is named."""
    present = sorted({image.challenge for image in images})
    for challenge in challenges:
        if challenge not in present:
            raise UserError(f"--challenge {challenge}: the image list has {', '.join(present)}")
    return [image for image in images if not challenges or image.challenge in challenges]
