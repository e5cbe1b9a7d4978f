"""What became of a unit: the marker file that says so, and the other files of `.parts`."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pacofr.data.curation.stats import Count
from pacofr.data.shard_index import ShardEntry
from pacofr.errors import UserError
from pacofr.utils.budgets import MARKER_BYTES
from pacofr.utils.config_json import from_json, read_json
from pacofr.utils.files import write_json


class UnitResult(NamedTuple):
    """A finished unit."""

    digest: str
    """Of the source and the settings; a result with another one is out of date."""
    photos: int
    """Looked at."""
    rejected: Mapping[str, Count]
    left_out: Mapping[str, Count]
    shard: ShardEntry | None
    """None where no face was kept."""
    thumbnails: tuple[str, ...]
    """Label of each thumbnail in the unit's strip."""
    locations: list[tuple[int, int]]
    """(offset, size) of each crop's JPEG in the shard."""


class _Marker(NamedTuple):
    """A marker file without its locations, which are many."""

    digest: str
    photos: int
    rejected: Mapping[str, Count]
    left_out: Mapping[str, Count]
    shard: ShardEntry | None
    thumbnails: tuple[str, ...]


def parts_folder(out: Path) -> Path:
    """Where the units' markers lie until and after the index is written."""
    return out / ".parts"


def shard_file(out: Path, number: int) -> Path:
    """The shard that a unit becomes."""
    return out / f"shard-{number:06d}.tar"


def thumbnail_file(out: Path, number: int) -> Path:
    """A unit's strip of thumbnails."""
    return parts_folder(out) / f"{number:06d}.jpg"


def progress_file(out: Path, number: int) -> Path:
    """Names the batch that a process works at: read when the process has died."""
    return parts_folder(out) / f"{number:06d}.at"


def write_result(out: Path, number: int, result: UnitResult) -> None:
    """Write a unit's marker; the last of its files, so that it means that the unit is done."""
    content = result._asdict()
    for name in ("rejected", "left_out"):
        content[name] = {str(reason): each._asdict() for reason, each in content[name].items()}
    content["shard"] = result.shard._asdict() if result.shard else None
    write_json(_marker_file(out, number), content)


def has_marker(out: Path, number: int) -> bool:
    """Whether a unit was done at some time; `read_result` tells whether that still counts."""
    return _marker_file(out, number).is_file()


def read_result(out: Path, number: int, digest: str) -> UnitResult | None:
    """A unit's result if it is up to date and its shard is whole."""
    file = _marker_file(out, number)
    try:
        content = read_json(file, "a marker of pacofr curate", max_bytes=MARKER_BYTES)
        if not isinstance(content, dict) or content.get("digest") != digest:
            return None
        locations = np.array(content.pop("locations"), np.int64).reshape(-1, 2).tolist()
        marker = from_json(_Marker, content, str(file))
    except (UserError, KeyError, TypeError, ValueError, OverflowError):
        return None
    if marker.shard is not None:
        try:
            size = (out / marker.shard.name).stat().st_size
        except OSError:
            return None
        if size != marker.shard.bytes:
            return None
    return UnitResult(*marker, locations=[(offset, size) for offset, size in locations])


def _marker_file(out: Path, number: int) -> Path:
    return parts_folder(out) / f"{number:06d}.json"
