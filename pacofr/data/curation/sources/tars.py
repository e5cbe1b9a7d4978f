"""Photos in tars in the webdataset convention, as img2dataset writes them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pacofr.data.curation.sources.conditions import Condition
from pacofr.data.curation.sources.metadata_table import TableBesideTar
from pacofr.data.curation.sources.tar_reader import (
    MemberKind,
    TarDamageError,
    TarMember,
    TarReader,
)
from pacofr.data.curation.stats import Counter, LeftOut, Reason
from pacofr.errors import UserError
from pacofr.images import SUFFIXES
from pacofr.images.kinds import HEAD_BYTES, image_kind
from pacofr.utils.budgets import PHOTO_BYTES, SAMPLE_JSON_BYTES, SAMPLE_MEMBERS

SAMPLE_ID = "SAMPLE_ID"
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


class SourcePhoto(NamedTuple):
    """One photo's bytes, or why there are none."""

    key: str
    data: bytes
    sample_id: int | None = None
    problem: Reason | None = None


def read_tar(
    path: Path,
    left_out: Counter,
    *,
    with_ids: bool,
    with_data: bool,
    chosen: frozenset[int] | None = None,
    conditions: Sequence[Condition] = (),
    table: TableBesideTar | None = None,
    name: str | None = None,
) -> Iterator[SourcePhoto]:
    """Photos of a tar; the last one may stand for its damage.

    Args:
        path: the tar.
        left_out: counts its members that are no photos.
        with_ids: read LAION-Face's SAMPLE_ID from the JSON beside each photo.
        with_data: read the photos' bytes.
        chosen: positions of the photos to take; None: all.
        conditions: on each photo's JSON; one that does not meet them has that problem, no bytes.
        table: has what a photo's JSON lacks.
        name: of the tar, where `path` is a copy.

    Raises:
        UserError: the table cannot be used.
    """
    position = 0
    with_json = with_ids or bool(conditions)
    damaged = SourcePhoto(name or path.name, b"", problem=Reason.CUT_SHARD)
    try:
        reader = TarReader(path)
    except (OSError, UserError):
        yield damaged
        return
    try:
        with reader as tar:
            for sample in _samples(tar, with_json):
                for member in sample:
                    reason = _reason_to_leave_out(tar, member)
                    if reason is not None:
                        left_out.add(reason, member.name)
                    elif member.kind is MemberKind.FILE:
                        if chosen is None or position in chosen:
                            about = _json_beside(tar, member, sample) if with_json else {}
                            if table is not None:
                                about = table.completed(about, _key(member.name))
                            yield _photo(tar, member, about, with_data, conditions)
                        position += 1
    except (TarDamageError, OSError):
        yield damaged


def _samples(tar: TarReader, together: bool) -> Iterator[list[TarMember]]:
    """Members one by one, or `together` those that stand together under one name."""
    if not together:
        yield from ([member] for member in tar)
        return
    sample: list[TarMember] = []
    damage = None
    try:
        for member in tar:
            same = sample and _sample_name(member.name) == _sample_name(sample[0].name)
            if sample and (not same or len(sample) >= SAMPLE_MEMBERS):
                yield sample
                sample = []
            sample.append(member)
    except TarDamageError as error:
        damage = error
    if sample:
        yield sample
    if damage is not None:
        raise damage


def _key(name: str) -> str:
    """img2dataset's key: the sample's name without folders."""
    return _sample_name(name).rpartition("/")[2]


def _sample_name(name: str) -> str:
    """webdataset's key: everything up to the first dot of the base name."""
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


def _reason_to_leave_out(tar: TarReader, member: TarMember) -> LeftOut | None:
    if member.kind is MemberKind.FOLDER:
        return None
    if any(part.startswith(".") and part.strip(".") for part in member.name.split("/")):
        return LeftOut.HIDDEN
    if member.kind is MemberKind.LINK:
        return LeftOut.LINK
    if member.kind is MemberKind.SPECIAL:
        return LeftOut.SPARSE
    if Path(member.name).suffix.lower() in SUFFIXES:
        return None
    if image_kind(tar.read(member, HEAD_BYTES)) is not None:
        return None
    return LeftOut.ARCHIVE if member.name.lower().endswith(ARCHIVES) else LeftOut.NO_PICTURE


def _photo(
    tar: TarReader,
    member: TarMember,
    about: Mapping[str, Any],
    with_data: bool,
    conditions: Sequence[Condition],
) -> SourcePhoto:
    key = _without_suffix(member.name)
    if member.size > PHOTO_BYTES:
        return SourcePhoto(key, b"", problem=Reason.UNREADABLE)
    if not all(condition.holds(about) for condition in conditions):
        return SourcePhoto(key, b"", problem=Reason.CONDITION)
    data = tar.read(member, PHOTO_BYTES) if with_data else b""
    return SourcePhoto(key, data, _sample_id(about))


def _without_suffix(name: str) -> str:
    return name[: len(name) - len(Path(name).suffix)]


def _json_beside(tar: TarReader, member: TarMember, sample: list[TarMember]) -> Mapping[str, Any]:
    """The JSON of the photo's name, else of the sample's; empty where none can be read."""
    files = {m.name: m for m in sample if m.kind is MemberKind.FILE and m.name.endswith(".json")}
    of_photo = files.get(f"{_without_suffix(member.name)}.json")
    found = of_photo or next(iter(files.values()), None)
    if found is None or found.size > SAMPLE_JSON_BYTES:
        return {}
    try:
        about = json.loads(tar.read(found, SAMPLE_JSON_BYTES))
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _sample_id(about: Mapping[str, Any]) -> int | None:
    """LAION-Face's SAMPLE_ID."""
    value = about.get(SAMPLE_ID)
    try:
        return None if value is None else int(value)
    except (ValueError, TypeError, OverflowError):
        return None
