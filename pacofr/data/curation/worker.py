"""One unit of curation, in one process: photos in, a shard of aligned crops out.

Each photo gives one crop or one counted reason. Nothing here stops for a photo.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8

from pacofr.data.curation.config import CurateConfig, Reason
from pacofr.data.curation.contact_sheet import KEPT, THUMB, Thumb
from pacofr.data.curation.sources import DetectionTable, Photo, Unit, photos
from pacofr.data.shard_index import ShardEntry
from pacofr.data.shard_writer import TarWriter
from pacofr.errors import UserError
from pacofr.faces.align import ffhq_crop
from pacofr.faces.detect import Face, detect_batch
from pacofr.faces.mtcnn.cascade import load_mtcnn
from pacofr.images import decode_image
from pacofr.utils.files import write_atomic

JPEG_QUALITY = 95
BATCH_PHOTOS, BATCH_BYTES, BATCH_PIXELS = 32, 16_000_000, 8_000_000
LEAST_CONFIRMED = 0.3
"""MTCNN's score of a face that another detector found."""
THUMBS_PER_KIND = 6


class Work(NamedTuple):
    """What a process needs to curate a unit."""

    unit: Unit
    digest: str
    """Of the source and the settings: a marker with another one is out of date."""
    wanted: Int64[np.ndarray, " n"] | None
    detections: Path | None
    """Folder of the converted detections."""
    avoid: int | None
    """Batch that crashed a process before."""


def parts_folder(out: Path) -> Path:
    """Where the units' markers lie until and after the index is written."""
    return out / ".parts"


def marker(out: Path, number: int) -> Path:
    """A unit's marker: written last, so that it means the unit is done."""
    return parts_folder(out) / f"{number:06d}.json"


def progress_file(out: Path, number: int) -> Path:
    """Names the batch a process works at: read when the process has died."""
    return parts_folder(out) / f"{number:06d}.at"


def curate_unit(work: Work, config: CurateConfig) -> dict[str, Any]:
    """Curate a unit and write its shard, its thumbnails and, last, its marker; returns that."""
    cv2.setNumThreads(0)  # the processes share out the cores
    torch.set_num_threads(1)
    number = work.unit.number
    counts = dict.fromkeys(Reason, 0)
    looked_at, thumbs = 0, []
    table = DetectionTable(work.detections) if work.detections else None
    shard = config.out / f"shard-{number:06d}.tar"
    for stale in (shard, *config.out.glob(f".{shard.name}.*")):  # of a killed or outdated run
        stale.unlink(missing_ok=True)
    writer = TarWriter(shard)
    try:
        stream = photos(work.unit, work.wanted, want_ids=table is not None)
        for batch_number, batch in enumerate(_batches(stream)):
            write_atomic(progress_file(config.out, number), str(batch_number).encode())
            looked_at += sum(photo.problem is not Reason.CUT_SHARD for photo in batch)
            if batch_number == work.avoid:
                counts[Reason.CRASHED] += len(batch)
                continue
            for items in _decoded(batch):
                results = _curate_batch(items, work.unit, config, table)
                for item, result in zip(items, results, strict=True):
                    if result.crop is None:
                        assert result.reason is not None
                        counts[result.reason] += 1
                    else:
                        key = f"{number:06d}_{len(writer.locations):06d}"
                        about = result.about(work.unit, item.photo)
                        writer.add(key, _jpeg(result.crop), about)
                    _remember(thumbs, item, result)
        entry = writer.close() if writer.locations else None
    finally:
        writer.abandon()
    done = {
        "digest": work.digest,
        "photos": looked_at,
        "rejected": {str(reason): count for reason, count in counts.items() if count},
        "shard": entry._asdict() if entry else None,
        "places": writer.locations,
        "thumbs": [thumb.label for thumb in thumbs],
    }
    if thumbs:
        strip = np.hstack([thumb.image for thumb in thumbs])
        write_atomic(parts_folder(config.out) / f"{number:06d}.jpg", _jpeg(strip))
    write_atomic(marker(config.out, number), json.dumps(done).encode())
    with contextlib.suppress(OSError):
        progress_file(config.out, number).unlink()
    return done


def read_marker(out: Path, number: int, digest: str) -> dict[str, Any] | None:
    """A unit's marker if it is up to date and its shard is whole."""
    try:
        done = json.loads(marker(out, number).read_text())
        shard = done["shard"]
        if done["digest"] != digest:
            return None
        if shard and (out / shard["name"]).stat().st_size != ShardEntry(**shard).bytes:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return done


class Item(NamedTuple):
    """A photo and its pixels, or why there are none."""

    photo: Photo
    image: np.ndarray | None
    problem: Reason | None


class Result(NamedTuple):
    """What became of a photo."""

    crop: UInt8[np.ndarray, "canvas canvas 3"] | None
    reason: Reason | None
    face: Face | None = None
    sharpness: float = 0.0

    def about(self, unit: Unit, photo: Photo) -> dict[str, Any]:
        """The JSON beside a crop."""
        assert self.face is not None
        return {
            "source": unit.name,
            "key": photo.key,
            "box": [round(float(v), 2) for v in self.face.box],
            "points": [[round(float(v), 2) for v in point] for point in self.face.points],
            "score": round(self.face.score, 4),
            "sharpness": round(self.sharpness, 3),
        }


