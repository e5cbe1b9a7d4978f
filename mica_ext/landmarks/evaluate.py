"""How good the landmarks and the fitted heads are, beside two baselines from the same run.

Every face goes the product's way: detector, crop, network, fit. Errors are mean distances to the
marked points in per cent of the outer eye corners' distance (36 to 45).
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder
from mica_ext.errors import UserError
from mica_ext.export.mesh_files import write_whole
from mica_ext.fitting.landmark_fitter import FitResult, LandmarkFitter
from mica_ext.landmarks.config import LandmarkEvaluationConfig
from mica_ext.landmarks.detect import detect_landmarks
from mica_ext.landmarks.network import LandmarkNetwork, load_landmark_network
from mica_ext.landmarks.samples import LabelledPhoto, read_labelled
from pacofr.faces.align import ffhq_matrix, move_points
from pacofr.faces.boxes import iou
from pacofr.faces.detect import Face, detect
from pacofr.faces.landmarks68 import mouth_opening, mouth_width, nme
from pacofr.images import load_image

LOGGER = logging.getLogger(__name__)
MIN_OVERLAP = 0.3
"""IoU from which on a detection is the face that the landmarks mark."""


class Figure(NamedTuple):
    """One line of the table."""

    name: str
    value: float
    unit: str
    target: str
    met: bool | None  # None: nothing to meet


class Baselines(NamedTuple):
    """What five points alone tell: the mean shape, and a linear map, in the FFHQ crop's frame."""

    mean: Float[np.ndarray, "68 2"]
    linear: Float[np.ndarray, "11 136"]

    @classmethod
    def learn(
        cls, five: Sequence[Float[np.ndarray, "5 2"]], points: Sequence[Float[np.ndarray, "68 2"]]
    ) -> "Baselines":
        """From detected five points and marked points of training photos [px]."""
        matrices = [ffhq_matrix(p) for p in five]
        inputs = np.stack([move_points(m, p).ravel() for m, p in zip(matrices, five, strict=True)])
        outputs = np.stack(
            [move_points(m, p).ravel() for m, p in zip(matrices, points, strict=True)]
        )
        inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], 1)
        linear = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
        return cls(outputs.mean(0).reshape(68, 2), linear)

    def apply(
        self, five: Float[np.ndarray, "5 2"]
    ) -> tuple[Float[np.ndarray, "68 2"], Float[np.ndarray, "68 2"]]:
        """Mean shape and linear map for one face, in its photo's pixels."""
        matrix = ffhq_matrix(five)
        mapped = np.append(move_points(matrix, five).ravel(), 1.0) @ self.linear
        back = np.linalg.inv(np.concatenate([matrix, [[0, 0, 1]]]))[:2]
        return move_points(back, self.mean), move_points(back, mapped.reshape(68, 2))


def face_of(photo: LabelledPhoto) -> Face | None:
    """The detected face that covers the marked one best."""
    faces = detect(photo.image)
    if not faces:
        return None
    marked = np.concatenate([photo.points.min(0), photo.points.max(0)])
    overlaps = iou(marked, np.stack([face.box for face in faces]))
    best = int(overlaps.argmax())
    return faces[best] if overlaps[best] > MIN_OVERLAP else None


class Seen(NamedTuple):
    """What the product makes of a list of photos."""

    landmarks: Float[np.ndarray, "N 68 2"]
    """The network's points [px]."""
    fitted: Float[np.ndarray, "N 68 2"]
    """The fitted heads' landmarks [px]."""
    expression: Float[np.ndarray, "N E"]
    network_ms: float
    fit_ms: float


@torch.inference_mode()
def look(
    network: LandmarkNetwork,
    fitter: LandmarkFitter,
    photos: Sequence[np.ndarray],
    faces: Sequence[Face],
) -> Seen:
    """Landmarks and fits of one face per photo; times are medians of single calls."""
    landmarks, fits, times = [], [], []
    for image, face in zip(photos, faces, strict=True):
        found = detect_landmarks(network, image, face)
        in_photo = found.landmarks_px[None]
        began = time.perf_counter()
        network(found.crop.face[None])
        middle = time.perf_counter()
        fit = fitter(in_photo, image.shape[:2])
        times.append((middle - began, time.perf_counter() - middle))
        landmarks.append(in_photo)
        fits.append(fit)
    network_s, fit_s = np.median(np.array(times), 0)
    return Seen(
        torch.cat(landmarks).numpy(),
        torch.cat([fit.landmarks_px for fit in fits]).numpy(),
        torch.cat([_expression(fit) for fit in fits]).numpy(),
        1e3 * float(network_s),
        1e3 * float(fit_s),
    )


