"""Settings of `pacofr curate`; imports neither torch nor OpenCV."""

import dataclasses
from pathlib import Path

from pacofr.data.curation.sources.conditions import parse_condition
from pacofr.data.remote.location import LocationArgument
from pacofr.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurateConfig:
    """Photos in, aligned face crops out.

    The paper's set is 2 million faces of LAION-Face-20M: all of its tar shards, of which `pacofr
    repack --keep 2000000` then keeps that many.
    LFW's 13,233 photos cost about 140 CPU seconds. Given again, the command goes on
    where it was stopped.
    """

    sources: tuple[LocationArgument, ...]
    """Folders of images, folders of tar shards as img2dataset writes them, single tar files: paths,
    or URLs that fsspec opens (s3://BUCKET/{00000..00231}.tar, https://, a folder, *), or
    "pipe:COMMAND ARGUMENTS", whose output is a tar. Remote ones are fetched whole, each once."""
    out: Path
    """Folder for the shards."""
    detections: Path | None = None
    """LAION-Face's sample2detect_N.pth, or the folder that holds them (shards in split_0000N or
    N): its faces are taken instead of running the detector."""
    sample: int | None = None
    """Look at this many photos, drawn from all sources without replacement; default: at all. Fewer
    faces pass the filters: to keep exactly so many, see `pacofr repack --keep`."""
    where: tuple[str, ...] = ()
    """Conditions on the metadata of each photo of a tar, which must all hold: NSFW=UNLIKELY,UNSURE
    similarity>=0.3. Fields come from the JSON beside the photo, or where that lacks them from the
    parquet table beside the tar (00000.parquet beside 00000.tar, by its column key or url). Folders
    of images have neither, so nothing of them is kept then."""
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
        for condition in self.where:
            parse_condition(condition)
        if self.jobs < 0:
            raise UserError("jobs must not be negative")
