"""One unit of curation, in one process: photos in, a shard of aligned crops out.

Each photo gives one crop or one counted reason. Nothing here stops for a photo.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.contact_sheet import KEPT, THUMBNAIL_PX, Thumbnail, thumbnail
from pacofr.data.curation.face_filter import FilteredFace, select_face
from pacofr.data.curation.pool import check_stop
from pacofr.data.curation.run_folder import copies_folder
from pacofr.data.curation.sources.conditions import parse_condition
from pacofr.data.curation.sources.laion_detections import DetectionTable
from pacofr.data.curation.sources.tars import SourcePhoto
from pacofr.data.curation.sources.units import SourceUnit, read_photos
from pacofr.data.curation.stats import Counter, Reason, readable
from pacofr.data.curation.unit_result import (
    UnitResult,
    progress_file,
    shard_file,
    thumbnail_file,
    write_result,
)
from pacofr.data.shard_writer import TarWriter
from pacofr.errors import UserError
from pacofr.faces.detect import Face, detect_batch
from pacofr.images import decode_image
from pacofr.utils.files import write_atomic
from pacofr.utils.threads import set_threads

JPEG_QUALITY = 95
BATCH_PHOTOS, BATCH_BYTES, BATCH_PIXELS = 32, 16_000_000, 8_000_000
THUMBNAILS_PER_KIND = 6
DETECTOR_MARGIN = 0.7
"""Boxes are looked for from this share of the smallest face on: the detector corrects them."""


class UnitJob(NamedTuple):
    """What a process needs to curate a unit."""

    unit: SourceUnit
    digest: str
    """Of the source and the settings."""
    wanted: Int64[np.ndarray, " n"] | None
    """Positions of the photos to take; None: all."""
    detections: Path | None
    """Folder of the converted detections."""
    crashed_batch: int | None
    """Batch at which a process died before; it is counted, not read."""


class DecodedPhoto(NamedTuple):
    """A photo and its pixels, or why there are none."""

    photo: SourcePhoto
    image: np.ndarray | None
    problem: Reason | None


def curate_unit(job: UnitJob, config: CurateConfig) -> UnitResult:
    """Curate a unit and write its shard, its thumbnails and, last, its marker; returns that.

    Raises:
        WorkersStopped: the run was stopped; what was written is gone.
        OSError: the shard cannot be written.
    """
    set_threads(1)  # the processes share out the cores
    number, out = job.unit.number, config.out
    rejected, left_out, thumbnails = Counter(), Counter(), []
    looked_at = 0
    table = DetectionTable(job.detections) if job.detections else None
    shard = shard_file(out, number)
    for stale in (shard, *out.glob(f".{shard.name}.*")):  # of a killed or outdated run
        stale.unlink(missing_ok=True)
    writer = TarWriter(shard)
    try:
        photos = read_photos(
            job.unit,
            job.wanted,
            left_out,
            with_ids=table is not None,
            conditions=[parse_condition(text) for text in config.where],
            copies=copies_folder(config),
            check_stop=check_stop,
        )
        for batch_number, batch in enumerate(_batches(photos)):
            check_stop()
            write_atomic(progress_file(out, number), str(batch_number).encode())
            looked_at += sum(photo.problem is not Reason.CUT_SHARD for photo in batch)
            if batch_number == job.crashed_batch:
                rejected.add(Reason.CRASHED, batch[0].key, len(batch))
                continue
            for items in _decoded(batch):
                results = _curate_batch(items, job.unit, config, table)
                for item, result in zip(items, results, strict=True):
                    if result.crop is not None:
                        key = f"{number:06d}_{len(writer.locations):06d}"
                        writer.add(key, _jpeg(result.crop), _about(job.unit, item.photo, result))
                    elif result.reason is not None:
                        rejected.add(result.reason, item.photo.key)
                    _add_thumbnail(thumbnails, item, result)
        entry = writer.close() if writer.locations else None
    finally:
        writer.abandon()
    if thumbnails:
        strip = np.hstack([each.image for each in thumbnails])
        write_atomic(thumbnail_file(out, number), _jpeg(strip))
    done = UnitResult(
        digest=job.digest,
        photos=looked_at,
        rejected=rejected.counts,
        left_out=left_out.counts,
        shard=entry,
        thumbnails=tuple(each.label for each in thumbnails),
        locations=writer.locations,
    )
    write_result(out, number, done)
    with contextlib.suppress(OSError):
        progress_file(out, number).unlink()
    return done


def _about(unit: SourceUnit, photo: SourcePhoto, result: FilteredFace) -> dict[str, Any]:
    """The JSON beside a crop."""
    assert result.face is not None
    return {
        "source": readable(unit.name),
        "key": readable(photo.key),
        "box": [round(float(v), 2) for v in result.face.box],
        "points": [[round(float(v), 2) for v in point] for point in result.face.points],
        "score": round(result.face.score, 4),
        "sharpness": round(result.sharpness, 3),
    }


def _batches(photos: Iterator[SourcePhoto]) -> Iterator[list[SourcePhoto]]:
    """Photos, at most so many and about so many bytes at a time."""
    batch, size = [], 0
    for photo in photos:
        batch.append(photo)
        size += len(photo.data)
        if len(batch) == BATCH_PHOTOS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decoded(batch: list[SourcePhoto]) -> Iterator[list[DecodedPhoto]]:
    """The batch's pixels, at once or, if they are many, in several lists."""
    items, pixels = [], 0
    for photo in batch:
        item = _decode(photo)
        items.append(item)
        pixels += 0 if item.image is None else item.image.size // 3
        if pixels >= BATCH_PIXELS:
            yield items
            items, pixels = [], 0
    if items:
        yield items


