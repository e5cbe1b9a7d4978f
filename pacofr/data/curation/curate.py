"""Curation: photos to shards of aligned face crops, in parallel, resumable, unit by unit.

A unit (a source tar, or a thousand files) becomes one shard. Its marker is written last; a unit
with an up-to-date marker is never done again, so a killed run loses at most the units it was at,
and any scheduler may hand out `part` of `parts`.
"""

import dataclasses
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int64
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pacofr.data.curation.config import CurateConfig, CurateStats, Reason, Rejected
from pacofr.data.curation.contact_sheet import THUMB, Thumb, contact_sheet
from pacofr.data.curation.sources import (
    Unit,
    convert_detections,
    count_photos,
    detection_file,
    find_units,
)
from pacofr.data.curation.worker import (
    Work,
    curate_unit,
    parts_folder,
    progress_file,
    read_marker,
)
from pacofr.data.shard_index import ShardEntry, write_index
from pacofr.errors import UserError
from pacofr.faces.align import CANVAS_PX, FACE_PX
from pacofr.utils.files import write_json, write_png

LOGGER = logging.getLogger(__name__)

THUMBS_MAX = 2500
"""Thumbnails read for the contact sheet, which shows the first kept and every kind refused."""
LOG_SECONDS = 60.0
"""Between two lines of the log."""
RULES_VERSION = 1
"""Counted up when the same settings give other crops."""
PLACE_ONLY = ("sources", "out", "detections", "jobs", "part", "parts")
"""Settings that do not change a unit's crops (the source is in the unit's own digest)."""


def curate(config: CurateConfig) -> CurateStats:
    """Do this part's units that are not done yet; write the index once all units are."""
    began = time.monotonic()
    units = find_units(config.sources)
    _prepare(config)
    jobs = config.jobs or os.cpu_count() or 1
    wanted = _drawn(units, config, jobs)
    works = _works(units, wanted, config)
    mine = [work for work in works if work.unit.number % config.parts == config.part]
    todo = [w for w in mine if read_marker(config.out, w.unit.number, w.digest) is None]
    LOGGER.info("%d units, %d to do", len(units), len(todo))
    new_photos = _run(todo, config, jobs)
    done = [read_marker(config.out, work.unit.number, work.digest) for work in works]
    complete = all(marker is not None for marker in done)
    stats = _stats([m for m in done if m is not None], new_photos, time.monotonic() - began)
    stats = stats._replace(complete=complete)
    if complete:
        _finish(config, [marker for marker in done if marker is not None], stats)
    return stats


def _prepare(config: CurateConfig) -> None:
    """Make the folder, or see that it was made with the same settings."""
    for source in config.sources:
        if config.out.resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"{config.out} lies in {source}, so its crops would count as photos the next time:"
                " give an --out outside"
            )
    settings = _settings(config)
    path = parts_folder(config.out) / "settings.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            before = json.loads(path.read_text())
            other = sorted(k for k in settings | before if settings.get(k) != before.get(k))
            if other:
                raise UserError(
                    f"{config.out} was begun with other settings ({', '.join(other)}): give "
                    "them again, choose another --out, or delete that folder"
                )
        else:
            write_json(path, settings)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write into {config.out}: {error}; choose another --out") from error


def _settings(config: CurateConfig) -> dict[str, Any]:
    fields = dataclasses.asdict(config)
    settings = {name: value for name, value in fields.items() if name not in PLACE_ONLY}
    return {**settings, "detections": config.detections is not None, "rules": RULES_VERSION}


def _drawn(
    units: list[Unit], config: CurateConfig, jobs: int
) -> list[Int64[np.ndarray, "_"] | None]:
    """Positions of the photos to take in each unit; None: all."""
    if config.sample is None:
        return [None] * len(units)
    with _pool(jobs) as pool:
        counts = list(pool.map(count_photos, units))
    total = sum(counts)
    if total <= config.sample:
        LOGGER.info("the sources hold %d photos: all are taken", total)
        return [None] * len(units)
    chosen = np.random.default_rng(config.seed).choice(total, config.sample, replace=False)
    chosen.sort()
    edges = np.concatenate([[0], np.cumsum(counts)])
    return [
        chosen[(chosen >= a) & (chosen < b)] - a for a, b in zip(edges, edges[1:], strict=False)
    ]


def _works(
    units: list[Unit], wanted: list[Int64[np.ndarray, "_"] | None], config: CurateConfig
) -> list[Work]:
    works = []
    settings = json.dumps(_settings(config), sort_keys=True)
    for unit, chosen in zip(units, wanted, strict=True):
        table = None
        if config.detections is not None:
            file = detection_file(unit, config.detections)
            table = parts_folder(config.out) / f"{file.stem}-{file.stat().st_size}"
            convert_detections(file, table)
        drawn = b"all" if chosen is None else chosen.astype("<i8").tobytes()
        taken_from = f"{unit.name}|{unit.digest}|" + (f"{table.name}|" if table else "")
        digest = hashlib.sha256(f"{settings}|{taken_from}".encode() + drawn)
        works.append(Work(unit, digest.hexdigest(), chosen, table, None))
    return works


def _pool(jobs: int) -> ProcessPoolExecutor:
    spawn = get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_leave_with_parent)


