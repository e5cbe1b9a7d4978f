"""Frames of a video in, one `SavedClip` out."""

from typing import NamedTuple

import numpy as np

from mica_ext.clip.estimate import ClipEstimate, estimate_clip
from mica_ext.clip.identity import identity_of_clip
from mica_ext.clip.smoothing import HALF_WINDOW_S
from mica_ext.clip.tracker import FaceTracker, TrackedFace
from mica_ext.errors import UserError
from mica_ext.export.clip_json import FrameState, SavedClip, Smoothing, VideoEntry
from mica_ext.landmarks.detect import MIN_CONFIDENCE
from mica_ext.landmarks.regions import REGIONS
from mica_ext.models.quality import (
    DARK_LUMA,
    HIDDEN_BELOW,
    MAX_RESIDUAL,
    SMALL_FACE_PX,
    Quality,
)
from mica_ext.reconstruct import Reconstructor
from mica_ext.video_files.reader import VideoFrame, VideoInfo
from pacofr.faces.choose import MIN_FACE_PX, FaceChoice

MARKED_SHARE = 0.05
"""Of the frames held or unsure, above which a clip is marked."""
REJECTED_SHARE = 0.05
"""Of the frames with a face, below which what was found is probably none."""


class ClipResult(NamedTuple):
    """A clip, and what else there is to tell."""

    clip: SavedClip
    faces_found: int
    """Most faces that were found in one frame."""
    held: int
    """Frames without the face."""
    identity_frames: int
    """That the identity comes from."""


class ClipReconstructor:
    """Told the frames of one video one after another; then it makes the clip."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        info: VideoInfo,
        choice: FaceChoice = "largest",
        min_face: float | None = None,
    ) -> None:
        self.reconstructor, self.info = reconstructor, info
        least = MIN_FACE_PX if min_face is None else min_face
        self.tracker = FaceTracker(reconstructor, info, choice, least)

    def add(self, frame: VideoFrame) -> None:
        """Take the next frame."""
        self.tracker.add(frame)

    def result(self, *, damaged: int = 0, cut_short: bool = False) -> ClipResult:
        """The clip of all frames so far.

        Args:
            damaged: parts of the file that could not be decoded.
            cut_short: whether the file ends before it says.

        Raises:
            UserError: no frame shows a face, or no head fits.
        """
        tracked, info = self.tracker.result(), self.info
        seen = tracked.confidence > 0
        if not tracked.candidates:
            harm = ", of which parts are damaged" if damaged or cut_short else ""
            raise UserError(
                f"{info.name}: expected a video with a face, found none in its {len(seen)} frames "
                f"of at least {self.tracker.min_face:.0f} pixels{harm}; use one with a larger, "
                "sharper or brighter face, or --min-face"
            )
        identity = identity_of_clip(self.reconstructor, tracked, info.size)
        estimate = estimate_clip(self.reconstructor, tracked, identity, info.size)
        states = _states(tracked, estimate)
        starts = (*tracked.starts, len(seen))
        clip = SavedClip(
            parameters=estimate.parameters,
            times_s=tracked.times_s,
            states=states,
            confidence=tracked.confidence.astype(np.float64),
            shots=tuple(zip(starts[:-1], starts[1:], strict=True)),
            expression_names=self.reconstructor.head.expression_names,
            video=VideoEntry(info.name, info.size),
            smoothing=Smoothing("adaptive Wiener about local parabolas", HALF_WINDOW_S, 0.0),
            quality=_quality(tracked, estimate, states, damaged, cut_short),
            provenance=self.reconstructor.provenance,
            fingerprint=self.reconstructor.head_fingerprint,
        )
        return ClipResult(clip, tracked.faces_found, states.count("held"), len(tracked.candidates))


def _states(tracked: TrackedFace, estimate: ClipEstimate) -> tuple[FrameState, ...]:
    least = np.array([HIDDEN_BELOW[name] for name in REGIONS])
    unsure = tracked.confidence < MIN_CONFIDENCE
    unsure |= (tracked.visibility < least).any(1) | (estimate.residual > MAX_RESIDUAL)
    return tuple(
        "held" if confidence == 0 else "unsure" if doubt else "tracked"
        for confidence, doubt in zip(tracked.confidence, unsure, strict=True)
    )


def _quality(
    tracked: TrackedFace,
    estimate: ClipEstimate,
    states: tuple[FrameState, ...],
    damaged: int,
    cut_short: bool,
) -> Quality:
    """Rejected if hardly a frame shows a face; unsure if anything speaks against it."""
    count, seen = len(states), tracked.confidence > 0
    if seen.mean() < REJECTED_SHARE:
        found = f"a face in {int(seen.sum())} of {count} frames alone"
        return Quality("rejected", (f"probably no face: {found}",))
    reasons = []
    for state, what in (("held", "show no face"), ("unsure", "show it hidden in part or unsurely")):
        number = states.count(state)
        if number > MARKED_SHARE * count:
            reasons.append(f"{number} of {count} frames {what}; look at the result there")
    if np.median(estimate.residual[seen]) > MAX_RESIDUAL:
        reasons.append("the head does not fit the landmarks; look at the result before you use it")
    points = tracked.points_px[seen]
    sides = (points.max(1) - points.min(1)).max(1)
    if np.median(sides) < SMALL_FACE_PX:
        reasons.append("the face is small; expect a coarse result")
    if np.median([frame.luma for frame in tracked.candidates]) < DARK_LUMA:
        reasons.append("the face is dark; expect a coarse result, or brighten the video")
    if cut_short:
        reasons.append("the file ends before it says it does: the clip is what could be read")
    elif damaged:
        reasons.append("parts of the file are damaged: the clip is what could be read")
    return Quality("unsure" if reasons else "accepted", tuple(reasons))
