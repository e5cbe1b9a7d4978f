"""Folders of samples: written part by part, read by number.

OUT/samples.json            format, version, source, head, settings, splits, counts
OUT/CARD.md                 data card for people
OUT/{train,val,test}/       shards of `pacofr.data.shard_index`: KEY.jpg, KEY.json,
                            KEY.safetensors
OUT/.parts/                 what is done; a stopped run goes on
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import cv2
from jaxtyping import UInt8

from mica_ext.data.branch.sample import (
    FACE_PX,
    PICTURE_PX,
    BranchSample,
    decode_sample,
    encode_arrays,
)
from mica_ext.data.branch.splits import SPLITS, Split
from mica_ext.data.skipped import SkipCounter, Skipped
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.data.shard_index import ShardEntry, write_index
from pacofr.data.shard_writer import TarWriter
from pacofr.data.shards import ShardDataset
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import from_json, read_json

JPEG_QUALITY = 95
PARTS = ".parts"


class Part(NamedTuple):
    """A piece of a data set that is made at a time: the samples of one or a few people."""

    name: str
    split: Split
    samples: Any
    """Function of a `SkipCounter` that gives an iterable of `BranchSample`."""


class PartResult(NamedTuple):
    """Contents of a part's marker: its shard and what was left out."""

    split: str
    shard: ShardEntry | None
    locations: tuple[tuple[int, int], ...]
    subjects: tuple[str, ...]
    skipped: dict[str, Skipped]


def write_part(out: Path, number: int, part: Part) -> PartResult:
    """Make a part's shard, or return what an earlier run made.

    Raises:
        UserError: the shard cannot be written.
    """
    marker = out / PARTS / f"{number:06d}.json"
    if marker.exists():
        return _read_marker(marker)
    folder = out / part.split
    skipped, subjects = SkipCounter(), set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker.parent.mkdir(exist_ok=True)
        shard = folder / f"shard-{number:06d}.tar"
        for stale in folder.glob(f".{shard.name}.*"):
            stale.unlink(missing_ok=True)
        writer = TarWriter(shard)
        try:
            samples: Iterable[BranchSample] = part.samples(skipped)
            for index, sample in enumerate(samples):
                about = {
                    "subject": sample.subject,
                    "source": sample.source,
                    "confidence": sample.confidence,
                }
                jpeg = _jpeg(sample.picture)
                writer.add(f"{number:06d}_{index:06d}", jpeg, about, encode_arrays(sample))
                subjects.add(sample.subject)
            entry = writer.close() if writer.locations else None
        finally:
            writer.abandon()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    result = PartResult(
        part.split, entry, tuple(writer.locations), tuple(sorted(subjects)), skipped.counts
    )
    content = result._asdict()
    content["shard"] = None if entry is None else entry._asdict()
    content["skipped"] = {name: each._asdict() for name, each in skipped.counts.items()}
    write_bytes_atomic(marker, json.dumps(content).encode())
    return result


def write_indices(out: Path, results: Iterable[PartResult]) -> dict[str, int]:
    """Write the index of every split that has samples; their counts."""
    done = list(results)
    counts = {}
    for split in SPLITS:
        own = [each for each in done if each.split == split and each.shard is not None]
        if own:
            entries = [each.shard for each in own if each.shard is not None]
            locations = [each.locations for each in own]
            write_index(out / split, entries, locations, canvas=PICTURE_PX, face=FACE_PX)
            counts[split] = sum(entry.crops for entry in entries)
    return counts


class BranchDataset:
    """Samples of one split by number; may be used in forked and spawned workers."""

    def __init__(self, folder: Path) -> None:
        """Open OUT/train, OUT/val or OUT/test.

        Raises:
            UserError: it holds no samples.
        """
        self.shards = ShardDataset(folder)

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, number: SupportsIndex) -> BranchSample:
        index = int(number)
        about, data = self.shards.about(index), self.shards.tensors(index)
        return decode_sample(self.shards[index], about, data)


def _jpeg(picture: UInt8[Any, "H W 3"]) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def _read_marker(marker: Path) -> PartResult:
    try:
        return from_json(PartResult, read_json(marker, "a part of a run"), str(marker))
    except ContentError as error:
        raise UserError(f"{error}; delete it, the same command makes it again") from error
