"""Scan-to-mesh distances and figures of single images, subject by subject."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from eval_now.data.dataset import ImageEntry, NowDataset, Scan
from eval_now.data.image_issues import ImageWarning, relative_reason
from eval_now.errors import UserError
from eval_now.geometry.align import Alignment, align
from eval_now.geometry.rotation import rotation_angle_degrees
from eval_now.io.landmarks import load_landmarks
from eval_now.predictions.files import PredictionFiles, load_prediction
from eval_now.scoring.result_warnings import check_alignment, check_landmarks, check_unit

Protocol = Literal["non-metrical", "metrical"]


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """Figures of one image under one protocol: distances [mm] of the cropped scan's vertices."""

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
    """Angle of the refinement's rotation."""
    reflected: bool
    scale: float
    """With `rotation` and `shift`: prediction file -> scan [mm], x -> scale rotation x + shift."""
    rotation: tuple[tuple[float, float, float], ...]
    shift: tuple[float, float, float]


class ScoredImage(NamedTuple):
    """A score with its distances [mm], in the order of the cropped scan's vertices."""

    score: ImageScore
    distances: Float32[np.ndarray, " P"]


class SubjectTask(NamedTuple):
    """Images of one subject to be scored by one process; unit_mm: mm per unit, if known."""

    dataset: Path
    subject: str
    images: list[tuple[ImageEntry, PredictionFiles]]
    protocols: tuple[Protocol, ...]
    unit_mm: float | None


class SubjectResult(NamedTuple):
    """Result of a task; `failures` are (image, reason)."""

    scored: list[ScoredImage]
    failures: list[tuple[str, str]]
    warnings: list[ImageWarning]

    @property
    def images_done(self) -> int:
        """Images that were scored or failed, under however many protocols."""
        scored = {image.score.image for image in self.scored}
        return len(scored | {name for name, _ in self.failures})


def plan_tasks(
    dataset: NowDataset,
    images: list[tuple[ImageEntry, PredictionFiles]],
    protocols: tuple[Protocol, ...],
    unit_mm: float | None,
    jobs: int,
) -> list[SubjectTask]:
    """Tasks by subject; subjects with many images are split to keep all processes busy."""
    by_subject: dict[str, list[tuple[ImageEntry, PredictionFiles]]] = {}
    for image, files in images:
        by_subject.setdefault(image.subject, []).append((image, files))
    size = len(images) if jobs == 1 else max(4, math.ceil(len(images) / (4 * jobs)))
    return [
        SubjectTask(dataset.root, subject, own[start : start + size], protocols, unit_mm)
        for subject, own in by_subject.items()
        for start in range(0, len(own), size)
    ]


def score_subject(task: SubjectTask) -> SubjectResult:
    """Score the images of one subject; the scan is read and cropped once."""
    result = SubjectResult([], [], [])
    scan = NowDataset(task.dataset).scan(task.subject)
    for image, files in task.images:
        try:
            _score_image(scan, image, files, task, result)
        except UserError as error:
            folder = files.mesh.parents[2]
            result.failures.append((image.name, relative_reason(error, folder)))
    return result


def _score_image(
    scan: Scan, image: ImageEntry, files: PredictionFiles, task: SubjectTask, result: SubjectResult
) -> None:
    """Append the scores and warnings of one image to `result`."""
    mesh, landmarks = load_prediction(files)
    result.warnings.extend(check_landmarks(image.name, landmarks, scan.landmarks))
    for protocol in task.protocols:
        unit_mm = task.unit_mm if protocol == "metrical" else None
        alignment = align(
            scan.points[scan.morton_order],
            scan.landmarks,
            mesh.vertices,
            mesh.triangles,
            landmarks,
            unit_mm,
        )
        result.scored.append(_scored_image(scan, image, protocol, alignment))
        result.warnings.extend(check_alignment(image.name, protocol, alignment, unit_mm is None))


def _scored_image(
    scan: Scan, image: ImageEntry, protocol: Protocol, alignment: Alignment
) -> ScoredImage:
    distances = alignment.distances
    total = alignment.refinement.compose(alignment.initial)
    translation = total.translation
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
        turn_degrees=rotation_angle_degrees(alignment.refinement.rotation),
        reflected=bool(np.linalg.det(total.rotation) < 0),
        scale=total.scale,
        rotation=tuple((row[0], row[1], row[2]) for row in total.rotation.tolist()),
        shift=(float(translation[0]), float(translation[1]), float(translation[2])),
    )
    in_file_order = np.empty(len(distances), np.float32)
    in_file_order[scan.morton_order] = distances
    return ScoredImage(score, in_file_order)


def check_units(
    dataset: NowDataset, predictions: list[tuple[ImageEntry, PredictionFiles]], unit_mm: float
) -> list[ImageWarning]:
    """Compare the size of all faces with the stated unit, before the long scoring begins."""
    warnings: list[ImageWarning] = []
    subjects = {image.subject for image, _ in predictions}
    scan_landmarks = {subject: dataset.landmarks(subject) for subject in subjects}
    for image, files in predictions:
        try:
            landmarks = load_landmarks(files.landmarks)
        except UserError:
            continue  # reported as missing by the scoring
        warnings += check_unit(image.name, landmarks, scan_landmarks[image.subject], unit_mm)
    return warnings
