"""How far points follow what faces do, measured through the fit on annotated photos.

Networks damp, and a fit with priors does again. The response of lids, brows and lips is changed
until the fitted heads' measures rise by `SLOPE` per unit of the annotated ones.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.fitting.correspondence.calibration import (
    CLOSED_LIPS,
    MAX_CLOSED_LIPS,
    PointCalibration,
)
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.fitting.lip_seam import lip_gaps
from mica_ext.fitting.points.response import LIPS
from mica_ext.landmarks.annotated_photos import match_face, read_labelled
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.readers import PointReader
from mica_ext.landmarks.regions import point_confidence
from pacofr.faces.face_mesh.topology import (
    IBUG68,
    LEFT_BROW,
    LEFT_EYE,
    RIGHT_BROW,
    RIGHT_EYE,
)
from pacofr.faces.landmarks68 import (
    brow_raise,
    eye_aspect_ratio,
    inter_ocular,
    mouth_opening,
    mouth_width,
)
from pacofr.utils.progress import track

SLOPE = 0.92
"""Of the fitted on the annotated measures. An unbiased estimate has 1, but lets noise through, too:
on Helen's trainset, mouths then come out 5 % too wide, and landmarks lie a fiftieth farther off."""
ROUNDS = 4
CLOSED_BELOW, OPEN_ABOVE = 0.01, 0.04
"""Annotated openings of mouths that are taken for closed and for open."""
MIN_RESPONSE, MAX_RESPONSE = 0.5, 1.2
BATCH = 64
INNER_CORNER = 8
"""Within an eye's ring, whose first point is the outer corner."""
LIDS = np.concatenate([RIGHT_EYE, LEFT_EYE])
BROWS = np.concatenate([RIGHT_BROW, LEFT_BROW])
ACROSS, ALONG = 0, 1
"""Columns of `PointCalibration.response`."""

Measure = Callable[[Float[np.ndarray, "N 68 2"]], Float[np.ndarray, " N"]]


def eye_openness(landmarks: Float[np.ndarray, "N 68 2"]) -> Float[np.ndarray, " N"]:
    """Mean eye aspect ratio of both eyes."""
    return eye_aspect_ratio(landmarks).mean(1)


MEASURES: tuple[tuple[Measure, np.ndarray, int], ...] = (
    (eye_openness, LIDS, ALONG),
    (brow_raise, BROWS, ALONG),
    (mouth_opening, LIPS, ALONG),
    (mouth_width, LIPS, ACROSS),
)
"""What is measured, and the points and direction that follow it."""


class AnnotatedFaces(NamedTuple):
    """Points that a network reads in photos, beside their annotation."""

    points_px: Float[Tensor, "N 478 2"]
    confidence: Float[Tensor, "N 478"]
    sizes: Int[Tensor, "N 2"]
    """Height and width of each photo [px]."""
    landmarks_px: Float64[np.ndarray, "N 68 2"]


def read_annotated(reader: PointReader, folder: Path) -> AnnotatedFaces:
    """Points of the annotated face of each photo of a folder; undetected faces are left out.

    Raises:
        UserError: if the folder holds no annotated faces.
    """
    rows = []
    for _, photo in track(read_labelled(folder), "annotated photos"):
        face = match_face(photo)
        if face is None:
            continue
        found = detect_points(reader, photo.image, face)
        confidence = point_confidence(found.visibility[None], found.error[None])[0]
        size = torch.tensor(photo.image.shape[:2])
        rows.append((found.points_px, confidence, size, photo.points.astype(np.float64)))
    if not rows:
        raise UserError(f"{folder}: expected photos of faces, found no face")
    points, confidence, sizes, landmarks = zip(*rows, strict=True)
    return AnnotatedFaces(
        torch.stack(points), torch.stack(confidence), torch.stack(sizes), np.stack(landmarks)
    )


