"""Splits of data sets packed into tar shards, so that a training reads few, large files.

    CACHE/DATA-SPLIT/
        shard-000000.tar     NNNNNN.image (the picture's bytes) and NNNNNN.png (its label map), ...
        index.json           the samples: where their bytes lie, landmarks and boxes; the subsets

Pictures are stored as they are, so that a run gives the same numbers with and without a cache.
"""

import io
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pacofr.errors import UserError
from pacofr.tasks.records import FaceSample, LabelLayer, Split, StoredFile
from pacofr.utils.budgets import IMAGE_BYTES_HELD, JSON_BYTES
from pacofr.utils.config_json import from_json, read_json
from pacofr.utils.files import write_json
from pacofr.utils.locks import file_lock
from pacofr.utils.progress import track

FORMAT, VERSION = "pacofr-task-cache", 1
SHARD_SAMPLES = 1000
INDEX_BYTES = 4 * JSON_BYTES

LabelReader = Callable[[FaceSample], np.ndarray]


class _Place(NamedTuple):
    shard: int
    offset: int
    size: int


class _CachedSample(NamedTuple):
    name: str
    image: _Place
    label: _Place | None
    points: tuple[tuple[float, float], ...] | None
    box: tuple[float, float, float, float] | None


class _Index(NamedTuple):
    format: str
    version: int
    data: str
    split: str
    shards: tuple[int, ...]
    """Size of each shard [bytes]."""
    samples: tuple[_CachedSample, ...]
    subsets: dict[str, tuple[int, ...]]
    published: dict[str, tuple[int, ...]]


def cached_split(
    cache: Path | None,
    name: str,
    split: str,
    load: Callable[[], Split],
    read_labels: LabelReader | None = None,
    *,
    points: int,
) -> Split:
    """The split from its cache, which is written first where it is not there.

    Args:
        cache: folder for all caches; None: `load()` alone.
        name: of the data set.
        split: of the data set.
        load: reads the split from its data set.
        read_labels: the label map of a sample, to store it merged; None: there are none, but
            each sample has landmarks and a box.
        points: landmarks of each sample that has any.

    Raises:
        UserError: as `load`; or the cache is damaged or cannot be written.
    """
    if cache is None:
        return load()
    folder = cache / f"{name}-{split}"
    with file_lock(folder / "index", wait=True):
        if not (folder / "index.json").exists():
            _write(folder, load(), read_labels)
    found = _read(folder, name, split)
    counts = {-1 if sample.points is None else len(sample.points) for sample in found.samples}
    annotated = read_labels is None
    if counts - {points, points if annotated else -1} or (
        annotated and any(sample.box is None for sample in found.samples)
    ):
        raise UserError(
            f"{folder}/index.json: expected {points} landmarks and a box of each face; delete"
            f" {folder} to have it made anew"
        )
    return found


def _write(folder: Path, split: Split, read_labels: LabelReader | None) -> None:
    samples: list[_CachedSample] = []
    sizes: list[int] = []
    starts = range(0, len(split.samples), SHARD_SAMPLES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for shard, start in enumerate(track(starts, f"caching {split.data} {split.split}")):
            part = split.samples[start : start + SHARD_SAMPLES]
            path = _shard(folder, shard)
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            try:
                with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                    samples += _pack(tar, shard, start, part, read_labels)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            sizes.append(path.stat().st_size)
        index = _Index(
            FORMAT,
            VERSION,
            split.data,
            split.split,
            tuple(sizes),
            tuple(samples),
            dict(split.subsets),
            dict(split.published),
        )
        write_json(folder / "index.json", _plain(index))
    except OSError as error:
        raise UserError(f"{folder}: the cache cannot be written ({error.strerror})") from error


def _pack(
    tar: tarfile.TarFile,
    shard: int,
    start: int,
    part: tuple[FaceSample, ...],
    read_labels: LabelReader | None,
) -> Iterator[_CachedSample]:
    for number, sample in enumerate(part, start=start):
        image = _add(tar, shard, f"{number:06d}.image", sample.image.read(IMAGE_BYTES_HELD))
        label = None
        if read_labels is not None:
            packed = cv2.imencode(".png", read_labels(sample))[1].tobytes()
            label = _add(tar, shard, f"{number:06d}.png", packed)
        points, box = sample.points, sample.box
        yield _CachedSample(
            sample.name,
            image,
            label,
            None if points is None else tuple((float(x), float(y)) for x, y in points),
            None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        )


def _add(tar: tarfile.TarFile, shard: int, name: str, data: bytes) -> _Place:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    offset = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(header, io.BytesIO(data))
    return _Place(shard, offset, len(data))


def _read(folder: Path, name: str, split: str) -> Split:
    file = folder / "index.json"
    remedy = f"delete {folder} to have it made anew"
    content = read_json(file, "the index of a cache", max_bytes=INDEX_BYTES)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file}: expected the index of a cache, got another JSON file; {remedy}")
    index = from_json(_Index, content, str(file))
    if (index.version, index.data, index.split) != (VERSION, name, split):
        raise UserError(f"{file}: expected a cache of {name} {split}; {remedy}")
    for number, size in enumerate(index.shards):
        path = _shard(folder, number)
        if not path.is_file() or path.stat().st_size != size:
            raise UserError(f"{path} is missing or cut short; {remedy}")
    count = len(index.samples)
    if not all(0 <= i < count for subset in index.subsets.values() for i in subset):
        raise UserError(f"{file}: expected positions of {count} samples; {remedy}")
    samples = []
    for sample in index.samples:
        label = () if sample.label is None else (LabelLayer(_stored(folder, sample.label, index)),)
        samples.append(
            FaceSample(
                sample.name,
                _stored(folder, sample.image, index)._replace(name=f"{folder}: {sample.name}"),
                None if sample.points is None else np.array(sample.points, np.float64),
                None if sample.box is None else np.array(sample.box, np.float64),
                label,
            )
        )
    return Split(name, split, tuple(samples), index.subsets, index.published)


def _stored(folder: Path, place: _Place, index: _Index) -> StoredFile:
    shard, offset, size = place
    if (
        not 0 <= shard < len(index.shards)
        or not 0 <= offset <= offset + size <= index.shards[shard]
    ):
        raise UserError(
            f"{folder}/index.json points outside of its shards; delete {folder} to have it made"
            " anew"
        )
    return StoredFile(_shard(folder, shard), offset, size)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:06d}.tar"


def _plain(value: object) -> object:
    """Named tuples as objects, for JSON."""
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}  # type: ignore[attr-defined]
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
