"""From a tracked face to the parameters of every frame: one identity, smooth over time.

Runs of frames with the face, within one shot, are smoothed each for itself: cuts and gaps restart
the filter, not the identity. Frames without the face take the values between those before and after
a gap of up to `SHORT_GAP_S`, else the last values before it (at a shot's start the first after it).
Lips meet where the points call them closed, before and after smoothing. Jaws are bounded by the
pictures of the mouth (`fitting.teeth`).
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int
from scipy.spatial.transform import Rotation

from flame_assets.arkit import JAW_OPEN, eye_look_weights
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from mica_ext.clip.frame_fits import BATCH, closed_lips_of, fit_frames
from mica_ext.clip.identity import ClipIdentity
from mica_ext.clip.smoothing import adaptive_wiener, moving_mean
from mica_ext.clip.tracker import TrackedFace
from mica_ext.models.types import Camera, FaceParameters
from mica_ext.reconstruct import Reconstructor

SHORT_GAP_S = 0.3
JAW_LIMIT_WINDOW_S = 0.1
"""Half the time over which the bounds of the jaw are averaged."""
MIN_NOISE = {"weight": 0.04, "angle": 0.01, "length": 0.001, "gaze": 0.02}
"""Least standard deviation that counts as the fits' error over time, which is larger where a face
moves than where it rests: of expressions, rotations [rad], positions [m]. Chosen on one clip."""


class ClipEstimate(NamedTuple):
    """All N frames."""

    parameters: FaceParameters
    residual: Float64[np.ndarray, " N"]
    """Of the fits, in outer eye corner distances; 0 where there was no face."""


class _Track(NamedTuple):
    """Everything that is smoothed, as columns."""

    values: Float64[np.ndarray, "N C"]
    floor: Float64[np.ndarray, " C"]
    groups: list[Int[np.ndarray, " _"]]
    """Columns whose gains are one: each expression's alone, all of a rotation's or a place's."""
    middle: Rotation
    """Rotations of the head are relative to it."""


def estimate_clip(
    reconstructor: Reconstructor,
    tracked: TrackedFace,
    identity: ClipIdentity,
    size: tuple[int, int],
) -> ClipEstimate:
    """Fit every frame that shows the face with this identity, smooth, and fill the others.

    Raises:
        UserError: no head fits a frame.
    """
    seen = tracked.confidence > 0
    tracked = tracked._replace(jaw_limit=_steady_jaw_limits(tracked, seen))
    numbers = np.flatnonzero(seen)
    rows, focal = numbers.tolist(), identity.focal_px
    fits = fit_frames(
        reconstructor,
        tracked,
        rows,
        size,
        focal_px=focal,
        shape=identity.shape,
        closed_lips=closed_lips_of(reconstructor, tracked, rows, size, focal),
    )
    head = reconstructor.head
    track = _columns(head, fits.parameters)
    values = np.zeros((len(seen), track.values.shape[1]))
    values[numbers] = track.values
    trust = tracked.confidence * tracked.visibility.mean(1)
    for run in _runs(seen, tracked.starts):
        values[run] = adaptive_wiener(
            tracked.times_s[run],
            values[run],
            trust[run].astype(np.float64).clip(0.05, 1),
            track.groups,
            track.floor,
        )
    _fill(values, seen, tracked)
    residual = np.zeros(len(seen))
    residual[numbers] = fits.residual.double().numpy()
    parameters = _parameters(head, values, track.middle, identity, fits.parameters)
    closed = np.zeros(len(seen), bool)
    closed[numbers] = fits.lips_closed
    closed[1:-1] |= closed[:-2] & closed[2:]
    fitter = reconstructor.estimator.fitter
    heads = [
        fitter.close_lips(HeadParameters(*(part[rows] for part in parameters.head)), closed[rows])
        for rows in (slice(start, start + BATCH) for start in range(0, len(seen), BATCH))
    ]
    whole = HeadParameters(*(torch.cat(parts) for parts in zip(*heads, strict=True)))
    return ClipEstimate(parameters._replace(head=whole), residual)


def _steady_jaw_limits(
    tracked: TrackedFace, seen: Bool[np.ndarray, " N"]
) -> Float32[np.ndarray, " N"]:
    """Moving means of the jaw's bounds, so that a bound that flickers does not shake the jaw."""
    limits = tracked.jaw_limit.astype(np.float64)
    for run in _runs(seen, tracked.starts):
        times = tracked.times_s[run]
        limits[run] = moving_mean(times, limits[run, None], JAW_LIMIT_WINDOW_S)[:, 0]
    return limits.clip(0, 1).astype(np.float32)


