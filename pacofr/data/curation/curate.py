"""Curation: photos to shards of aligned face crops, in parallel, resumable, unit by unit.

A unit (a source tar, or a thousand files) becomes one shard. Its marker is written last; a unit
with an up-to-date marker is never done again, so a killed run loses at most the units it was at,
and any scheduler may hand out `part` of `parts`.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int64
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.pool import WorkerPool
from pacofr.data.curation.report import summarize, write_report
from pacofr.data.curation.run_folder import (
    copies_folder,
    exclusive_part,
    prepare_out,
    settings_json,
)
from pacofr.data.curation.sources.laion_detections import convert_detections, detection_file
from pacofr.data.curation.sources.units import SourceUnit, count_photos, find_units
from pacofr.data.curation.stats import CurateStats, readable
from pacofr.data.curation.unit_result import (
    UnitResult,
    has_marker,
    parts_folder,
    progress_file,
    read_result,
)
from pacofr.data.curation.worker import UnitJob, curate_unit
from pacofr.errors import UserError
from pacofr.utils.budgets import MARKER_BYTES
from pacofr.utils.config_json import read_json
from pacofr.utils.files import write_json
from pacofr.utils.locks import file_lock
from pacofr.utils.threads import available_cores

LOGGER = logging.getLogger(__name__)
LOG_SECONDS = 60.0
"""Between two lines of the log."""
ATTEMPTS = 3
"""To curate a unit alone, each without the batch at which the process died before."""


class Pool(Protocol):
    """What runs functions at the same time."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Run a function of a module."""
        ...


StartPool = Callable[[int], AbstractContextManager[Pool]]
"""From a number of jobs to a pool."""


def curate(config: CurateConfig, start_pool: StartPool = WorkerPool) -> CurateStats:
    """Do this part's units that are not done yet; write the index once all units are.

    Args:
        config: sources, filters and where to write.
        start_pool: what curates units at the same time; by default as many processes as `jobs`.

    Raises:
        UserError: a source or the folder cannot be used, another process is at work in it, or no
            face was kept at all.
    """
    began = time.monotonic()
    sources = find_units(config.sources)
    prepare_out(config)
    with exclusive_part(config):
        jobs = config.jobs or available_cores()
        wanted = _draw_sample(sources.units, config, jobs, start_pool)
        work = _unit_jobs(sources.units, wanted, config)
        mine = [job for job in work if job.unit.number % config.parts == config.part]
        todo = [job for job in mine if read_result(config.out, job.unit.number, job.digest) is None]
        LOGGER.info("%d units, %d to do", len(sources.units), len(todo))
        new_photos = _run(todo, config, jobs, start_pool)
        # of millions of photos the markers are gigabytes: all are read by the last part only
        last = all(has_marker(config.out, job.unit.number) for job in work)
        results = [
            read_result(config.out, job.unit.number, job.digest) for job in (work if last else mine)
        ]
        done = [result for result in results if result is not None]
        stats = summarize(done, sources.left_out)._replace(
            new_photos=new_photos,
            seconds=time.monotonic() - began,
            complete=len(done) == len(work),
        )
        if stats.complete:
            write_report(config, sources.units, done, stats)
    return stats


def _draw_sample(
    units: list[SourceUnit], config: CurateConfig, jobs: int, start_pool: StartPool
) -> list[Int64[np.ndarray, "_"] | None]:
    """Positions of the photos to take in each unit; None: all."""
    if config.sample is None:
        return [None] * len(units)
    counts = _photo_counts(units, config, jobs, start_pool)
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


