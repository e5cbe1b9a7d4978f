"""`mica-ext calibrate-points`: the mean person's points from photos, and how far points respond.

The mean comes from neutral people seen from the front. A head's anchors explain it exactly at zero
identity and expression (`correspondence.anchors`), so that neutral people are neutral and the
population's mean person is the mean head. The response of lids, brows and lips is the ratio of
their measures' deviations, points over annotation (the slope of the reduced major axis).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mica_ext.errors import UserError
from mica_ext.fitting.correspondence.calibration import PointCalibration, save_calibration
from mica_ext.landmarks.annotated_photos import match_face, read_labelled
from mica_ext.landmarks.config import PointCalibrationConfig
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.readers import PointReader, open_reader
from pacofr.faces.detect import detect
from pacofr.faces.face_mesh.topology import (
    IBUG68,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_EYE_OUTER,
    MIRROR,
    OUTER_LIPS,
    POINTS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_EYE_OUTER,
)
from pacofr.faces.landmarks68 import brow_raise, eye_aspect_ratio, mouth_opening, mouth_width
from pacofr.images import list_images, load_image
from pacofr.utils.progress import track

LIDS, BROWS, LIPS = (
    np.concatenate(rings)
    for rings in ((RIGHT_EYE, LEFT_EYE), (RIGHT_BROW, LEFT_BROW), (OUTER_LIPS, INNER_LIPS))
)


def calibrate(config: PointCalibrationConfig) -> None:
    """Write the calibration file.

    Raises:
        UserError: if folders hold no faces, or the file cannot be written.
    """
    torch.set_num_threads(config.threads)
    reader = open_reader(config.points, config.weights)
    people = detect_people(reader, photos_of(config.neutral, config.subjects))
    response = np.ones(POINTS)
    if config.annotated is not None:
        response = measure_response(reader, config.annotated)
    command = f"mica-ext calibrate-points --subjects {config.subjects}"
    save_calibration(
        config.out,
        PointCalibration(neutral_mean(people), response),
        licence=config.licence,
        sources=f"{reader.source.name} {reader.source.version} on {config.sources}",
        command=command + " --annotated" * (config.annotated is not None),
    )


def photos_of(folder: Path, subjects: str) -> list[Path]:
    """Photos of a folder; of names NUMBER_..., those of even or odd numbers.

    Raises:
        UserError: if there are none.
    """
    photos = list_images(folder)
    if subjects != "all":
        numbers = [(photo, photo.name.partition("_")[0]) for photo in photos]
        odd = subjects == "odd"
        photos = [photo for photo, n in numbers if n.isdecimal() and int(n) % 2 == odd]
    if not photos:
        raise UserError(f"{folder}: expected photos of faces, of subjects: {subjects}; found none")
    return photos


def detect_people(reader: PointReader, photos: Sequence[Path]) -> Float[Tensor, "N 478 2"]:
    """Points of the largest face of each photo; photos without a face are left out.

    Raises:
        UserError: if no photo has a face.
    """
    points = []
    for photo in track(photos, "photos"):
        image = load_image(photo)
        for face in detect(image)[:1]:
            points.append(detect_points(reader, image, face).points_px)
    if not points:
        raise UserError(f"{photos[0].parent}: expected photos of faces, found no face")
    return torch.stack(points)


def neutral_mean(people: Float[Tensor, "N 478 2"]) -> Float64[np.ndarray, "478 2"]:
    """The mean person's points: the mean of normalized faces and of their mirror images."""
    mean = np.mean([normalized(face) for face in people.double().numpy()], 0)
    return (mean + mean[MIRROR] * [-1, 1]) / 2


def normalized(points: Float64[np.ndarray, "478 2"]) -> Float64[np.ndarray, "478 2"]:
    """Points about the middle of the outer eye corners, which lie level at a distance of 1."""
    right, left = points[RIGHT_EYE_OUTER], points[LEFT_EYE_OUTER]
    x, y = (left - right) / np.square(left - right).sum()
    return (points - (left + right) / 2) @ np.array([[x, -y], [y, x]])


def measure_response(reader: PointReader, folder: Path) -> Float64[np.ndarray, "478"]:
    """How far points follow lids, brows and lips: ratios of deviations; 1 elsewhere.

    Raises:
        UserError: if the folder holds no annotated faces.
    """
    seen, true = [], []
    for _, photo in track(read_labelled(folder), "annotated photos"):
        face = match_face(photo)
        if face is not None:
            seen.append(detect_points(reader, photo.image, face).points_px.numpy()[IBUG68])
            true.append(photo.points)

    def ratio(measure: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.std(measure(np.stack(seen))) / np.std(measure(np.stack(true))))

    response = np.ones(POINTS)
    response[LIDS] = ratio(lambda points: eye_aspect_ratio(points).mean(1))
    response[BROWS] = ratio(brow_raise)
    response[LIPS] = (ratio(mouth_opening) + ratio(mouth_width)) / 2
    return response
