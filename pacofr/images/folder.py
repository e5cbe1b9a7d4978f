"""Which files of a folder are photos, and what is left out."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pacofr.errors import UserError
from pacofr.images.kinds import HEAD_BYTES, image_kind
from pacofr.utils.bounded import open_regular
from pacofr.utils.budgets import IMAGE_BYTES

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".heic", ".heif"),
)
"""Suffixes of photos; `load_image` looks at the content alone."""
HIDDEN, SUBFOLDER, SEEN_FOLDER = "hidden", "subfolder", "folder that is linked twice"
OTHER_FILE, NO_FILE, UNREADABLE = "no picture", "no regular file", "unreadable folder"


class Skipped(NamedTuple):
    """A file or folder that was left out."""

    path: Path
    reason: str


class FolderListing(NamedTuple):
    """The photos of a folder, sorted, and everything else in it."""

    images: list[Path]
    skipped: list[Skipped]


def list_images(folder: Path | str, *, recursive: bool = False) -> list[Path]:
    """Image files of a folder by suffix, sorted; hidden ones are left out."""
    images = scan_folder(folder, recursive=recursive).images
    if not images:
        raise UserError(f"{folder} holds no image: expected files such as .jpg, .png or .webp")
    return images


def scan_folder(
    folder: Path | str, *, recursive: bool = False, by_content: bool = False
) -> FolderListing:
    """Photos of a folder, and what else is there.

    Links are followed; a folder that is reached twice is read once.

    Args:
        folder: where to look.
        recursive: look into its subfolders, too.
        by_content: take files of other suffixes for photos where they begin as one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: expected a folder of images")
    images, skipped = [], []
    for path, reason in _walk(folder, recursive):
        if reason is None and path.suffix.lower() not in SUFFIXES:
            reason = None if by_content and _begins_as_image(path) else OTHER_FILE
        if reason is None:
            images.append(path)
        else:
            skipped.append(Skipped(path, reason))
    return FolderListing(sorted(images), sorted(skipped))


def _walk(folder: Path, recursive: bool) -> Iterator[tuple[Path, str | None]]:
    """Everything below a folder, with the reason why it cannot be a photo, if there is one."""
    seen = set()
    left = [folder]
    while left:
        current = left.pop()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:
                yield current, SEEN_FOLDER
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:
            yield current, UNREADABLE
            continue
        folders = []
        for entry in entries:
            path = current / entry.name
            if entry.name.startswith("."):
                yield path, HIDDEN
            elif entry.is_dir():
                folders.append(path)
            else:
                yield path, None if entry.is_file() else NO_FILE
        if recursive:
            left.extend(reversed(folders))
        else:
            yield from ((path, SUBFOLDER) for path in folders)


def _begins_as_image(path: Path) -> bool:
    try:
        with open_regular(path, IMAGE_BYTES) as stream:
            return image_kind(stream.read(HEAD_BYTES)) is not None
    except (OSError, UserError):
        return False
