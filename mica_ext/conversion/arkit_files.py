"""ARKit weights as files: Live Link Face's CSV, JSON and .npz."""

import csv
import io
import json
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from mica_ext.conversion.fields import Fields, numbers, write_npz
from mica_ext.conversion.live_link_angles import ANGLES
from mica_ext.conversion.live_link_time import frame_base, seconds_of, timecode
from mica_ext.conversion.motion import ARKIT_NAMES, ArkitMotion
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.errors import UserError as ContentError
from pacofr.utils.bounded import read_bounded

CSV_BYTES = 128 << 20
CSV_CELLS = 10_000_000
"""Cells of a table; a recording of 40 minutes at 60 frames a second has 9 million."""
# fmt: off
LIVE_LINK = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeSquintLeft", "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight",
    "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight", "eyeWideRight", "jawForward",
    "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRight",
    "mouthLeft", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft",
    "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
    "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft",
    "noseSneerRight", "tongueOut",
)
# fmt: on
"""The order of Live Link Face's columns."""
TIMECODE, COUNT = "Timecode", "BlendShapeCount"
NAMES, WEIGHTS = ("names", "columns"), ("weights", "blendshapes")


def read_live_link(path: Path) -> ArkitMotion:
    """A CSV with a header of ARKit's names, whatever the case of their first letters.

    Raises:
        UserError: the file cannot be read, or is none.
    """
    try:
        text = read_bounded(path, CSV_BYTES).decode("utf-8-sig")
    except (ContentError, OSError) as error:
        raise UserError(f"{path}: expected a CSV of Live Link Face: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected a CSV of Live Link Face, got no text") from error
    if text.count(",") + text.count("\n") > CSV_CELLS:
        raise UserError(f"{path}: expected at most {CSV_CELLS} cells; cut the recording in parts")
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise UserError(f"{path}: expected a CSV of Live Link Face: {error}") from error
    if len(rows) < 2:
        raise UserError(f"{path}: expected a header and at least one frame, got {len(rows)} lines")
    header, frames = rows[0], rows[1:]
    if odd := [number for number, row in enumerate(frames, 2) if len(row) != len(header)]:
        raise UserError(
            f"{path}, line {odd[0]}: expected {len(header)} columns; the recording may have been "
            "cut off: delete the line"
        )
    columns = list(zip(*frames, strict=True))
    fields = dict(zip(header, columns, strict=True))
    timecodes = tuple(map(_plain, fields[TIMECODE])) if TIMECODE in fields else None
    motion = arkit_motion(fields, path)
    if motion is None:
        raise UserError(f"{path}: expected a header with ARKit's names such as EyeBlinkLeft")
    return motion._replace(
        timecodes=timecodes,
        angles=_angles(fields, path),
        times_s=None if timecodes is None else seconds_of(timecodes),
    )


def arkit_motion(fields: Fields, path: Path) -> ArkitMotion | None:
    """The weights among `fields`, by name or as a table with names; None without any.

    Absent weights are zero; others are clipped to [0, 1].

    Raises:
        UserError: they are no numbers, or numbers of frames differ.
    """
    listed = next((fields[name] for name in NAMES if name in fields), None)
    table = numbers(fields, WEIGHTS, path) if listed is not None else None
    if listed is not None and table is not None:
        names = [str(name) for name in np.ravel(np.asarray(listed, dtype=object))]
        if len(names) != table.shape[1]:
            raise UserError(
                f"{path}: holds {len(names)} names and {table.shape[1]} weights a frame"
            )
        fields = dict(zip(names, table.T, strict=True))
    found = {_arkit_name(name): name for name in fields if _arkit_name(name) in ARKIT_NAMES}
    columns = {}
    for name, key in found.items():
        column = numbers(fields, (key,), path)
        assert column is not None  # the key is there
        columns[name] = column.ravel()
    if not columns:
        return None
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise UserError(f"{path}: expected as many frames of each weight, got {sorted(lengths)}")
    weights = np.zeros((lengths.pop(), len(ARKIT_NAMES)))
    for name, column in columns.items():
        weights[:, ARKIT_NAMES.index(name)] = column
    return ArkitMotion(weights.clip(0, 1))


def write_arkit_motion(path: Path, motion: ArkitMotion, fps: float) -> None:
    """Write .csv (Live Link Face, with angles and times), .json or .npz, by the suffix.

    `fps` counts the frames of time codes, and gives the times where the motion has none.

    Raises:
        UserError: it cannot be written.
    """
    suffix = path.suffix.lower()
    order = [ARKIT_NAMES.index(name) for name in LIVE_LINK]
    weights = motion.weights[:, order]
    if suffix == ".npz":
        write_npz(path, {"names": np.array(LIVE_LINK), "weights": weights.astype(np.float32)})
    elif suffix == ".json":
        content = {"names": LIVE_LINK, "fps": fps, "weights": weights.round(6).tolist()}
        write_bytes_atomic(path, (json.dumps(content) + "\n").encode())
    else:
        titles = [name[0].upper() + name[1:] for name in LIVE_LINK]
        lines = [",".join([TIMECODE, COUNT, *titles, *ANGLES])]
        seconds = np.arange(len(weights)) / fps if motion.times_s is None else motion.times_s
        times = motion.timecodes or [timecode(each, frame_base(fps)) for each in seconds.tolist()]
        none = np.zeros((len(weights), len(ANGLES)))
        angles = none if motion.angles is None else motion.angles
        for time, row in zip(times, np.concatenate([weights, angles], 1), strict=True):
            values = [f"{value:.6f}" for value in row]
            lines.append(",".join([time, str(len(values)), *values]))
        write_bytes_atomic(path, ("\n".join(lines) + "\n").encode())


def _angles(fields: Fields, path: Path) -> Float64[np.ndarray, "N 9"] | None:
    """The columns of head and eyes; None where the recording lacks one.

    Raises:
        UserError: they are no numbers.
    """
    if not all(name in fields for name in ANGLES):
        return None
    columns = [numbers(fields, (name,), path) for name in ANGLES]
    return np.stack([column.ravel() for column in columns if column is not None], 1)


def _plain(time: str) -> str:
    """A time code that is one cell of a CSV wherever it is written."""
    return "".join(c for c in time if c.isalnum() or c in ":.;-+ ")


def _arkit_name(name: str) -> str:
    return name[:1].lower() + name[1:]
