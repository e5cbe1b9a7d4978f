"""Readers and writer of the seven NoW landmarks (`.pp`, `.npy`, `.txt`).

Order: outer and inner corner of the subject's right eye, inner and outer corner of the left eye,
nose bottom, right and left corner of the mouth (iBUG indices 36, 39, 42, 45, 33, 48, 54).
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval_now.errors import UserError
from eval_now.io.budgets import MAX_COORDINATE, MAX_LANDMARK_BYTES
from eval_now.io.files import read_bytes, write_bytes_atomic
from eval_now.io.text import parse_floats, split_lines
from flame_assets.inert import npy as inert_npy
from flame_assets.inert.files import ReadError

Landmarks = Float[np.ndarray, "7 3"]
MIN_EXTENT = 1e-9  # of the landmarks, in any unit
IBUG_ROWS = (36, 39, 42, 45, 33, 48, 54)

# The look-behind and the possessive quantifiers keep the search linear in the length of the line.
_ATTRIBUTE = re.compile(r'(?<!\w)(\w++)\s*+=\s*+"([^"]*+)"')


def load_landmarks(path: Path) -> Landmarks:
    """Read the landmarks of a prediction, `.npy` or `.txt`.

    Raises:
        UserError: unreadable, malformed, or all seven landmarks coincide.
    """
    data = read_bytes(path, MAX_LANDMARK_BYTES)
    parse = parse_npy if path.suffix.lower() == ".npy" else parse_txt
    landmarks = parse(path, data)
    if np.ptp(landmarks, axis=0).max() < MIN_EXTENT:
        raise UserError(f"{path}: all seven landmarks are the same point")
    return landmarks


class PickedPoints(NamedTuple):
    """Landmarks of a scan; `remarks` describes what is unusual about the file, or is empty."""

    landmarks: Landmarks
    remarks: str


def parse_pp(path: Path, data: bytes) -> PickedPoints:
    """Parse MeshLab's picked points in the file's order, rounded to float32.

    As in the official reader, point names are ignored and only the first seven points count.
    """
    points: list[list[float]] = []
    line_of: dict[tuple[float, ...], int] = {}
    remarks: list[str] = []
    for number, line in enumerate(split_lines(data), start=1):
        for element in _point_elements(line):
            values = dict(_ATTRIBUTE.findall(element))
            words = [values.get(axis, "missing") for axis in "xyz"]
            point = parse_floats(words, 3, path, number)
            first = line_of.setdefault(tuple(point), number)
            if first != number and len(points) < 7:
                remarks.append(f"line {number} repeats the point of line {first}")
            points.append(point)
    if len(points) < 7:
        raise UserError(f"{path}: expected 7 <point .../> entries, found {len(points)}")
    if len(points) > 7:
        remarks.append(f"holds {len(points)} points, the first 7 count")
    landmarks = np.array(points[:7]).astype(np.float32).astype(np.float64)
    return PickedPoints(landmarks, "; ".join(remarks))


def _point_elements(line: str) -> Iterator[str]:
    """The complete `<point ...>` elements of a line."""
    begin = line.find("<point")
    while begin >= 0:
        end = line.find(">", begin)
        if end < 0:
            return
        if not line[begin + len("<point") : begin + len("<point") + 1].isalnum():
            yield line[begin:end]
        begin = line.find("<point", end)


def parse_txt(path: Path, data: bytes) -> Landmarks:
    """Parse seven lines `x y z`, rounded to float32 as in the official reader."""
    points: list[list[float]] = []
    for number, line in enumerate(split_lines(data), start=1):
        words = line.split("#")[0].replace(",", " ").split()
        if words:
            points.append(parse_floats(words, 3, path, number))
    if len(points) != 7:
        raise UserError(
            f"{path}: expected 7 lines 'x y z', found {len(points)}{_subset_hint(len(points))}"
        )
    return np.array(points).astype(np.float32).astype(np.float64)


def parse_npy(path: Path, data: bytes) -> Landmarks:
    """Parse a numeric array of shape (7, 3) or (1, 7, 3); object arrays are refused."""
    try:
        points = inert_npy.parse_npy(data)
    except ReadError as error:
        raise UserError(f"{path} {error}; expected landmarks of shape (7, 3)") from None
    if not isinstance(points, np.ndarray) or points.dtype.kind not in "fiu":
        kind = points.dtype if isinstance(points, np.ndarray) else "object"
        raise UserError(f"{path}: expected 21 numbers, found {kind}")
    if points.shape not in ((7, 3), (1, 7, 3)):
        hint = _subset_hint(len(points)) if points.ndim == 2 else ""
        raise UserError(f"{path}: expected landmarks of shape (7, 3), found {points.shape}{hint}")
    points = points.reshape(7, 3).astype(np.float64)
    invalid = np.flatnonzero(~(np.abs(points) < MAX_COORDINATE).all(axis=1))
    if len(invalid):
        raise UserError(f"{path}: landmark {invalid[0]} is not finite and below {MAX_COORDINATE:g}")
    return points


def save_landmarks(path: Path, landmarks: Landmarks) -> None:
    """Write landmarks as an `.npy` of float64 (7, 3)."""
    file = io.BytesIO()
    np.save(file, np.asarray(landmarks, np.float64))
    write_bytes_atomic(path, file.getvalue())


def _subset_hint(count: int) -> str:
    """Which of 51 or 68 iBUG landmarks the benchmark uses; empty for other counts."""
    first = {68: 0, 51: 17}.get(count)
    if first is None:
        return ""
    rows = ", ".join(str(row - first) for row in IBUG_ROWS)
    return f"; of {count} landmarks the benchmark wants the rows {rows}"
