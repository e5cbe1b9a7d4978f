"""Where curation gets photos from: folders of photos and tars in the webdataset convention.

A `SourceUnit` is the piece of work that becomes one output shard: a source tar or a thousand files.
Sources are paths, URLs or pipes; what a remote unit is called does not depend on where it lies.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from pacofr.data.curation.sources.conditions import Condition
from pacofr.data.curation.sources.listing import is_tar, local_files, remote_files
from pacofr.data.curation.sources.metadata_table import TableBesideTar
from pacofr.data.curation.sources.tars import SAMPLE_ID, SourcePhoto, read_tar
from pacofr.data.curation.stats import Counter, Reason
from pacofr.data.remote.local_copy import local_copy
from pacofr.data.remote.location import Location, Url
from pacofr.data.remote.stores import MissingFileError
from pacofr.errors import UserError
from pacofr.utils.bounded import read_bounded
from pacofr.utils.budgets import PHOTO_BYTES, TAR_BYTES

FILES_PER_UNIT = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceUnit:
    """Photos that become one shard."""

    number: int
    name: str
    """Tells the unit from others wherever the source lies: part of each photo's random draw."""
    files: tuple[Location, ...]
    """One tar, or image files."""
    root: Location
    """Folder the files' keys are relative to."""
    metadata: Location | None = None
    """The parquet table beside a tar (`metadata_table`)."""

    @property
    def tar(self) -> Location | None:
        """The source tar, if it is one."""
        return self.files[0] if is_tar(self.files[0]) else None

    @property
    def digest(self) -> str:
        """Changes when the source's files are others, by name and size."""
        lines = [f"{self.key(file)} {_size(file)}" for file in self.files]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def metadata_digest(self) -> str:
        """Changes with the table's size; empty without one."""
        return "" if self.metadata is None else f"metadata {_size(self.metadata)}|"

    def key(self, file: Location) -> str:
        """A file's name within the source."""
        if isinstance(file, Path):
            return file.relative_to(str(self.root)).as_posix()
        return str(file).removeprefix(str(self.root)).lstrip("/")


class Sources(NamedTuple):
    """What lies in the sources."""

    units: list[SourceUnit]
    left_out: Counter
    """What is no photo, in folders; tars are counted by `read_photos`."""


def find_units(sources: Sequence[Location]) -> Sources:
    """All units of the sources, in an order that depends on names only.

    Raises:
        UserError: a source is neither a folder nor a tar, or a folder without any photo; a remote
            one cannot be listed.
    """
    units: list[SourceUnit] = []
    left_out = Counter()
    for source in sources:
        if isinstance(source, Path):
            found = local_files(source, left_out)
        else:
            found = remote_files(source)
        for tar, table in zip(found.tars, found.tables, strict=True):
            unit = SourceUnit(
                number=len(units),
                name="",
                files=(tar,),
                root=found.root,
                metadata=table,
            )
            units.append(dataclasses.replace(unit, name=unit.key(tar)))
        for start in range(0, len(found.images), FILES_PER_UNIT):
            units.append(
                SourceUnit(
                    number=len(units),
                    name=f"{found.name}/{start // FILES_PER_UNIT:06d}",
                    files=tuple(found.images[start : start + FILES_PER_UNIT]),
                    root=found.root,
                )
            )
    return Sources(units, left_out)


def count_photos(unit: SourceUnit, copies: Path | None = None) -> int:
    """Number of photos that `read_photos` yields; a remote tar is fetched into `copies`."""
    if unit.tar is None:
        return len(unit.files)
    with local_copy(unit.tar, copies, TAR_BYTES) as path:
        photos = read_tar(path, Counter(), with_ids=False, with_data=False)
        return sum(photo.problem is not Reason.CUT_SHARD for photo in photos)


def read_photos(
    unit: SourceUnit,
    wanted: Int64[np.ndarray, " n"] | None,
    left_out: Counter,
    *,
    with_ids: bool,
    conditions: Sequence[Condition] = (),
    copies: Path | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> Iterator[SourcePhoto]:
    """The unit's photos, or those at the sorted positions `wanted`; none of them raises.

    Args:
        unit: what to read.
        wanted: positions of the photos to take; None: all.
        left_out: counts what is no photo in a tar.
        with_ids: read LAION-Face's SAMPLE_ID from the JSON beside each photo of a tar.
        conditions: on that JSON, or what the tar's table has in its place; files of a folder have
            none and meet none.
        copies: folder for copies of remote files.
        check_stop: called while they are fetched (`local_copy`).

    Raises:
        UserError: a remote file cannot be fetched, or a table not be used.
    """
    chosen = None if wanted is None else frozenset(wanted.tolist())
    if unit.tar is not None:
        fields = [condition.field for condition in conditions] + [SAMPLE_ID] * with_ids
        with local_copy(unit.tar, copies, TAR_BYTES, check_stop) as path:
            yield from read_tar(
                path,
                left_out,
                with_ids=with_ids,
                with_data=True,
                chosen=chosen,
                conditions=conditions,
                table=TableBesideTar(unit.metadata, copies, fields) if fields else None,
                name=unit.tar.name,
            )
        return
    for position, file in enumerate(unit.files):
        if chosen is not None and position not in chosen:
            continue
        if conditions:
            yield SourcePhoto(unit.key(file), b"", problem=Reason.CONDITION)
        else:
            yield _read_photo(unit, file, copies, check_stop)


def _read_photo(
    unit: SourceUnit, file: Location, copies: Path | None, check_stop: Callable[[], None]
) -> SourcePhoto:
    unreadable = SourcePhoto(unit.key(file), b"", problem=Reason.UNREADABLE)
    if isinstance(file, Url) and (file.size or 0) > PHOTO_BYTES:
        return unreadable
    try:
        with local_copy(file, copies, PHOTO_BYTES, check_stop) as path:
            try:
                return SourcePhoto(unit.key(file), read_bounded(path, PHOTO_BYTES))
            except (OSError, UserError):
                return unreadable
    except MissingFileError:
        return unreadable


def _size(file: Location) -> int | None:
    return file.stat().st_size if isinstance(file, Path) else file.size
