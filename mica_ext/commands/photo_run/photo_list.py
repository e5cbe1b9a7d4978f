"""Which files of the command line and of folders are photos; the others are counted by reason."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mica_ext.commands.photo_run.run_record import RECORD_FILE
from mica_ext.errors import UserError, one_line
from pacofr.images import SUFFIXES

OVERLAY_ENDING = ".overlay.png"
"""Of the pictures in a folder of results; in a folder of photos they are not photos."""
TEXTURE_ENDING = ".texture.png"
"""The same of textures."""


class PhotoFile(NamedTuple):
    """A photo to reconstruct."""

    path: Path
    relative: Path
    """Within the folder that was asked for; else the file name."""


class Skipped(NamedTuple):
    """Files of one folder that are not reconstructed, for one reason."""

    reason: str
    count: int
    example: str


class PhotoList(NamedTuple):
    """Photos in the order of the command line, folders sorted."""

    photos: tuple[PhotoFile, ...]
    skipped: tuple[Skipped, ...]
    many: bool
    """Whether a folder or several paths were asked for."""


def list_photos(asked: Sequence[Path], *, recursive: bool) -> PhotoList:
    """The photos among `asked`: files are taken as they are, folders are searched.

    Raises:
        UserError: for a folder without a photo, or one that cannot be listed.
    """
    photos: list[PhotoFile] = []
    skipped: dict[str, list[str]] = {}
    for path in asked:
        if not path.is_dir():
            photos.append(PhotoFile(path, Path(path.name)))
            continue
        found = [
            PhotoFile(file, file.relative_to(path)) for file in _search(path, recursive, skipped)
        ]
        if not found:
            raise UserError(_nothing_found(path, skipped))
        photos += sorted(found)
    return PhotoList(
        tuple(photos),
        _counts(skipped),
        many=len(asked) > 1 or any(path.is_dir() for path in asked),
    )


def skipped_line(skipped: Sequence[Skipped]) -> str:
    """The counts with an example each, for people."""
    return "skipped: " + ", ".join(
        f"{count} {reason} ({one_line(example)}{', ...' if count > 1 else ''})"
        for reason, count, example in skipped
    )


def _search(folder: Path, recursive: bool, skipped: dict[str, list[str]]) -> Iterator[Path]:
    """Photos of a folder by suffix; what is left out goes into `skipped` by reason."""

    def skip(reason: str, path: Path) -> None:
        skipped.setdefault(reason, []).append(path.name)

    visited: set[tuple[int, int]] = set()
    left = [folder]
    while left:
        current = left.pop()
        try:
            status = current.stat()
            entries = sorted(current.iterdir())
        except OSError as error:
            if current == folder:
                reason = error.strerror or error
                raise UserError(f"{folder}: cannot be listed ({reason})") from error
            skip("unreadable folders", current)
            continue
        if (status.st_dev, status.st_ino) in visited:
            skip("folders met before", current)
            continue
        visited.add((status.st_dev, status.st_ino))
        for path in entries:
            if path.name == RECORD_FILE:
                continue
            if path.name.startswith("."):
                skip("hidden", path)
            elif path.is_dir():
                if recursive:
                    left.append(path)
                else:
                    skip("subfolders without --recursive", path)
            elif path.name.endswith(OVERLAY_ENDING):
                skip("own overlay pictures", path)
            elif path.name.endswith(TEXTURE_ENDING):
                skip("own textures", path)
            elif path.suffix.lower() not in SUFFIXES:
                skip("not named like a photo", path)
            elif not path.is_file():
                skip("broken links or special files", path)
            else:
                yield path


def _nothing_found(folder: Path, skipped: dict[str, list[str]]) -> str:
    if not skipped:
        return f"{folder} holds no image: expected files such as .jpg, .png or .webp"
    return f"{folder} holds no photo; {skipped_line(_counts(skipped))}"


def _counts(skipped: dict[str, list[str]]) -> tuple[Skipped, ...]:
    return tuple(Skipped(reason, len(names), names[0]) for reason, names in skipped.items())