def calibrate_response(
    decoder: HeadDecoder, mean: Float64[np.ndarray, "478 2"], faces: AnnotatedFaces
) -> PointCalibration:
    """The calibration whose fits of `decoder`'s head follow the annotation.

    `mean`'s lids are opened or closed half way to `implied_openness`: a network may read the eyes
    of the neutral people otherwise than those of everyday photos.
    """
    own = float(eye_openness(mean[None, IBUG68])[0])
    mean = with_openness(mean, (own + implied_openness(decoder, faces)) / 2)
    response = np.ones((len(mean), 2))
    for measure, points, axis in MEASURES:
        seen = faces.points_px.double().numpy()[:, IBUG68]
        response[points, axis] = _bounded(slope(measure(seen), measure(faces.landmarks_px)))
    for _ in track(range(ROUNDS), "fits"):
        fitted = _fitted_landmarks(decoder, PointCalibration(mean, response), faces)
        for measure, points, axis in MEASURES:
            ratio = slope(measure(fitted), measure(faces.landmarks_px)) / SLOPE
            response[points, axis] = _bounded(response[points[0], axis] * ratio)
    return PointCalibration(mean, response, closed_lips(faces))


def closed_lips(faces: AnnotatedFaces) -> float:
    """The gap between a network's inner lips that best tells closed from open mouths.

    Most of both are told, on average: the threshold of largest balanced accuracy.
    """
    points, landmarks = faces.points_px.double().numpy(), faces.landmarks_px
    gaps = lip_gaps(points, inter_ocular(points[:, IBUG68]))
    truth = mouth_opening(landmarks)
    closed, opened = np.sort(gaps[truth < CLOSED_BELOW]), np.sort(gaps[truth > OPEN_ABOVE])
    if not (len(closed) and len(opened)):
        return CLOSED_LIPS
    candidates = np.linspace(0, MAX_CLOSED_LIPS, 201)
    right = np.searchsorted(closed, candidates) / len(closed)
    right += 1 - np.searchsorted(opened, candidates) / len(opened)
    return float(candidates[right.argmax()])


def slope(values: Float[np.ndarray, " N"], truth: Float[np.ndarray, " N"]) -> float:
    """Of the least squares line of values over truth."""
    return float(np.polyfit(truth, values, 1)[0])


def implied_openness(decoder: HeadDecoder, faces: AnnotatedFaces) -> float:
    """What the network reads, on average, in eyes annotated as open as the mean head's."""
    neutral = decoder(HeadParameters.zeros(decoder.head)).vertices
    landmarks = decoder.frontal_landmarks(neutral)[..., :2].double().numpy()
    seen = eye_openness(faces.points_px.double().numpy()[:, IBUG68])
    line = np.polyfit(eye_openness(faces.landmarks_px), seen, 1)
    return float(np.polyval(line, eye_openness(landmarks)[0]))


def with_openness(
    mean: Float64[np.ndarray, "478 2"], openness: float
) -> Float64[np.ndarray, "478 2"]:
    """The mean person with lids moved, towards or away from the line of the eye corners."""
    factor = openness / float(eye_openness(mean[None, IBUG68])[0])
    moved = mean.copy()
    for ring in (RIGHT_EYE, LEFT_EYE):
        outer, inner = mean[ring[0]], mean[ring[INNER_CORNER]]
        share = (mean[ring, 0] - outer[0]) / (inner[0] - outer[0])
        line = outer[1] + share * (inner[1] - outer[1])
        moved[ring, 1] = line + factor * (mean[ring, 1] - line)
    return moved


def _bounded(response: float) -> float:
    return min(max(response, MIN_RESPONSE), MAX_RESPONSE)


def _fitted_landmarks(
    decoder: HeadDecoder, calibration: PointCalibration, faces: AnnotatedFaces
) -> Float64[np.ndarray, "N 68 2"]:
    """iBUG landmarks of the fitted heads [px]."""
    fitter, found = LandmarkFitter(decoder, calibration), []
    for start in range(0, len(faces.sizes), BATCH):
        rows = slice(start, start + BATCH)
        fit = fitter(faces.points_px[rows], faces.sizes[rows], confidence=faces.confidence[rows])
        found.append(fit.landmarks_px)
    return torch.cat(found).double().numpy()
