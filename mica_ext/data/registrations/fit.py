"""`mica-ext fit`: parameters of a head for registered meshes or 3D landmarks."""

import json
import logging
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from flame_assets.store import load_head
from mica_ext.data.registrations.config import FitMeshesConfig
from mica_ext.data.registrations.fit_files import (
    FORMAT,
    RESIDUALS,
    RUN_FILE,
    VERSION,
    Residual,
    RunFile,
    SubjectFit,
    finished_subjects,
    load_subject,
    save_subject,
    start_run,
    subject_files,
)
from mica_ext.data.registrations.layouts import find_frames
from mica_ext.data.registrations.subject_fits import LandmarkSubjects, MeshSubjects, residual
from mica_ext.data.skipped import SkipCounter
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.utils.locks import exclusive_run
from pacofr.utils.progress import track

LOGGER = logging.getLogger(__name__)


def fit(config: FitMeshesConfig) -> None:
    """Fit all subjects that are not done and print their residuals.

    Raises:
        UserError: the data are not there, or no file of them is a registration of the head.
    """
    head = load_head(config.head)
    skipped = SkipCounter()
    subjects = find_frames(config.source, config.root, config.split, config.every, skipped)
    run = RunFile(
        FORMAT, VERSION, config.source, str(config.root), head.name, head.version, config.settings
    )
    start_run(config.out, run)
    with exclusive_run(config.out), threadpool_limits(1):
        kind = LandmarkSubjects if config.source == "landmarks" else MeshSubjects
        fitter = kind(head, config)
        todo = [name for name in subjects if not subject_files(config.out, name)[1].exists()]
        for name in track(todo, "subjects"):
            found = fitter.fit(name, subjects[name])
            if found is None:
                LOGGER.warning("%s: no frame was fitted", name)
            else:
                save_subject(config.out, found)
    done = finished_subjects(config.out)
    if not done:
        (config.out / RUN_FILE).unlink(missing_ok=True)  # another try may have other settings
        raise UserError(
            fitter.refused[0] if fitter.refused else f"{config.root}: no frame was fitted"
        )
    skipped.merge(fitter.skipped)
    fits = [load_subject(config.out, name, head) for name in done]
    _report(config.out, fits, skipped)


def _report(out: Path, fits: list[SubjectFit], skipped: SkipCounter) -> None:
    """Write residuals.json and print its margins."""
    by_expression: dict[str, list[int]] = {}
    rows: dict[str, Residual] = {}
    means = np.concatenate([fit.fits.mean_distance_mm for fit in fits])
    largest = np.concatenate([fit.fits.max_distance_mm for fit in fits])
    row = 0
    for each in fits:
        rows[each.about.subject] = residual(each.fits.mean_distance_mm, each.fits.max_distance_mm)
        for sequence, _ in each.about.frames:
            by_expression.setdefault(sequence, []).append(row)
            row += 1
    expressions = {
        name: residual(means[own], largest[own]) for name, own in sorted(by_expression.items())
    }
    total = residual(means, largest)
    content = {
        "unit": "mm",
        "total": total._asdict(),
        "subjects": {name: each._asdict() for name, each in rows.items()},
        "expressions": {name: each._asdict() for name, each in expressions.items()},
        "subjects_by_expression": {
            each.about.subject: {
                name: value._asdict() for name, value in each.about.residuals.items()
            }
            for each in fits
        },
        "skipped": {name: each._asdict() for name, each in skipped.counts.items()},
    }
    write_bytes_atomic(out / RESIDUALS, (json.dumps(content, indent=1) + "\n").encode())
    width = max(len(name) for name in (*rows, *expressions, "expression"))
    for title, table in (("subject", rows), ("expression", expressions)):
        print(f"{title:{width}}  frames  mean mm  worst frame  largest mm")
        for name, each in table.items():
            print(_line(name, each, width))
    print(_line("all", total, width))
    for line in skipped.lines():
        print(line)
    print(f"fits of {len(fits)} subjects, residuals by subject and expression: {out / RESIDUALS}")


def _line(name: str, each: Residual, width: int) -> str:
    numbers = f"{each.mean:7.3f}  {each.worst:11.3f}  {each.largest:10.3f}"
    return f"{name:{width}}  {each.frames:6}  {numbers}"
