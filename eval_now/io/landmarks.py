"""The seven NoW landmarks: read from .pp, .npy and .txt, written, and their order checked.

Order: outer and inner corner of the subject's right eye, inner and outer corner of the left eye,
nose bottom, right and left corner of the mouth (iBUG 36, 39, 42, 45, 33, 48, 54).
"""

import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval_now.errors import UserError
from eval_now.geometry.align import landmark_similarity
from eval_now.io.files import read_bytes, write_atomically
from eval_now.io.npy import read_npy_header
from eval_now.io.obj import LARGEST_NUMBER, lines_of, numbers_of

Landmarks = Float[np.ndarray, "7 3"]
SMALLEST_FACE = 1e-9  # in any unit
IBUG_ROWS = (36, 39, 42, 45, 33, 48, 54)

_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)"')


def load_landmarks(path: Path) -> Landmarks:
    """Landmarks of a prediction, `.npy` or `.txt`."""
    data = read_bytes(path)
    parse = parse_npy if path.suffix.lower() == ".npy" else parse_txt
    landmarks = parse(path, data)
    if np.ptp(landmarks, axis=0).max() < SMALLEST_FACE:
        raise UserError(f"{path}: all seven landmarks are the same point")
    return landmarks


class PickedPoints(NamedTuple):
    """Landmarks of a scan; `odd`: what is unusual about their file, empty for nothing."""

    landmarks: Landmarks
    odd: str


def parse_pp(path: Path, data: bytes) -> PickedPoints:
    """MeshLab's picked points in the file's order, rounded to float32 as the benchmark does.

    Names play no part and points after the seventh are left out, as in the official reader.
    """
    points: list[list[float]] = []
    line_of: dict[tuple[float, ...], int] = {}
    odd: list[str] = []
    for number, line in enumerate(lines_of(data), start=1):
        for element in re.findall(r"<point\b[^>]*>", line):
            values = dict(_ATTRIBUTE.findall(element))
            words = [values.get(axis, "missing") for axis in "xyz"]
            point = numbers_of(words, 3, path, number)
            first = line_of.setdefault(tuple(point), number)
            if first != number and len(points) < 7:
                odd.append(f"line {number} repeats the point of line {first}")
            points.append(point)
    if len(points) < 7:
        raise UserError(f"{path}: expected 7 <point .../> entries, found {len(points)}")
    if len(points) > 7:
        odd.append(f"holds {len(points)} points, the first 7 count")
    landmarks = np.array(points[:7]).astype(np.float32).astype(np.float64)
    return PickedPoints(landmarks, "; ".join(odd))


def parse_txt(path: Path, data: bytes) -> Landmarks:
    """Seven lines `x y z`, rounded to float32 as the benchmark does."""
    points: list[list[float]] = []
    for number, line in enumerate(lines_of(data), start=1):
        words = line.split("#")[0].replace(",", " ").split()
        if words:
            points.append(numbers_of(words, 3, path, number))
    if len(points) != 7:
        raise UserError(
            f"{path}: expected 7 lines 'x y z', found {len(points)}{_hint(len(points))}"
        )
    return np.array(points).astype(np.float32).astype(np.float64)


def parse_npy(path: Path, data: bytes) -> Landmarks:
    """An array (7,3) or (1,7,3); nothing else is read from the file, pickles never."""
    shape, fortran, dtype, body = read_npy_header(path, data)
    if shape not in ((7, 3), (1, 7, 3)):
        hint = _hint(shape[0]) if len(shape) == 2 else ""
        raise UserError(f"{path}: expected landmarks of shape (7, 3), found {shape}{hint}")
    if dtype.kind not in "fiu" or len(data) - body < 21 * dtype.itemsize:
        raise UserError(f"{path}: expected 21 numbers, found {dtype} and {len(data) - body} bytes")
    flat = np.frombuffer(data, dtype, 21, body).astype(np.float64)
    points = flat.reshape(shape, order="F" if fortran else "C").reshape(7, 3)
    wrong = np.flatnonzero(~(np.abs(points) < LARGEST_NUMBER).all(axis=1))
    if len(wrong):
        raise UserError(f"{path}: landmark {wrong[0]} is not finite and below {LARGEST_NUMBER:g}")
    return points


def save_npy(path: Path, landmarks: Landmarks) -> None:
    """Write landmarks as (7,3) float64."""
    file = io.BytesIO()
    np.save(file, np.asarray(landmarks, np.float64))
    write_atomically(path, file.getvalue())


def _hint(count: int) -> str:
    first = {68: 0, 51: 17}.get(count)
    if first is None:
        return ""
    rows = ", ".join(str(row - first) for row in IBUG_ROWS)
    return f"; of {count} landmarks the benchmark wants the rows {rows}"


class OrderCheck(NamedTuple):
    """How a prediction's landmarks fit the scan's, as given and in the most likely wrong orders.

    rms_mm: of the least-squares similarity, reflection allowed as in the benchmark. reflected: that
    similarity mirrors. better: name of a wrong order that would fit much better, or None.
    """

    rms_mm: float
    reflected: bool
    better: str | None


WRONG_ORDERS = {
    "left and right swapped": (3, 2, 1, 0, 4, 6, 5),
    "eyes swapped": (3, 2, 1, 0, 4, 5, 6),
    "eyes swapped, their corners not": (2, 3, 0, 1, 4, 5, 6),
    "mouth corners swapped": (0, 1, 2, 3, 4, 6, 5),
    "inner and outer eye corners swapped": (1, 0, 3, 2, 4, 5, 6),
    "nose after the mouth": (0, 1, 2, 3, 5, 6, 4),
    "nose first": (4, 0, 1, 2, 3, 5, 6),
}


def check_order(landmarks: Landmarks, scan_landmarks: Landmarks) -> OrderCheck:
    """Compare the given order with those people mix up; a rotation must explain them."""
    given, reflected = _fit(landmarks, scan_landmarks)
    proper: dict[str, float] = {}
    for name, order in WRONG_ORDERS.items():
        # the file's rows hold the points `order`: put them back before the fit
        rms, mirrored = _fit(landmarks[np.argsort(order)], scan_landmarks)
        if not mirrored:
            proper[name] = rms
    best = min(proper, key=lambda name: proper[name], default=None)
    if best is None:
        return OrderCheck(given, reflected, None)
    # Faces are nearly symmetric: a mirrored order fits about as well once a reflection undoes it.
    wrong = proper[best] < (1.5 * given + 1.0 if reflected else 0.5 * given)
    return OrderCheck(given, reflected, best if wrong else None)


def _fit(landmarks: Landmarks, scan_landmarks: Landmarks) -> tuple[float, bool]:
    move = landmark_similarity(landmarks, scan_landmarks)
    rest = move.apply(landmarks) - scan_landmarks
    return float(np.sqrt((rest**2).sum(axis=1).mean())), bool(np.linalg.det(move.rotation) < 0)