def _photo_counts(
    units: list[SourceUnit], config: CurateConfig, jobs: int, start_pool: StartPool
) -> list[int]:
    """Photos of each unit; counted by the first part that asks, while the others wait for it."""
    file = parts_folder(config.out) / "counts.json"
    names = [f"{readable(unit.name)}|{unit.digest}" for unit in units]
    with file_lock(file, wait=True):
        known: object = {}
        if file.exists():
            known = read_json(file, "photo counts of pacofr curate", max_bytes=MARKER_BYTES)
        known = known if isinstance(known, dict) else {}
        new = [unit for unit, name in zip(units, names, strict=True) if name not in known]
        if new:
            try:
                with start_pool(jobs) as pool:
                    copies = copies_folder(config)
                    futures = {
                        names[unit.number]: pool.submit(count_photos, unit, copies) for unit in new
                    }
                    known |= {name: future.result() for name, future in futures.items()}
            except BrokenProcessPool as error:
                raise UserError(
                    "a process that counts photos was lost (is memory short?); give the same"
                    " command again, with --jobs 1 if need be"
                ) from error
            write_json(file, known)
    counts = [known[name] for name in names]
    if not all(type(count) is int and 0 <= count < 1 << 50 for count in counts):
        raise UserError(f"{file}: expected numbers of photos; delete it and give the command again")
    return counts


def _unit_jobs(
    units: list[SourceUnit], wanted: list[Int64[np.ndarray, "_"] | None], config: CurateConfig
) -> list[UnitJob]:
    jobs = []
    settings = json.dumps(settings_json(config), sort_keys=True)
    for unit, chosen in zip(units, wanted, strict=True):
        table = None
        if config.detections is not None:
            file = detection_file(unit.files[0], config.detections)
            table = parts_folder(config.out) / f"{file.stem}-{file.stat().st_size}"
            with file_lock(table, wait=True):
                convert_detections(file, table)
        drawn = b"all" if chosen is None else chosen.astype("<i8").tobytes()
        source = f"{readable(unit.name)}|{unit.digest}|" + (f"{table.name}|" if table else "")
        if config.where or table:
            source += unit.metadata_digest
        digest = hashlib.sha256(f"{settings}|{source}".encode() + drawn)
        jobs.append(UnitJob(unit, digest.hexdigest(), chosen, table, None))
    return jobs


def _run(todo: list[UnitJob], config: CurateConfig, jobs: int, start_pool: StartPool) -> int:
    """Curate the units; the number of photos looked at.

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
        for done, result in enumerate(_results(todo, config, jobs, start_pool), start=1):
            photos += result.photos
            kept += len(result.locations)
            now = time.monotonic()
            pace = f"{kept} faces kept, {kept / (now - began):.0f} a second"
            bar.update(task, completed=done, pace=pace)
            if bar.disable and now - logged > LOG_SECONDS:
                logged = now
                LOGGER.info("%d of %d units, %s", done, len(todo), pace)
    return photos


def _results(
    todo: list[UnitJob], config: CurateConfig, jobs: int, start_pool: StartPool
) -> Iterator[UnitResult]:
    """Results as units get done. Units that were at work when a process died are done again, each
    in a process of its own."""
    for job in todo:
        progress_file(config.out, job.unit.number).unlink(missing_ok=True)
    left = {job.unit.number: job for job in todo}
    with start_pool(max(min(jobs, len(todo)), 1)) as pool:
        try:
            futures = {pool.submit(curate_unit, job, config): job for job in todo}
            for future in as_completed(futures):
                if (result := _result(future)) is not None:
                    del left[futures[future].unit.number]
                    yield result
        except BrokenProcessPool:
            pass
    for job in left.values():
        yield _curate_alone(job, config, start_pool)


def _curate_alone(job: UnitJob, config: CurateConfig, start_pool: StartPool) -> UnitResult:
    progress = progress_file(config.out, job.unit.number)
    for _ in range(ATTEMPTS):
        with start_pool(1) as pool:
            result = _result(pool.submit(curate_unit, job, config))
        if result is not None:
            return result
        batch = int(progress.read_text()) if progress.exists() else None
        LOGGER.warning("%s: a process died at batch %s", readable(job.unit.name), batch)
        job = job._replace(crashed_batch=batch)
    raise UserError(
        f"{job.unit.files[0]} keeps killing processes (out of memory?): give --jobs 1, or leave "
        "it out; what is done is kept"
    )


def _result(future: Future) -> UnitResult | None:
    """The result, or None if the process died; a full disk and the like become one line."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None
    except OSError as error:
        raise UserError(
            f"cannot write the shards: {error.strerror or error}; make room and give the same "
            "command again, it goes on from here"
        ) from error
