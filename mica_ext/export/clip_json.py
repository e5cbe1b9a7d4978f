"""The parameters of a video as JSON: one identity, and expression, gaze and pose of every frame.

    {"format": "mica-ext clip", "version": 1,
     "units": {"length": "m", "angle": "rad (axis-angle)", "time": "s", "image": "px, y down"},
     "head": {...}, "weights": {...}, "detector": {...}, "model": {...}, "identity": {...},
     "fingerprint": {...},                    as in the file of a photo (`export.face_json`)
     "video": {"name": "clip.mp4", "size": [width, height]},      upright, as players show it
     "smoothing": {"method": "...", "window_s": 0.3, "lag_s": 0.0},
     "quality": {"verdict": "accepted", "reasons": []},
     "shots": [[0, 120], [120, 300]],         first frame and the one after the last, between cuts
     "expression_names": [E names],           of the head's expressions, ARKit's where it has them
     "shape": [S numbers],                    the identity, once
     "camera": {"focal_px": f, "centre_px": [x, y]},              one for all frames
     "frames": {                              lists with an entry per frame, all of the same length
       "time": [s],                           from the video's first frame, increasing
       "state": ["tracked" | "unsure" | "held"],   held: no face seen, values of its neighbours
       "confidence": [0 to 1],                probability of a face where it was looked for
       "expression": [[E numbers]],
       "global_pose": [[3]], "neck_pose": [[3]], "jaw_pose": [[3]],
       "left_eye_pose": [[3]], "right_eye_pose": [[3]],           of HeadParameters
       "translation": [[3]]}}                 head to camera frame [m], see models.projection

A frame's mesh is the head of `shape` and the frame's values; `global_pose` turns it as in the
video.
"""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from flame_assets.model.fingerprint import Fingerprint
from flame_assets.model.head import NAME
from flame_assets.model.head_module import HeadParameters
from mica_ext.errors import UserError
from mica_ext.export.face_json import ModelPack, Provenance, Source
from mica_ext.files import write_bytes_atomic
from mica_ext.models.quality import Quality
from mica_ext.models.types import Camera, FaceParameters
from pacofr.errors import UserError as ContentError
from pacofr.utils.bounded import open_regular
from pacofr.utils.config_json import from_json, read_json

FORMAT, VERSION = "mica-ext clip", 1
MAX_BYTES = 512 << 20
"""Of a file; ten minutes of video at 30 frames a second have 13 MB."""
DECIMALS = 6
FrameState = Literal["tracked", "unsure", "held"]
"""unsure: hidden in part or not surely a face; held: no face was seen, values of its neighbours."""
MOVING = ("global_pose", "neck_pose", "jaw_pose", "left_eye_pose", "right_eye_pose")


class VideoEntry(NamedTuple):
    """The video of a clip."""

    name: str
    """File name."""
    size: tuple[int, int]
    """Width, height of the upright picture [px]."""


class Smoothing(NamedTuple):
    """The filter over time."""

    method: str
    window_s: float
    """Half its width [s]."""
    lag_s: float
    """Of the filtered values behind the video [s]; zero for a filter that sees both sides."""


class SavedClip(NamedTuple):
    """A video as `save_clip` writes it."""

    parameters: FaceParameters
    """A batch of N frames; all have the same shape and camera, but for its translation."""
    times_s: Float64[np.ndarray, " N"]
    """From the first frame, increasing [s]."""
    states: tuple[FrameState, ...]
    confidence: Float64[np.ndarray, " N"]
    """Probability of a face where it was looked for."""
    shots: tuple[tuple[int, int], ...]
    """First frame, and the one after the last, of the parts between cuts."""
    expression_names: tuple[str, ...]
    video: VideoEntry
    smoothing: Smoothing
    quality: Quality
    provenance: Provenance
    fingerprint: Fingerprint


class _CameraEntry(NamedTuple):
    focal_px: float
    centre_px: tuple[float, float]


class _ClipFile(NamedTuple):
    """The whole file but for `frames`, whose long lists are read as arrays."""

    format: str
    version: int
    units: dict[str, str]
    head: Source
    weights: Source
    detector: Source
    model: ModelPack | None
    identity: Source | None
    expression: Source | None
    fingerprint: Fingerprint
    video: VideoEntry
    smoothing: Smoothing
    quality: Quality
    shots: tuple[tuple[int, int], ...]
    expression_names: tuple[str, ...]
    shape: tuple[float, ...]
    camera: _CameraEntry


def save_clip(path: Path, clip: SavedClip) -> None:
    """Write the JSON file.

    Raises:
        UserError: it cannot be written.
    """
    head, camera = clip.parameters
    sources = {
        key: source and source._asdict() for key, source in clip.provenance._asdict().items()
    }
    frames = {
        "time": clip.times_s.round(DECIMALS).tolist(),
        "state": clip.states,
        "confidence": clip.confidence.round(3).tolist(),
        "expression": _rows(head.expression),
        **{name: _rows(getattr(head, name)) for name in MOVING},
        "translation": _rows(camera.translation),
    }
    content = {
        "format": FORMAT,
        "version": VERSION,
        "units": {"length": "m", "angle": "rad (axis-angle)", "time": "s", "image": "px, y down"},
        **sources,
        "fingerprint": clip.fingerprint._asdict(),
        "video": clip.video._asdict(),
        "smoothing": clip.smoothing._asdict(),
        "quality": clip.quality._asdict(),
        "shots": clip.shots,
        "expression_names": clip.expression_names,
        "shape": head.shape[0].tolist(),
        "camera": {
            "focal_px": float(camera.focal_px[0]),
            "centre_px": camera.centre_px[0].tolist(),
        },
        "frames": frames,
    }
    write_bytes_atomic(path, (json.dumps(content, separators=(",", ":")) + "\n").encode())


