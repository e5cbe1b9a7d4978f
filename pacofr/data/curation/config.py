"""Settings and result of `pacofr curate`; imports neither torch nor OpenCV."""

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pacofr.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurateConfig:
    """Photos in, aligned face crops out.

    The paper's set is 2 million faces of LAION-Face-20M: `--sample 2000000` over its tar shards.
    LFW's 13,233 photos cost about 140 CPU seconds. Given again, the command goes on
    where it was stopped.
    """

    sources: tuple[Path, ...]
    """Folders of images, folders of tar shards as img2dataset writes them, single tar files."""
    out: Path
    """Folder for the shards."""
    detections: Path | None = None
    """LAION-Face's sample2detect_N.pth, or the folder that holds them (shards in split_0000N or
    N): its faces are taken instead of running the detector."""
    sample: int | None = None
    """Take this many photos, drawn from all sources without replacement; default: all."""
    seed: int = 0
    """Decides which photos are drawn and which face of a photo is taken."""
    min_face: float = 60.0
    """Smallest face: square root of the detector's box area [px]."""
    min_score: float = 0.9
    """Least detector score; MTCNN's below .9 are noise."""
    min_sharpness: float = 0.28
    """Least ratio of fine to coarse detail in the crop; LFW's lowest percent lies below .3, a
    blur of 2 px in the crop brings nearly any face below .29; 0 keeps all."""
    jobs: int = 0
    """Processes; 0: one per core."""
    part: int = 0
    """Which of `parts` shares of the work to do, from 0: for clusters."""
    parts: int = 1
    """Number of shares; whoever finishes last writes the index."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("at least one source is needed")
        if self.sample is not None and self.sample < 1:
            raise UserError("the sample must be at least 1")
        if not 0 <= self.part < self.parts:
            raise UserError(f"part must lie in 0..{self.parts - 1}, not {self.part}")
        if self.jobs < 0:
            raise UserError("jobs must not be negative")


class Reason(StrEnum):
    """Why a photo gave no crop."""

    UNREADABLE = "unreadable"
    """Not an image, damaged, or larger than 120 million pixels or 32,766 on a side."""
    CUT_SHARD = "cut shard"
    """The source's tar ends early; counted once, what stands before the end is used."""
    NO_DETECTION = "not in the detections"
    """LAION-Face's files have no entry for it."""
    NO_FACE = "no face"
    SMALL = "small"
    LOW_SCORE = "low score"
    NOT_A_FACE = "not a face"
    """The five points lie as in no upright face, or MTCNN's last network disagrees."""
    BLURRED = "blurred"
    CRASHED = "crashed a decoder"
    """Killed a worker process; its neighbours of the same batch count with it."""


class Rejected(NamedTuple):
    """Photos that one reason cost."""

    reason: Reason
    photos: int


class CurateStats(NamedTuple):
    """What a curation did; stats.json holds the same."""

    photos: int
    """Looked at, by this call or an earlier one."""
    kept: int
    rejected: tuple[Rejected, ...]
    shards: int
    new_photos: int
    """Looked at by this call."""
    seconds: float
    """Taken by this call."""
    complete: bool
    """All parts are done and the index is written."""