def _columns(head: HeadModel, found: FaceParameters) -> _Track:
    """Expression, jaw, gaze, rotation relative to the mean one, position."""
    moved, camera = found
    middle = Rotation.from_rotvec(moved.global_pose.double().numpy())
    mean = middle.mean()
    parts = (
        moved.expression.double().numpy(),
        moved.jaw_pose.double().numpy(),
        torch.cat([moved.left_eye_pose, moved.right_eye_pose], 1).double().numpy(),
        (mean.inv() * middle).as_rotvec(),
        camera.translation.double().numpy(),
    )
    kinds = ("weight", "angle", "gaze", "angle", "length")
    widths = [part.shape[1] for part in parts]
    floor = np.repeat([MIN_NOISE[kind] for kind in kinds], widths)
    ends = np.cumsum([0, *widths])
    columns = [np.arange(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]
    alone = [np.array([column]) for column in columns[0]]
    return _Track(np.concatenate(parts, 1), floor, [*alone, *columns[1:]], mean)


def _runs(seen: Bool[np.ndarray, " N"], starts: tuple[int, ...]) -> list[slice]:
    """Runs of frames with a face that no cut divides."""
    ends = [*starts[1:], len(seen)]
    runs = []
    for start, end in zip(starts, ends, strict=True):
        steps = np.flatnonzero(np.diff(np.r_[0, seen[start:end].astype(int), 0])) + start
        runs += [slice(*pair) for pair in steps.reshape(-1, 2)]
    return runs


def _fill(
    values: Float64[np.ndarray, "N C"], seen: Bool[np.ndarray, " N"], tracked: TrackedFace
) -> None:
    """Give frames without a face the values of their neighbours, in place."""
    shot_of = np.searchsorted(tracked.starts, np.arange(len(seen)), side="right")
    known = np.flatnonzero(seen)
    for row in np.flatnonzero(~seen):
        after = np.searchsorted(known, row)
        before = known[after - 1] if after else known[0]
        later = known[after] if after < len(known) else before
        same = [other for other in (before, later) if shot_of[other] == shot_of[row]]
        left, right = (same[0], same[-1]) if same else (before, before)
        gap = tracked.times_s[right] - tracked.times_s[left]
        share = 0.0
        if left < row < right and gap <= SHORT_GAP_S:
            share = (tracked.times_s[row] - tracked.times_s[left]) / gap
        values[row] = (1 - share) * values[left] + share * values[right]


def _parameters(
    head: HeadModel,
    values: Float64[np.ndarray, "N C"],
    middle: Rotation,
    identity: ClipIdentity,
    found: FaceParameters,
) -> FaceParameters:
    """The inverse of `_columns`, within the head's bounds."""
    count = len(values)
    widths = [head.expression_count, 3, 3, 3, 3, 3]
    expression, jaw, left, right, turned, translation = np.split(values, np.cumsum(widths)[:-1], 1)
    if head.expression_bounds is not None:
        expression = expression.clip(*head.expression_bounds)
    if head.expression_convention == "arkit":
        expression = _with_gaze(head, expression, left, right)
        if "jawOpen" in head.expression_names:
            opening = expression[:, head.expression_names.index("jawOpen")]
            jaw = JAW_OPEN * opening[:, None] * [1.0, 0.0, 0.0]
    rotation = (middle * Rotation.from_rotvec(turned)).as_rotvec()
    parts = (expression, rotation, np.zeros_like(jaw), jaw, left, right)
    moving = [torch.from_numpy(part).float() for part in parts]
    return FaceParameters(
        HeadParameters(identity.shape.expand(count, -1), *moving),
        Camera(
            found.camera.focal_px[:1].expand(count),
            found.camera.centre_px[:1].expand(count, -1),
            torch.from_numpy(translation).float(),
        ),
    )


def _with_gaze(
    head: HeadModel,
    expression: Float64[np.ndarray, "N E"],
    left: Float64[np.ndarray, "N 3"],
    right: Float64[np.ndarray, "N 3"],
) -> Float64[np.ndarray, "N E"]:
    """The eyeLook weights are those of the eyes' rotations."""
    expression = expression.copy()
    for name, weights in eye_look_weights(left, right).items():
        if name in head.expression_names:
            expression[:, head.expression_names.index(name)] = weights
    return expression
