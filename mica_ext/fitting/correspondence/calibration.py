"""What photos teach about the 478 points, for any head: the mean person's, and how they follow.

point_calibration.json    beside a pack's landmark weights, under their licence
mean_points.json          in this folder: a mean face for packs without one (CC BY 4.0)
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.errors import UserError as ContentError
from pacofr.faces.face_mesh.topology import POINTS
from pacofr.utils.config_json import from_json, read_json

FORMAT, VERSION = "mica-ext point calibration", 3
FILE = "point_calibration.json"
UNCALIBRATED = Path(__file__).with_name("mean_points.json")
MAX_BYTES = 1 << 20
DECIMALS = 4
MAX_COORDINATE, MAX_RESPONSE = 5.0, 2.0
CLOSED_LIPS, MAX_CLOSED_LIPS = 0.01, 0.1
"""Where no annotated photos tell, and at most, in distances of the outer eye corners."""


class PointCalibration(NamedTuple):
    """Points of neutral people, in distances of the outer eye corners, and their response."""

    mean: Float64[np.ndarray, "478 2"]
    """Of the mean person from the front, y down, about the middle of the outer eye corners."""
    response: Float64[np.ndarray, "478 2"]
    """How far points of lids, brows and lips follow the skin about the middle of eye and mouth,
    across the face and along it: networks damp; see `fitting.points.response`."""
    closed_lips: float = CLOSED_LIPS
    """Gap between the inner lips' points below which the lips are closed."""


class CalibrationFile(NamedTuple):
    """Contents of point_calibration.json."""

    format: str
    version: int
    licence: str
    sources: str
    """Photos and points that it was made from."""
    command: str
    mean: tuple[tuple[float, float], ...]
    response: tuple[tuple[float, float], ...]
    closed_lips: float


def save_calibration(
    path: Path, calibration: PointCalibration, *, licence: str, sources: str, command: str
) -> None:
    """Write a calibration, in one file.

    Raises:
        UserError: if it cannot be written.
    """
    mean, response = (array.round(DECIMALS).tolist() for array in calibration[:2])
    closed_lips = round(calibration.closed_lips, DECIMALS)
    content = CalibrationFile(
        FORMAT, VERSION, licence, sources, command, mean, response, closed_lips
    )._asdict()
    write_bytes_atomic(path, (json.dumps(content) + "\n").encode())


def load_calibration(folder: Path) -> PointCalibration:
    """The calibration in a folder, or the uncalibrated mean face where it has none.

    Raises:
        UserError: if the file cannot be read or holds something else.
    """
    path = folder / FILE
    if not path.exists():
        path = UNCALIBRATED
    try:
        content = read_json(path, "a calibration of points", max_bytes=MAX_BYTES)
        if isinstance(content, dict):
            _require_version(path, content.get("format"), content.get("version"))
        about = from_json(CalibrationFile, content, str(path))
    except ContentError as error:
        raise UserError(str(error)) from error
    if not len(about.mean) == len(about.response) == POINTS:
        raise UserError(f"{path}: expected {POINTS} points of x and y and {POINTS} responses")
    mean, response = np.array(about.mean), np.array(about.response)
    if not (np.abs(mean) <= MAX_COORDINATE).all() or not (np.abs(response) <= MAX_RESPONSE).all():
        raise UserError(f"{path}: expected points of a face in distances of its outer eye corners")
    if not 0 <= about.closed_lips <= MAX_CLOSED_LIPS:
        raise UserError(
            f"{path}: expected closed_lips from 0 to {MAX_CLOSED_LIPS}, got {about.closed_lips}"
        )
    return PointCalibration(mean, response, about.closed_lips)


def _require_version(path: Path, kind: object, version: object) -> None:
    if (kind, version) != (FORMAT, VERSION):
        raise UserError(
            f"{path}: expected {FORMAT!r} version {VERSION}, got {kind!r} version {version}: make "
            "it anew with `mica-ext calibrate-points`"
        )
