"""Where curation gets photos from: folders of photos and tars in the webdataset convention.

A `SourceUnit` is the piece of work that becomes one output shard: a source tar or a thousand files.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from pacofr.data.curation.conditions import Condition
from pacofr.data.curation.sources.tars import ARCHIVES, SourcePhoto, read_tar
from pacofr.data.curation.stats import Counter, LeftOut, Reason
from pacofr.errors import UserError
from pacofr.images import scan_folder
from pacofr.images.folder import HIDDEN, NO_FILE, OTHER_FILE, SEEN_FOLDER, UNREADABLE
from pacofr.utils.bounded import read_bounded
from pacofr.utils.budgets import PHOTO_BYTES

FILES_PER_UNIT = 1000
IN_FOLDERS = {
    HIDDEN: LeftOut.HIDDEN,
    OTHER_FILE: LeftOut.NO_PICTURE,
    NO_FILE: LeftOut.NO_FILE,
    SEEN_FOLDER: LeftOut.REPEATED_FOLDER,
    UNREADABLE: LeftOut.UNREADABLE_FOLDER,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceUnit:
    """Photos that become one shard."""

    number: int
    name: str
    """Tells the unit from others wherever the source lies: part of each photo's random draw."""
    files: tuple[Path, ...]
    """One tar, or image files."""
    root: Path
    """Folder the files' keys are relative to."""

    @property
    def tar(self) -> Path | None:
        """The source tar, if it is one."""
        return self.files[0] if _is_tar(self.files[0]) else None

    @property
    def digest(self) -> str:
        """Changes when the source's files are others, by name and size."""
        lines = [f"{self.key(file)} {file.stat().st_size}" for file in self.files]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def key(self, file: Path) -> str:
        """A file's name within the source."""
        return file.relative_to(self.root).as_posix()


class Sources(NamedTuple):
    """What lies in the sources."""

    units: list[SourceUnit]
    left_out: Counter
    """What is no photo, in folders; tars are counted by `read_photos`."""


def find_units(sources: tuple[Path, ...]) -> Sources:
    """All units of the sources, in an order that depends on names only.

    Raises:
        UserError: a source is neither a folder nor a tar, or a folder without any photo.
    """
    units: list[SourceUnit] = []
    left_out = Counter()

    def add(name: str, files: tuple[Path, ...], root: Path) -> None:
        units.append(SourceUnit(number=len(units), name=name, files=files, root=root))

    for source in sources:
        if source.is_file() and _is_tar(source):
            add(source.name, (source,), source.parent)
            continue
        if not source.is_dir():
            raise UserError(f"{source} is neither a folder nor a .tar file: expected photos")
        name = source.name or source.resolve().name
        listing = scan_folder(source, recursive=True, by_content=True)
        skipped = [each for each in listing.skipped if not _is_readable_tar(each.path)]
        tars = [each.path for each in listing.skipped if _is_readable_tar(each.path)]
        if not tars and not listing.images:
            raise UserError(f"{source} holds no image: expected .jpg, .png, .webp or .tar files")
        for each in skipped:
            reason = IN_FOLDERS[each.reason]
            if reason is LeftOut.NO_PICTURE and each.path.suffix.lower() in ARCHIVES:
                reason = LeftOut.ARCHIVE
            left_out.add(reason, f"{name}/{each.path.relative_to(source).as_posix()}")
        for tar in tars:
            add(tar.relative_to(source).as_posix(), (tar,), source)
        for start in range(0, len(listing.images), FILES_PER_UNIT):
            files = tuple(listing.images[start : start + FILES_PER_UNIT])
            add(f"{name}/{start // FILES_PER_UNIT:06d}", files, source)
    return Sources(units, left_out)


def count_photos(unit: SourceUnit) -> int:
    """Number of photos that `read_photos` yields, without reading them."""
    if unit.tar is None:
        return len(unit.files)
    photos = read_tar(unit.tar, Counter(), with_ids=False, with_data=False)
    return sum(photo.problem is not Reason.CUT_SHARD for photo in photos)


def read_photos(
    unit: SourceUnit,
    wanted: Int64[np.ndarray, " n"] | None,
    left_out: Counter,
    *,
    with_ids: bool,
    conditions: Sequence[Condition] = (),
) -> Iterator[SourcePhoto]:
    """The unit's photos, or those at the sorted positions `wanted`; none of them raises.

    Args:
        unit: what to read.
        wanted: positions of the photos to take; None: all.
        left_out: counts what is no photo in a tar.
        with_ids: read LAION-Face's SAMPLE_ID from the JSON beside each photo of a tar.
        conditions: on that JSON; files of a folder have none and meet none.
    """
    chosen = None if wanted is None else frozenset(wanted.tolist())
    if unit.tar is not None:
        yield from read_tar(
            unit.tar,
            left_out,
            with_ids=with_ids,
            with_data=True,
            chosen=chosen,
            conditions=conditions,
        )
        return
    for position, file in enumerate(unit.files):
        if chosen is not None and position not in chosen:
            continue
        if conditions:
            yield SourcePhoto(unit.key(file), b"", problem=Reason.CONDITION)
        else:
            try:
                yield SourcePhoto(unit.key(file), read_bounded(file, PHOTO_BYTES))
            except (OSError, UserError):
                yield SourcePhoto(unit.key(file), b"", problem=Reason.UNREADABLE)


def _is_tar(path: Path) -> bool:
    return path.suffix.lower() == ".tar"


def _is_readable_tar(path: Path) -> bool:
    return _is_tar(path) and not path.name.startswith(".") and path.is_file()
