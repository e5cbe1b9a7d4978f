"""What a finished curation leaves beside its shards: index, stats.json and contact sheet."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2

from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.contact_sheet import THUMBNAIL_PX, Thumbnail, contact_sheet
from pacofr.data.curation.run_folder import settings_json
from pacofr.data.curation.sources.units import SourceUnit
from pacofr.data.curation.stats import Counter, CurateStats, Reason, in_words, readable
from pacofr.data.curation.unit_result import UnitResult, thumbnail_file
from pacofr.data.shard_index import write_index
from pacofr.errors import UserError
from pacofr.faces.align import CANVAS_PX, FACE_PX
from pacofr.utils.files import write_json, write_png

LOGGER = logging.getLogger(__name__)
MAX_THUMBNAILS_READ = 2500
"""Read for the contact sheet, which shows the first kept and every kind rejected."""


def summarize(results: Sequence[UnitResult], left_out: Counter) -> CurateStats:
    """Counts over units; `left_out` is what lies in folders. Times and the rest are zero."""
    rejected, others = Counter(), Counter(left_out.counts)
    for result in results:
        rejected.merge(result.rejected)
        others.merge(result.left_out)
    order = [str(reason) for reason in Reason if str(reason) in rejected.counts]
    return CurateStats(
        photos=sum(result.photos for result in results),
        kept=sum(len(result.locations) for result in results),
        rejected={reason: rejected.counts[reason] for reason in order},
        left_out=others.counts,
        shards=sum(result.shard is not None for result in results),
        new_photos=0,
        seconds=0.0,
        complete=False,
    )


def write_report(
    config: CurateConfig,
    units: Sequence[SourceUnit],
    results: Sequence[UnitResult],
    stats: CurateStats,
) -> None:
    """Write index, stats.json and the contact sheet of a curation whose units are all done.

    Raises:
        UserError: no face was kept, or the folder cannot be written.
    """
    full = [result for result in results if result.shard is not None]
    if not full:
        counts = in_words(stats.rejected, examples=True)
        if not stats.photos:
            raise UserError(f"the sources hold no photo that can be read ({counts})")
        raise UserError(
            f"no face was kept of {stats.photos} photos ({in_words(stats.rejected)}): lower "
            "--min-face, --min-score or --min-sharpness, or give other sources"
        )
    shards = [result.shard for result in full if result.shard is not None]
    named = {shard.name for shard in shards}
    left = [file for file in config.out.glob("shard-??????.tar") if file.name not in named]
    if left:
        LOGGER.info("%d shards of sources no longer given stay, out of the index", len(left))
    digests = "\n".join(unit.digest for unit in units)
    about = {
        "photos": stats.photos,
        "kept": stats.kept,
        "rejected": {reason: each.count for reason, each in stats.rejected.items()},
        "rejected_examples": {reason: each.example for reason, each in stats.rejected.items()},
        "left_out": {reason: each._asdict() for reason, each in stats.left_out.items()},
        "shards": stats.shards,
        "settings": settings_json(config),
        "sources": [
            readable(source.resolve().name if isinstance(source, Path) else str(source))
            for source in config.sources
        ],
        "sources_sha256": hashlib.sha256(digests.encode()).hexdigest(),
    }
    try:
        write_json(config.out / "stats.json", about)
        write_png(config.out / "contact_sheet.png", contact_sheet(_thumbnails(config, results)))
        locations = [result.locations for result in full]
        write_index(config.out, shards, locations, canvas=CANVAS_PX, face=FACE_PX)
    except OSError as error:
        raise UserError(
            f"cannot write into {config.out}: {error.strerror or error}; make room and give the "
            "same command again"
        ) from error


def _thumbnails(config: CurateConfig, results: Sequence[UnitResult]) -> list[Thumbnail]:
    """Thumbnails of the units, first those of the first unit; missing strips are left out."""
    thumbnails = []
    for number, result in enumerate(results):
        file = thumbnail_file(config.out, number)
        strip = cv2.imread(str(file)) if result.thumbnails and file.is_file() else None
        if strip is None:
            continue
        tiles = strip[..., ::-1].reshape(THUMBNAIL_PX, -1, THUMBNAIL_PX, 3).swapaxes(0, 1)
        thumbnails += [Thumbnail(*pair) for pair in zip(result.thumbnails, tiles, strict=False)]
        if len(thumbnails) > MAX_THUMBNAILS_READ:
            break
    return thumbnails