def is_clip(path: Path) -> bool:
    """Whether a file begins as `save_clip` writes it; False if it cannot be read."""
    try:
        with open_regular(path, MAX_BYTES) as file:
            return f'"{FORMAT}"'.encode() in file.read(64)
    except (OSError, ContentError):
        return False


def load_clip(path: Path) -> SavedClip:
    """Read a file of `save_clip`.

    Raises:
        UserError: if the file is missing, too large, of another format or version, or if a value
            is missing, unknown, of a wrong type or not finite.
    """
    expected = "a file of `reconstruct VIDEO --params`"
    try:
        content = read_json(path, expected, max_bytes=MAX_BYTES)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{path}: expected {expected}")
        if content.get("version") != VERSION:
            raise UserError(
                f"{path}: written in version {content.get('version')} of the format, this program "
                f"reads {VERSION}: reconstruct the video again"
            )
        frames = content.pop("frames", None)
        file = from_json(_ClipFile, content, f"{path}: not a whole file")
    except ContentError as error:
        raise UserError(f"{error}; write it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not NAME.fullmatch(file.head.name):
        raise UserError(f"{path}, head: expected the name of a head, got {file.head.name!r}")
    return _to_saved_clip(file, frames, str(path))


def _to_saved_clip(file: _ClipFile, frames: object, where: str) -> SavedClip:
    names = {"time", "state", "confidence", "expression", *MOVING, "translation"}
    if not isinstance(frames, dict) or set(frames) != names:
        raise UserError(f"{where}, frames: expected the lists {', '.join(sorted(names))}")
    states = frames["state"]
    known = get_args(FrameState)
    if not isinstance(states, list) or not states or not all(state in known for state in states):
        raise UserError(f"{where}, frames.state: expected one of {', '.join(known)} of each frame")
    count = len(states)

    def rows(name: str, width: int) -> Float[Tensor, "N W"]:
        return _tensor(_matrix(frames[name], count, width, f"{where}, frames.{name}"))

    def column(name: str) -> Float64[np.ndarray, " N"]:
        values = frames[name]
        wrapped = [[value] for value in values] if isinstance(values, list) else values
        return _matrix(wrapped, count, 1, f"{where}, frames.{name}")[:, 0]

    times = column("time")
    if (np.diff(times) <= 0).any():
        raise UserError(f"{where}, frames.time: expected increasing times")
    ends = [0, *(end for _, end in file.shots)]
    follow = [first for first, _ in file.shots] == ends[:-1] and ends[-1] == count
    if not follow or not all(first < end for first, end in file.shots):
        raise UserError(f"{where}, shots: expected parts that follow each other, of all frames")
    shape = _tensor(_matrix([list(file.shape)], 1, len(file.shape), f"{where}, shape"))
    head = HeadParameters(
        shape.expand(count, -1),
        rows("expression", len(file.expression_names)),
        *(rows(name, 3) for name in MOVING),
    )
    seen = [[file.camera.focal_px, *file.camera.centre_px]]
    seen = _tensor(_matrix(seen, 1, 3, f"{where}, camera")).expand(count, -1)
    camera = Camera(seen[:, 0], seen[:, 1:], rows("translation", 3))
    return SavedClip(
        parameters=FaceParameters(head, camera),
        times_s=times,
        states=tuple(states),
        confidence=column("confidence"),
        shots=file.shots,
        expression_names=file.expression_names,
        video=file.video,
        smoothing=file.smoothing,
        quality=file.quality,
        provenance=Provenance(
            file.head, file.weights, file.detector, file.model, file.identity, file.expression
        ),
        fingerprint=file.fingerprint,
    )


def _rows(values: Float[Tensor, "N W"]) -> list[list[float]]:
    return values.double().numpy().round(DECIMALS).tolist()


def _matrix(rows: Any, count: int, width: int, where: str) -> Float64[np.ndarray, "N W"]:
    """`count` rows of `width` numbers, finite in float32 too."""
    if not isinstance(rows, list) or len(rows) != count:
        raise UserError(f"{where}: expected a list of {count} frames")
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            raise UserError(f"{where}[{number}]: expected {width} numbers")
        if not all(type(value) in (float, int) for value in row):
            raise UserError(f"{where}[{number}]: expected numbers")
    try:
        values = np.array(rows, np.float64).reshape(count, width)
    except OverflowError:  # an integer of 400 digits
        values = np.full((1, 1), np.inf)
    if not (np.abs(values) < np.finfo(np.float32).max).all():
        raise UserError(f"{where}: expected finite numbers in the range of float32")
    return values


def _tensor(values: Float64[np.ndarray, "N W"]) -> Float[Tensor, "N W"]:
    return torch.from_numpy(values).float()
