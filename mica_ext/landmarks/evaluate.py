"""`mica-ext evaluate-landmarks`: errors of the points and of the fit on annotated photos.

Every face goes through the product's stages: detector, crop, network, fit. Errors are NME: mean
distance in per cent of the outer eye corners' distance. The 68 iBUG landmarks are read off the
points nearest to them, whose brows and contour follow another convention than the markup.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float

from flame_assets.download.catalogue import is_fetched
from flame_assets.fitting.rigid_motion import rigid_alignment
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from mica_ext.fitting.correspondence.calibration import load_calibration
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.landmarks.annotated_photos import (
    LabelledPhoto,
    match_face,
    photos_of,
    read_labelled,
)
from mica_ext.landmarks.baselines import FivePointBaselines
from mica_ext.landmarks.config import LandmarkEvaluationConfig
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.readers import FACE_MESH, PointReader, open_reader
from mica_ext.landmarks.regions import point_confidence
from mica_ext.models.pose import in_pose
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

Subjects = Literal["all", "even", "odd"]
CLOSED_EYE, OPEN_EYE = 0.15, 0.22
"""Eye aspect ratios below and above which annotated eyes count as closed and as open."""
FRONT_PERCENTILE = 55
"""Of vertices' depth; those before it are the face."""
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
    parameters: HeadParameters
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
        HeadParameters(
            *(torch.cat(rows) for rows in zip(*(fit.parameters.head for fit in fits), strict=True))
        ),
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


def _detected(folder: Path) -> tuple[list[tuple[LabelledPhoto, Face]], int]:
    """Photos whose marked face is detected, and the number of all."""
    photos = [photo for _, photo in read_labelled(folder)]
    found = [(photo, face) for photo in photos if (face := match_face(photo)) is not None]
    if len(found) < 2:  # of one there is no correlation
        raise UserError(
            f"{folder}: expected photos of faces, the marked face is detected in {len(found)} of "
            f"{len(photos)}"
        )
    return found, len(photos)


def evaluate_helen(folder: Path, reader: PointReader, fitter: LandmarkFitter) -> list[Figure]:
    """Errors on FOLDER/testset, beside baselines fitted to FOLDER/trainset.

    Raises:
        UserError: a folder cannot be read, or fewer than two marked faces are detected in it.
    """
    training, _ = _detected(folder / "trainset")
    baselines = FivePointBaselines.fit(
        [face.points for _, face in training], [photo.points for photo, _ in training]
    )
    found, count = _detected(folder / "testset")
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
        _at_least("Helen: faces found", 100 * len(found) / count, "%", 99),
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
        rise = float(np.polyfit(measure(truth), measure(predictions.fitted), 1)[0])
        figures.append(_plain(f"Helen: {name}, fitted head, slope on the truth", rise, ""))
    return figures + _lid_figures(predictions.fitted, truth)


def _lid_figures(
    fitted: Float[np.ndarray, "N 68 2"], truth: Float[np.ndarray, "N 68 2"]
) -> list[Figure]:
    """Of single eyes: closed ones that stay closed, open ones that are closed."""
    own, marked = eye_aspect_ratio(fitted), eye_aspect_ratio(truth)
    shut, closed, opened = own < CLOSED_EYE, marked < CLOSED_EYE, marked > OPEN_EYE
    figures = [_plain("Helen: closed eyes", float(closed.sum()), "")]
    if closed.any():
        kept = 100 * float(shut[closed].mean())
        figures.append(_at_least("Helen: closed eyes kept closed", kept, "%", 80))
    if opened.any():
        lost = 100 * float(shut[opened].mean())
        figures.append(_at_most("Helen: open eyes closed", lost, "%", 2))
    return figures