def _expression(fit: FitResult) -> Tensor:
    return fit.parameters.head.expression


def helen_figures(
    config: LandmarkEvaluationConfig, network: LandmarkNetwork, fitter: LandmarkFitter
) -> list[Figure]:
    """Errors on Helen's test photos."""
    five, marked = [], []
    for _, photo in read_labelled(config.helen / "trainset"):
        face = face_of(photo)
        if face is not None:
            five.append(face.points)
            marked.append(photo.points)
    baselines = Baselines.learn(five, marked)
    photos = [photo for _, photo in read_labelled(config.helen / "testset")]
    found = [(photo, face) for photo in photos if (face := face_of(photo)) is not None]
    truth = np.stack([photo.points for photo, _ in found])
    guesses = [baselines.apply(face.points) for _, face in found]
    seen = look(network, fitter, [photo.image for photo, _ in found], [face for _, face in found])
    net, fit = nme(seen.landmarks, truth), nme(seen.fitted, truth)

    def together(measure: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.corrcoef(measure(seen.fitted), measure(truth))[0, 1])

    return [
        _at_least("Helen: faces found", 100 * len(found) / len(photos), "%", 99),
        _plain("Helen: mean shape at the five points", _mean_error(guesses, 0, truth), "%"),
        _plain("Helen: linear map of the five points", _mean_error(guesses, 1, truth), "%"),
        _at_most("Helen: network", float(net.mean()), "%", 4.5),
        _plain("Helen: network, median", float(np.median(net)), "%"),
        _plain("Helen: network, photos above 10 %", 100 * float((net > 10).mean()), "%"),
        _at_most("Helen: fitted head", float(fit.mean()), "%", 5.0),
        _plain("Helen: fitted head, median", float(np.median(fit)), "%"),
        _at_least("Helen: mouth opening, correlation", together(mouth_opening), "", 0.85),
        _at_least("Helen: mouth width, correlation", together(mouth_width), "", 0.92),
        _plain("network, one face", seen.network_ms, "ms"),
        _plain("fit, one face", seen.fit_ms, "ms"),
    ]


def _mean_error(
    guesses: Sequence[tuple[np.ndarray, np.ndarray]], which: int, truth: np.ndarray
) -> float:
    return float(nme(np.stack([guess[which] for guess in guesses]), truth).mean())


def london_figures(folder: Path, network: LandmarkNetwork, fitter: LandmarkFitter) -> list[Figure]:
    """Is the same person's smile score higher in the smiling photo?"""
    names = fitter.head.expression_names
    smiles = [names.index(name) for name in ("mouthSmileLeft", "mouthSmileRight") if name in names]
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
        whole = [name for name in images if faces[name]]
        seen = look(network, fitter, [images[n] for n in whole], [faces[n][0] for n in whole])
        scores.append(dict(zip(whole, seen.expression[:, smiles].sum(1), strict=True)))
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
    """Measure, print the table, and write it if asked to."""
    from rich.console import Console
    from rich.table import Table

    from flame_assets.store import load_head

    torch.set_num_threads(config.threads)
    if config.out is not None and not config.out.parent.is_dir():
        raise UserError(f"{config.out}: expected an existing folder {config.out.parent}: create it")
    network = load_landmark_network(config.weights)
    fitter = LandmarkFitter(HeadDecoder(load_head(config.head)))
    figures = helen_figures(config, network, fitter)
    if config.london is not None:
        figures += london_figures(config.london, network, fitter)
    table = Table(title=f"68 landmarks and the fit of {fitter.head.name} {fitter.head.version}")
    for heading in ("figure", "value", "target", "met"):
        table.add_column(heading)
    for figure in figures:
        met = "" if figure.met is None else "yes" if figure.met else "NO"
        table.add_row(figure.name, f"{figure.value:.3f} {figure.unit}", figure.target, met)
    Console(width=100).print(table)
    if config.out is not None:
        content = json.dumps([figure._asdict() for figure in figures], indent=1) + "\n"
        write_whole(config.out, content.encode())
    return figures


def _plain(name: str, value: float, unit: str) -> Figure:
    return Figure(name, value, unit, "", None)


def _at_most(name: str, value: float, unit: str, limit: float) -> Figure:
    return Figure(name, value, unit, f"<= {limit}", bool(value <= limit))


def _at_least(name: str, value: float, unit: str, limit: float) -> Figure:
    return Figure(name, value, unit, f">= {limit}", bool(value >= limit))
