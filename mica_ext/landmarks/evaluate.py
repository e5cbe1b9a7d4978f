"""`mica-ext evaluate-landmarks`: errors of the points and of the fit on annotated photos.

Every face goes through the product's stages: detector, crop, network, fit. Errors are NME: mean
distance in per cent of the outer eye corners' distance. The 68 iBUG landmarks are read off the
points nearest to them, whose brows and contour follow another convention than the markup.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from flame_assets.catalogue import is_fetched
from flame_assets.model.head_module import HeadDecoder
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from mica_ext.fitting.correspondence.calibration import load_calibration
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.landmarks.annotated_photos import match_face, read_labelled
from mica_ext.landmarks.baselines import FivePointBaselines
from mica_ext.landmarks.config import LandmarkEvaluationConfig
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.readers import FACE_MESH, PointReader, open_reader
from mica_ext.landmarks.regions import point_confidence
from pacofr.faces.detect import Face, detect
from pacofr.faces.face_mesh.topology import IBUG68, LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from pacofr.faces.landmarks68 import (
    INNER,
    brow_raise,
    eye_aspect_ratio,
    mouth_opening,
    mouth_width,
    nme,
)
from pacofr.images import load_image

MEASURES = (
    ("eye openness", lambda points: eye_aspect_ratio(points).mean(1), 0.88),
    ("mouth opening", mouth_opening, 0.965),
    ("mouth width", mouth_width, 0.94),
    ("brow raise", brow_raise, 0.885),
)
"""What faces do, how it is measured on 68 landmarks, and the correlation aimed at."""


class Figure(NamedTuple):
    """A measured value and its target."""

    name: str
    value: float
    unit: str
    target: str
    met: bool | None
    """None without a target."""


class Predictions(NamedTuple):
    """Results for a list of photos; times are medians of single calls."""

    points: Float[np.ndarray, "N 478 2"]
    """Of the network [px]."""
    fitted: Float[np.ndarray, "N 68 2"]
    """Landmarks of the fitted heads [px]."""
    expression: Float[np.ndarray, "N E"]
    network_ms: float
    fit_ms: float

    @property
    def landmarks(self) -> Float[np.ndarray, "N 68 2"]:
        """The points nearest to the iBUG landmarks."""
        return self.points[:, IBUG68]


@torch.inference_mode()
def predict_photos(
    reader: PointReader,
    fitter: LandmarkFitter,
    photos: Sequence[np.ndarray],
    faces: Sequence[Face],
) -> Predictions:
    """Points and fits of one face per photo."""
    points, fits, times = [], [], []
    for image, face in zip(photos, faces, strict=True):
        found = detect_points(reader, image, face)
        detected = found.points_px[None]
        confidence = point_confidence(found.visibility[None], found.error[None])
        crop = torch.zeros(1, 3, reader.size, reader.size)
        began = time.perf_counter()
        reader.read(crop)
        split = time.perf_counter()
        fit = fitter(detected, image.shape[:2], confidence=confidence)
        times.append((split - began, time.perf_counter() - split))
        points.append(detected)
        fits.append(fit)
    network_s, fit_s = np.median(np.array(times), 0)
    return Predictions(
        torch.cat(points).numpy(),
        torch.cat([fit.landmarks_px for fit in fits]).numpy(),
        torch.cat([fit.parameters.head.expression for fit in fits]).numpy(),
        1e3 * float(network_s),
        1e3 * float(fit_s),
    )


def distance_from_face_mesh(
    predictions: Predictions, photos: Sequence[np.ndarray], faces: Sequence[Face]
) -> float | None:
    """Mean distance of the points from Face Mesh's [% of the eye distance]; None without it."""
    if not is_fetched(FACE_MESH):
        return None
    reader, errors = open_reader(FACE_MESH), []
    for image, face, points in zip(photos, faces, predictions.points, strict=True):
        theirs = detect_points(reader, image, face).points_px.numpy()
        unit = np.linalg.norm(theirs[LEFT_EYE_OUTER] - theirs[RIGHT_EYE_OUTER])
        errors.append(np.linalg.norm(points - theirs, axis=1).mean() / unit)
    return 100 * float(np.mean(errors))


