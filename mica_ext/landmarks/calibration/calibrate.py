"""`mica-ext calibrate-points`: the mean person's points from photos, and how far points respond.

The mean comes from neutral people seen from the front. A head's anchors explain it exactly at zero
identity and expression (`correspondence.anchors`), so that neutral people are neutral and the
population's mean person is the mean head. The response of lids, brows and lips comes from fits to
annotated photos (`response`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.fitting.correspondence.calibration import PointCalibration, save_calibration
from mica_ext.landmarks.annotated_photos import photos_of
from mica_ext.landmarks.calibration.response import calibrate_response, read_annotated
from mica_ext.landmarks.config import PointCalibrationConfig
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.readers import PointReader, open_reader
from pacofr.faces.detect import detect
from pacofr.faces.face_mesh.topology import LEFT_EYE_OUTER, MIRROR, POINTS, RIGHT_EYE_OUTER
from pacofr.images import load_image
from pacofr.utils.progress import track


def calibrate(config: PointCalibrationConfig) -> None:
    """Write the calibration file.

    Raises:
        UserError: if folders hold no faces, or the file cannot be written.
    """
    torch.set_num_threads(config.threads)
    reader = open_reader(config.points, config.weights)
    people = detect_people(reader, photos_of(config.neutral, config.subjects))
    mean = neutral_mean(people)
    calibration = PointCalibration(mean, np.ones((POINTS, 2)))
    if config.annotated is not None:
        faces = read_annotated(reader, config.annotated)
        calibration = calibrate_response(HeadDecoder(load_head(config.head)), mean, faces)
    command = f"mica-ext calibrate-points --subjects {config.subjects}"
    save_calibration(
        config.out,
        calibration,
        licence=config.licence,
        sources=f"{reader.source.name} {reader.source.version} on {config.sources}",
        command=command + " --annotated" * (config.annotated is not None),
    )


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