def _batches(stream: Iterator[Photo]) -> Iterator[list[Photo]]:
    """Photos, at most so many and so many bytes at a time."""
    batch, size = [], 0
    for photo in stream:
        batch.append(photo)
        size += len(photo.data)
        if len(batch) == BATCH_PHOTOS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decoded(batch: list[Photo]) -> Iterator[list[Item]]:
    """The batch's pixels, in one piece or, if they are many, in several."""
    items, pixels = [], 0
    for photo in batch:
        item = _item(photo)
        items.append(item)
        pixels += 0 if item.image is None else item.image.size // 3
        if pixels >= BATCH_PIXELS:
            yield items
            items, pixels = [], 0
    if items:
        yield items


def _item(photo: Photo) -> Item:
    if photo.problem is not None:
        return Item(photo, None, photo.problem)
    try:
        return Item(photo, decode_image(photo.data, photo.key), None)
    except UserError:
        return Item(photo, None, Reason.UNREADABLE)


def _curate_batch(
    batch: list[Item], unit: Unit, config: CurateConfig, table: DetectionTable | None
) -> list[Result]:
    images = [item.image for item in batch if item.image is not None]
    found = iter([] if table else detect_batch(images, min_face=0.7 * config.min_face))
    results = []
    for item in batch:
        if item.image is None:
            results.append(Result(None, item.problem))
        elif table is None:
            results.append(_best(item.image, next(found), unit, item.photo, config, False))
        else:
            rows = table.rows_of(item.photo.sample_id)
            if rows is None:
                results.append(Result(None, Reason.NO_DETECTION))
            else:
                faces = [_laion_face(row) for row in rows]
                results.append(_best(item.image, faces, unit, item.photo, config, True))
    return results


def _laion_face(row: Float32[np.ndarray, "15"]) -> Face:
    return Face(row[:4], float(row[14]), row[4:14].reshape(5, 2))


def _best(
    image: UInt8[np.ndarray, "H W 3"],
    faces: list[Face],
    unit: Unit,
    photo: Photo,
    config: CurateConfig,
    confirm: bool,
) -> Result:
    """One face that passes the filters, by seed; else why the last of them failed."""
    seed = f"{config.seed}/{unit.name}/{photo.key}".encode("utf-8", "surrogateescape")
    order = np.random.default_rng(
        int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "little")
    ).permutation(len(faces))
    result = Result(None, Reason.NO_FACE)
    for face in (faces[i] for i in order):
        result = _judged(image, face, config, confirm)
        if result.crop is not None:
            break
    return result


def _judged(
    image: UInt8[np.ndarray, "H W 3"], face: Face, config: CurateConfig, confirm: bool
) -> Result:
    if not (np.isfinite(face.box).all() and np.isfinite(face.points).all()):
        return Result(None, Reason.NOT_A_FACE)
    if face.size < config.min_face:
        return Result(None, Reason.SMALL, face)
    if face.score < config.min_score:
        return Result(None, Reason.LOW_SCORE, face)
    outside = np.array([[-0.5, -0.5], [image.shape[1] + 0.5, image.shape[0] + 0.5]])
    centre = face.points.mean(axis=0)
    inside = (centre > outside[0]).all() and (centre < outside[1]).all()
    if not inside or face.upright_score < 0.5:
        return Result(None, Reason.NOT_A_FACE, face)
    if confirm and load_mtcnn().confirm(image, face.box[None])[0] < LEAST_CONFIRMED:
        return Result(None, Reason.NOT_A_FACE, face)
    crop = ffhq_crop(image, face.points)
    sharp = sharpness(crop)
    if sharp < config.min_sharpness:
        return Result(None, Reason.BLURRED, face, sharp)
    return Result(crop, None, face, sharp)


def sharpness(crop: UInt8[np.ndarray, "256 256 3"]) -> float:
    """Fine over coarse detail between brows and mouth; contrast and background have no say."""
    grey = cv2.cvtColor(crop[88:198, 68:188], cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = cv2.GaussianBlur(grey, (0, 0), 1.5), cv2.GaussianBlur(grey, (0, 0), 5.0)
    return float((grey - fine).std() / max(float((fine - coarse).std()), 1.0))


def _jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """RGB as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert ok
    return data.tobytes()


def _remember(thumbs: list[Thumb], item: Item, result: Result) -> None:
    """Keep the first few pictures of every outcome."""
    label = str(result.reason) if result.reason else KEPT
    if sum(thumb.label == label for thumb in thumbs) >= THUMBS_PER_KIND:
        return
    if result.crop is not None:
        picture = result.crop
    elif item.image is None:
        return
    else:
        picture = _around(item.image, result.face)
    small = cv2.resize(picture, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    thumbs.append(Thumb(label, small))


def _around(image: UInt8[np.ndarray, "H W 3"], face: Face | None) -> UInt8[np.ndarray, "s s 3"]:
    """Square about a refused face, or the photo fitted into a square."""
    height, width = image.shape[:2]
    x, y, side = width / 2, height / 2, max(height, width)
    if face is not None and np.isfinite(face.box).all() and 4 <= face.size <= side:
        (x, y), side = (face.box[:2] + face.box[2:]) / 2, 2 * face.size
    scale = THUMB / side
    matrix = np.array([[scale, 0, THUMB / 2 - scale * x], [0, scale, THUMB / 2 - scale * y]])
    return cv2.warpAffine(image, matrix, (THUMB, THUMB), flags=cv2.INTER_AREA)
