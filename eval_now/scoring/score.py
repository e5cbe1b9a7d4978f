"""Distances of every image: one scan per subject in memory, subjects spread over processes."""

import math
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from eval_now.data.dataset import ImageEntry, NowDataset, Scan
from eval_now.data.predictions import PredictionFiles, load_prediction
from eval_now.errors import UserError
from eval_now.geometry.align import Alignment, align
from eval_now.io.landmarks import load_landmarks
from eval_now.scoring.result_warnings import (
    Warned,
    inspect_alignment,
    inspect_landmarks,
    inspect_unit,
    turn_degrees,
)

Protocol = Literal["non-metrical", "metrical"]


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """One image under one protocol; distances are mm over the cropped scan's vertices."""

    image: str
    subject: str
    challenge: str
    protocol: Protocol
    count: int
    median: float
    mean: float
    std: float
    largest: float
    steps: int
    turn_degrees: float
    """How far the refinement turned the prediction."""
    reflected: bool
    scale: float
    """prediction file -> scan [mm]: x -> scale rotation x + shift."""
    rotation: tuple[tuple[float, float, float], ...]
    shift: tuple[float, float, float]


class ScoredImage(NamedTuple):
    """A score with its distances [mm], in the order of the cropped scan."""

    score: ImageScore
    distances: Float32[np.ndarray, " P"]


class SubjectTask(NamedTuple):
    """Images of one subject, to be scored by one process."""

    dataset: Path
    subject: str
    images: list[tuple[ImageEntry, PredictionFiles]]
    protocols: tuple[Protocol, ...]
    unit_mm: float | None


class SubjectResult(NamedTuple):
    """What came of a task; `failures` are (image, reason)."""

    scored: list[ScoredImage]
    failures: list[tuple[str, str]]
    warnings: list[Warned]


def score_subject(task: SubjectTask) -> SubjectResult:
    """Score the images of one subject; the scan is read and cropped once."""
    result = SubjectResult([], [], [])
    scan = NowDataset(task.dataset).scan(task.subject)
    for image, files in task.images:
        try:
            _score_image(scan, image, files, task, result)
        except UserError as error:
            result.failures.append((image.name, str(error)))
    return result


def _score_image(
    scan: Scan, image: ImageEntry, files: PredictionFiles, task: SubjectTask, result: SubjectResult
) -> None:
    mesh, landmarks = load_prediction(files)
    result.warnings.extend(inspect_landmarks(image.name, landmarks, scan.landmarks))
    for protocol in task.protocols:
        unit_mm = task.unit_mm if protocol == "metrical" else None
        alignment = align(
            scan.points[scan.walk],
            scan.landmarks,
            mesh.vertices,
            mesh.triangles,
            landmarks,
            unit_mm,
        )
        result.scored.append(_scored(scan, image, protocol, alignment))
        result.warnings.extend(inspect_alignment(image.name, protocol, alignment, unit_mm is None))


def _scored(scan: Scan, image: ImageEntry, protocol: Protocol, alignment: Alignment) -> ScoredImage:
    distances = alignment.distances
    total = alignment.refinement.after(alignment.start)
    score = ImageScore(
        image=image.name,
        subject=image.subject,
        challenge=image.challenge,
        protocol=protocol,
        count=len(distances),
        median=float(np.median(distances)),
        mean=float(distances.mean()),
        std=float(distances.std()),
        largest=float(distances.max()),
        steps=alignment.steps,
        turn_degrees=turn_degrees(alignment.refinement.rotation),
        reflected=bool(np.linalg.det(total.rotation) < 0),
        scale=total.scale,
        rotation=tuple((row[0], row[1], row[2]) for row in total.rotation.tolist()),
        shift=(float(total.shift[0]), float(total.shift[1]), float(total.shift[2])),
    )
    in_file_order = np.empty(len(distances), np.float32)
    in_file_order[scan.walk] = distances
    return ScoredImage(score, in_file_order)


def inspect_units(
    dataset: NowDataset, found: list[tuple[ImageEntry, PredictionFiles]], unit_mm: float
) -> list[Warned]:
    """Check all claimed units; it takes no time, while scoring in a wrong unit takes hours."""
    warnings: list[Warned] = []
    of_scans = {
        subject: dataset.landmarks(subject) for subject in {one.subject for one, _ in found}
    }
    for image, files in found:
        try:
            landmarks = load_landmarks(files.landmarks)
        except UserError:
            continue  # scoring will say so
        warnings += inspect_unit(image.name, landmarks, of_scans[image.subject], unit_mm)
    return warnings


def plan_tasks(
    dataset: NowDataset,
    images: list[tuple[ImageEntry, PredictionFiles]],
    protocols: tuple[Protocol, ...],
    unit_mm: float | None,
    jobs: int,
) -> list[SubjectTask]:
    """Tasks by subject; large subjects are cut so that all processes stay busy to the end."""
    by_subject: dict[str, list[tuple[ImageEntry, PredictionFiles]]] = {}
    for image, files in images:
        by_subject.setdefault(image.subject, []).append((image, files))
    most = len(images) if jobs == 1 else max(4, math.ceil(len(images) / (4 * jobs)))
    return [
        SubjectTask(dataset.root, subject, own[start : start + most], protocols, unit_mm)
        for subject, own in by_subject.items()
        for start in range(0, len(own), most)
    ]


def run_tasks(tasks: list[SubjectTask], jobs: int) -> Iterator[SubjectResult]:
    """Results as they come; one process works in place, several are spawned."""
    if jobs == 1 or len(tasks) <= 1:
        yield from map(score_subject, tasks)
        return
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context) as pool:
        try:
            with _interrupts_ignored():
                waiting = [pool.submit(score_subject, task) for task in tasks]
            for done in as_completed(waiting):
                yield done.result()
        except BrokenProcessPool:
            raise UserError(
                "a scoring process was killed (out of memory?); go on with fewer --jobs"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started here leave Ctrl-C to this one, which ends them without a traceback each."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