def _decode(photo: SourcePhoto) -> DecodedPhoto:
    if photo.problem is not None:
        return DecodedPhoto(photo, None, photo.problem)
    try:
        return DecodedPhoto(photo, decode_image(photo.data, photo.key), None)
    except UserError:
        return DecodedPhoto(photo, None, Reason.UNREADABLE)


def _curate_batch(
    batch: list[DecodedPhoto], unit: SourceUnit, config: CurateConfig, table: DetectionTable | None
) -> list[FilteredFace]:
    images = [item.image for item in batch if item.image is not None]
    detected = iter(
        [] if table else detect_batch(images, min_face=DETECTOR_MARGIN * config.min_face)
    )
    results = []
    for item in batch:
        if item.image is None:
            results.append(FilteredFace(None, item.problem))
            continue
        faces = _laion_faces(table, item.photo) if table else next(detected)
        if faces is None:
            results.append(FilteredFace(None, Reason.NO_DETECTION))
            continue
        name = f"{unit.name}/{item.photo.key}"
        confirm = table is not None
        results.append(select_face(item.image, faces, config, name=name, confirm=confirm))
    return results


def _laion_faces(table: DetectionTable, photo: SourcePhoto) -> list[Face] | None:
    rows: Float32[np.ndarray, "n 15"] | None = table.rows_of(photo.sample_id)
    if rows is None:
        return None
    return [Face(row[:4], float(row[14]), row[4:14].reshape(5, 2)) for row in rows]


def _jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """RGB as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert ok
    return data.tobytes()


def _add_thumbnail(thumbnails: list[Thumbnail], item: DecodedPhoto, result: FilteredFace) -> None:
    """Keep the first few pictures of every outcome."""
    label = str(result.reason) if result.reason else KEPT
    if sum(each.label == label for each in thumbnails) >= THUMBNAILS_PER_KIND:
        return
    if result.crop is not None:
        small = cv2.resize(result.crop, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
        thumbnails.append(Thumbnail(label, small))
    elif item.image is not None:
        thumbnails.append(Thumbnail(label, thumbnail(item.image, result.face)))