def evaluate_london(
    folder: Path,
    reader: PointReader,
    fitter: LandmarkFitter,
    decoder: HeadDecoder,
    subjects: Subjects = "all",
) -> list[Figure]:
    """Weights and identities of neutral people, and what their smiles change.

    Weights are named by their means over people; lengths on the face are of the neutral head's
    front, rigidly aligned: from the mean person to the mean head, and from people to their mean.
    """
    found = []
    for kind in ("neutral_front", "smiling_front"):
        paths = {path.name[:3]: path for path in photos_of(folder / kind, subjects)}
        images = {name: load_image(path) for name, path in paths.items()}
        faces = {name: detect(image) for name, image in images.items()}
        names = [name for name in images if faces[name]]
        if not names:
            raise UserError(f"{folder / kind}: expected photos of faces, found no face")
        people = predict_photos(
            reader, fitter, [images[n] for n in names], [faces[n][0] for n in names]
        )
        found.append((names, people.parameters))
    (calm_names, calm), (names, smiling) = found
    weights = calm.expression.abs().sum(1)
    identities = identity_figures(decoder, calm)
    figures = [
        _at_most("London: largest mean weight, neutral", _largest_mean(calm.expression), "", 0.08),
        _at_most("London: sum of weights, neutral", float(weights.mean()), "", 1.5),
        _at_most("London: common offset of identities", identities.offset_mm, "mm", 0.5),
        _at_least("London: spread of identities", identities.spread_mm, "mm", 1.25),
        *_pair_figures(decoder, calm_names, calm, names, smiling),
    ]
    return figures


class IdentityFigures(NamedTuple):
    """How fitted identities lie about the mean head [mm]."""

    offset_mm: float
    spread_mm: float


@torch.no_grad()
def identity_figures(decoder: HeadDecoder, people: HeadParameters) -> IdentityFigures:
    """Mean distances of corresponding vertices of the face."""
    neutral = in_pose(people, "neutral")
    resting = HeadParameters(*(torch.zeros_like(values[:1]) for values in neutral))
    heads = decoder(neutral).vertices.double().numpy()
    mean = heads.mean(0)
    front = mean[:, 2] > np.percentile(mean[:, 2], FRONT_PERCENTILE)
    template = decoder(resting).vertices[0].double().numpy()
    return IdentityFigures(
        _distance_mm(mean[front], template[None, front]), _distance_mm(mean[front], heads[:, front])
    )


def _distance_mm(mean: Float[np.ndarray, "N 3"], heads: Float[np.ndarray, "B N 3"]) -> float:
    rotation, translation = rigid_alignment(mean, heads)
    moved = np.einsum("bij,nj->bni", rotation, mean) + translation[:, None]
    return 1e3 * float(np.linalg.norm(moved - heads, axis=2).mean())


@torch.no_grad()
def _pair_figures(
    decoder: HeadDecoder,
    calm_names: Sequence[str],
    calm: HeadParameters,
    smiling_names: Sequence[str],
    smiling: HeadParameters,
) -> list[Figure]:
    """Smile weights and the mouth's width, smiling against neutral, of people with both photos."""
    smiles = [
        i for i, name in enumerate(decoder.head.expression_names) if name.startswith("mouthSmile")
    ]
    both = [name for name in calm_names if name in smiling_names]
    rows = [[names.index(name) for name in both] for names in (calm_names, smiling_names)]
    width, score = [], []
    for people, chosen in zip((calm, smiling), rows, strict=True):
        marks = decoder(in_pose(people, "expressive")).landmarks
        across = (marks[:, 48] - marks[:, 54]).norm(dim=1) / (marks[:, 36] - marks[:, 45]).norm(
            dim=1
        )
        width.append(across[chosen])
        score.append(people.expression[chosen][:, smiles].sum(1))
    gain = width[1] - width[0]
    figures = [
        _plain("London: pairs", float(len(both)), ""),
        _at_least("London: mouth wider when smiling", _share(gain > 0), "%", 100),
        _at_least("London: gain of its width", float(gain.mean()), "of the eyes' distance", 0.08),
    ]
    if len(smiles) < 2:
        return figures
    return [
        *figures,
        _at_least("London: smile scored higher", _share(score[1] > score[0]), "%", 97),
        _plain("London: smile score, neutral", float(score[0].mean()), ""),
        _plain("London: smile score, smiling", float(score[1].mean()), ""),
    ]


def _largest_mean(weights: Float[torch.Tensor, "N E"]) -> float:
    return float(weights.mean(0).abs().max())


def _share(true: Bool[torch.Tensor, " n"]) -> float:
    return 100 * float(true.float().mean())


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
    decoder = HeadDecoder(load_head(config.head))
    fitter = LandmarkFitter(decoder, calibration)
    figures = evaluate_helen(config.helen, reader, fitter)
    if config.london is not None:
        figures += evaluate_london(config.london, reader, fitter, decoder, config.subjects)
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
