"""Photos in tars in the webdataset convention, as img2dataset writes them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
) -> Iterator[SourcePhoto]:
    """Photos of a tar; the last one may stand for its damage.

    Args:
        path: the tar.
        left_out: counts its members that are no photos.
        with_ids: read LAION-Face's SAMPLE_ID from the JSON beside each photo.
        with_data: read the photos' bytes.
        chosen: positions of the photos to take; None: all.
    """
    position = 0
    try:
        with TarReader(path) as tar:
            for sample in _samples(tar, with_ids):
                for member in sample:
                    reason = _reason_to_leave_out(tar, member)
                    if reason is not None:
                        left_out.add(reason, member.name)
                    elif member.kind is MemberKind.FILE:
                        if chosen is None or position in chosen:
                            yield _photo(tar, member, sample, with_data, with_ids)
                        position += 1
    except (TarDamageError, OSError, UserError):
        yield SourcePhoto(path.name, b"", problem=Reason.CUT_SHARD)


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
    tar: TarReader, member: TarMember, sample: list[TarMember], with_data: bool, with_ids: bool
) -> SourcePhoto:
    key = member.name[: len(member.name) - len(Path(member.name).suffix)]
    if member.size > PHOTO_BYTES:
        return SourcePhoto(key, b"", problem=Reason.UNREADABLE)
    data = tar.read(member, PHOTO_BYTES) if with_data else b""
    return SourcePhoto(key, data, _sample_id(tar, key, sample) if with_ids else None)


def _sample_id(tar: TarReader, key: str, sample: list[TarMember]) -> int | None:
    """SAMPLE_ID in the JSON of the photo's name, else in the sample's."""
    files = {m.name: m for m in sample if m.kind is MemberKind.FILE and m.name.endswith(".json")}
    member = files.get(f"{key}.json") or next(iter(files.values()), None)
    if member is None or member.size > SAMPLE_JSON_BYTES:
        return None
    try:
        value = json.loads(tar.read(member, SAMPLE_JSON_BYTES)).get("SAMPLE_ID")
        return None if value is None else int(value)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