def _leave_with_parent() -> None:
    """End this process when the one that started it is killed; it would wait for work forever."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(todo: list[Work], config: CurateConfig, jobs: int) -> int:
    """Curate the units over processes; the number of photos looked at.

    Shows a bar, or logs a line a minute where standard error is no terminal.
    """
    photos, kept = 0, 0
    began = logged = time.monotonic()
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} units, {task.fields[pace]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("curating", total=len(todo), pace="")
        for done, marker in enumerate(_curated(todo, config, jobs), start=1):
            photos += marker["photos"]
            kept += len(marker["places"])
            now = time.monotonic()
            pace = f"{kept} faces kept, {kept / (now - began):.0f} a second"
            bar.update(task, completed=done, pace=pace)
            if bar.disable and now - logged > LOG_SECONDS:
                logged = now
                LOGGER.info("%d of %d units, %s", done, len(todo), pace)
    return photos


def _curated(todo: list[Work], config: CurateConfig, jobs: int) -> Iterator[dict[str, Any]]:
    """Markers as units get done. A unit whose process dies is done again, alone, without the
    batch at which it died twice."""
    for work in todo:
        progress_file(config.out, work.unit.number).unlink(missing_ok=True)
    left = {work.unit.number: work for work in todo}
    pool = _pool(max(min(jobs, len(todo)), 1))
    try:
        futures = {pool.submit(curate_unit, work, config): work for work in todo}
        for future in as_completed(futures):
            if (marker := _outcome(future)) is not None:
                del left[futures[future].unit.number]
                yield marker
    except BrokenProcessPool:
        pass
    finally:
        pool.shutdown(cancel_futures=True)
    for work in left.values():
        yield _alone(work, config)


def _alone(work: Work, config: CurateConfig) -> dict[str, Any]:
    at = progress_file(config.out, work.unit.number)
    for _ in range(3):
        with _pool(1) as pool:  # a fresh process each time
            marker = _outcome(pool.submit(curate_unit, work, config))
        if marker is not None:
            return marker
        number = int(at.read_text()) if at.exists() else None
        LOGGER.warning("%s: a process died at batch %s", work.unit.name, number)
        work = work._replace(avoid=number)
    raise UserError(
        f"{work.unit.files[0]} keeps killing processes (out of memory?): give --jobs 1, or leave "
        "it out; what is done is kept"
    )


def _outcome(future: Future[dict[str, Any]]) -> dict[str, Any] | None:
    """The marker, or None if the process died; a full disk and the like become one line."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None
    except OSError as error:
        raise UserError(
            f"cannot write the shards: {error.strerror or error}; make room and give the same "
            "command again, it goes on from here"
        ) from error


def _stats(markers: list[dict[str, Any]], new_photos: int, seconds: float) -> CurateStats:
    counts = {reason: sum(m["rejected"].get(str(reason), 0) for m in markers) for reason in Reason}
    return CurateStats(
        photos=sum(m["photos"] for m in markers),
        kept=sum(len(m["places"]) for m in markers),
        rejected=tuple(Rejected(reason, count) for reason, count in counts.items() if count),
        shards=sum(m["shard"] is not None for m in markers),
        new_photos=new_photos,
        seconds=seconds,
        complete=False,
    )


def _finish(config: CurateConfig, markers: list[dict[str, Any]], stats: CurateStats) -> None:
    """Write index, stats.json and the contact sheet."""
    full = [marker for marker in markers if marker["shard"] is not None]
    if not full:
        reasons = ", ".join(f"{r.photos} {r.reason}" for r in stats.rejected) or "no photo"
        raise UserError(
            f"no face was kept of {stats.photos} photos ({reasons}): lower --min-face, "
            "--min-score or --min-sharpness, or give other sources"
        )
    about = {
        "photos": stats.photos,
        "kept": stats.kept,
        "rejected": {str(rejected.reason): rejected.photos for rejected in stats.rejected},
        "shards": stats.shards,
        "settings": _settings(config),
        "sources": [str(source) for source in config.sources],
    }
    entries = [ShardEntry(**marker["shard"]) for marker in full]
    named = {entry.name for entry in entries}
    left = [file for file in sorted(config.out.glob("shard-??????.tar")) if file.name not in named]
    if left:
        LOGGER.info("%d shards of sources no longer given stay, out of the index", len(left))
    places = [[(place[0], place[1]) for place in marker["places"]] for marker in full]
    try:
        write_json(config.out / "stats.json", about)
        write_png(config.out / "contact_sheet.png", contact_sheet(_thumbs(config.out, markers)))
        write_index(config.out, entries, places, canvas=CANVAS_PX, face=FACE_PX)
    except OSError as error:
        raise UserError(
            f"cannot write into {config.out}: {error.strerror or error}; make room and give the "
            "same command again"
        ) from error


def _thumbs(out: Path, markers: list[dict[str, Any]]) -> list[Thumb]:
    """Thumbnails of the units, first those of the first unit; missing strips are left out."""
    thumbs = []
    for path in sorted(parts_folder(out).glob("??????.jpg")):
        number = int(path.stem)
        strip = cv2.imread(str(path)) if number < len(markers) else None
        if strip is None:
            continue
        labels = markers[number]["thumbs"]
        tiles = strip[..., ::-1].reshape(THUMB, -1, THUMB, 3).swapaxes(0, 1)
        thumbs += [Thumb(*pair) for pair in zip(labels, tiles, strict=False)]
        if len(thumbs) > THUMBS_MAX:
            break
    return thumbs