def evaluate_helen(folder: Path, reader: PointReader, fitter: LandmarkFitter) -> list[Figure]:
    """Errors on FOLDER/testset, beside baselines fitted to FOLDER/trainset."""
    five, annotated = [], []
    for _, photo in read_labelled(folder / "trainset"):
        face = match_face(photo)
        if face is not None:
            five.append(face.points)
            annotated.append(photo.points)
    baselines = FivePointBaselines.fit(five, annotated)
    photos = [photo for _, photo in read_labelled(folder / "testset")]
    found = [(photo, face) for photo in photos if (face := match_face(photo)) is not None]
    truth = np.stack([photo.points for photo, _ in found])
    means, mapped = (
        nme(np.stack(points), truth).mean()
        for points in zip(*(baselines.predict(face.points) for _, face in found), strict=True)
    )
    images, faces = [photo.image for photo, _ in found], [face for _, face in found]
    predictions = predict_photos(reader, fitter, images, faces)
    inner = nme(predictions.landmarks, truth, INNER)
    net, fit = nme(predictions.landmarks, truth), nme(predictions.fitted, truth)

    def correlation(landmarks: np.ndarray, measure: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.corrcoef(measure(landmarks), measure(truth))[0, 1])

    figures = [
        _at_least("Helen: faces found", 100 * len(found) / len(photos), "%", 99),
        _plain("Helen: mean shape at the five points", float(means), "%"),
        _plain("Helen: linear map of the five points", float(mapped), "%"),
        _plain("Helen: points", float(net.mean()), "%"),
        _plain("Helen: points, inner 51", float(inner.mean()), "%"),
        _plain("Helen: points, median", float(np.median(net)), "%"),
        _plain("Helen: points, photos above 10 %", 100 * float((net > 10).mean()), "%"),
        _at_most("Helen: fitted head", float(fit.mean()), "%", 5.0),
        _plain("Helen: fitted head, median", float(np.median(fit)), "%"),
        _plain("network, one crop", predictions.network_ms, "ms"),
        _plain("fit, one face", predictions.fit_ms, "ms"),
    ]
    distance = distance_from_face_mesh(predictions, images, faces)
    if distance is not None:
        figures.append(_at_most("Helen: points from Face Mesh's", distance, "%", 1.6))
    for name, measure, goal in MEASURES:
        own, fitted = (correlation(p, measure) for p in (predictions.landmarks, predictions.fitted))
        figures.append(_at_least(f"Helen: {name}, points, correlation", own, "", goal))
        figures.append(_plain(f"Helen: {name}, fitted head, correlation", fitted, ""))
    return figures


def evaluate_london(folder: Path, reader: PointReader, fitter: LandmarkFitter) -> list[Figure]:
    """How often a person's smile weights are higher in the smiling than in the neutral photo."""
    expressions = fitter.head.expression_names
    smiles = [i for i, name in enumerate(expressions) if name.startswith("mouthSmile")]
    if len(smiles) < 2:
        return []
    scores = []
    for kind in ("neutral_front", "smiling_front"):
        paths = sorted((folder / kind).glob("*.jpg"))
        if not paths:
            raise UserError(
                f"{folder / kind}: expected the London set's photos NNN_*.jpg, found none"
            )
        images = {path.name[:3]: load_image(path) for path in paths}
        faces = {name: detect(image) for name, image in images.items()}
        names = [name for name in images if faces[name]]
        predictions = predict_photos(
            reader, fitter, [images[n] for n in names], [faces[n][0] for n in names]
        )
        scores.append(dict(zip(names, predictions.expression[:, smiles].sum(1), strict=True)))
    neutral, smiling = scores
    pairs = [smiling[name] - neutral[name] for name in neutral if name in smiling]
    higher = 100 * float((np.array(pairs) > 0).mean())
    return [
        _plain("London: pairs", float(len(pairs)), ""),
        _at_least("London: smile scored higher", higher, "%", 97),
        _plain("London: smile score, neutral", float(np.mean(list(neutral.values()))), ""),
        _plain("London: smile score, smiling", float(np.mean(list(smiling.values()))), ""),
    ]


def evaluate(config: LandmarkEvaluationConfig) -> list[Figure]:
    """Measure, print the table, and write it to `config.out` if given.

    Raises:
        UserError: photos are missing or unreadable, or the output folder does not exist.
    """
    from rich.console import Console
    from rich.table import Table

    from flame_assets.store import load_head

    torch.set_num_threads(config.threads)
    if config.out is not None and not config.out.parent.is_dir():
        raise UserError(f"{config.out}: expected an existing folder {config.out.parent}: create it")
    reader = open_reader(config.points, config.weights)
    calibration = load_calibration(reader.calibration)
    fitter = LandmarkFitter(HeadDecoder(load_head(config.head)), calibration)
    figures = evaluate_helen(config.helen, reader, fitter)
    if config.london is not None:
        figures += evaluate_london(config.london, reader, fitter)
    table = Table(
        title=f"{reader.source.name} and the fit of {fitter.head.name} {fitter.head.version}"
    )
    for heading in ("figure", "value", "target", "met"):
        table.add_column(heading)
    for figure in figures:
        met = "" if figure.met is None else "yes" if figure.met else "NO"
        table.add_row(figure.name, f"{figure.value:.3f} {figure.unit}", figure.target, met)
    Console(width=100).print(table)
    if config.out is not None:
        content = json.dumps([figure._asdict() for figure in figures], indent=1) + "\n"
        write_bytes_atomic(config.out, content.encode())
    return figures


def _plain(name: str, value: float, unit: str) -> Figure:
    return Figure(name, value, unit, "", None)


def _at_most(name: str, value: float, unit: str, limit: int | float) -> Figure:
    return Figure(name, value, unit, f"<= {limit}", bool(value <= limit))


def _at_least(name: str, value: float, unit: str, limit: int | float) -> Figure:
    return Figure(name, value, unit, f">= {limit}", bool(value >= limit))
