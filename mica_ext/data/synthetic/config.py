"""Options of `mica-ext synth-now`, `synth-parsing` and `synth-video`; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class SynthNowConfig:
    """Write a miniature NoW data set of rendered heads, with known truth.

    Photos, face boxes, damaged scans and landmarks lie as the benchmark distributes them, so that
    `eval-now --predictor mica_ext --dataset FOLDER` runs without any registration.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder to write; it must not exist or be empty."""
    subjects: int = 4
    """Persons with a scan (the validation list); one more has photos only (the test list)."""
    photos: int = 1
    """Photos per person and challenge."""
    size: int = 640
    """Width and height of the photos [px]."""
    head: str = "anthro"
    """Head model that the subjects are drawn from."""
    seed: int = 0
    """Another seed, other people."""

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.photos < 1:
            raise ValueError("expected --subjects and --photos of 1 or more")
        if self.size < 128:
            raise ValueError("expected --size of 128 or more: faces must be found in the photos")


@dataclass(frozen=True, kw_only=True)
class SynthParsingConfig:
    """Write rendered heads with the region of every pixel, for face parsing, in LaPa's layout.

    Classes 0 to 10 are LaPa's, 11 are ears, 12 is the neck. `pacofr task train parsing --data
    synthetic:FOLDER` trains on them.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder to write; it must not exist or be empty."""
    train: int = 2000
    """Heads of the trainset."""
    val: int = 100
    """Heads of the validation set."""
    test: int = 200
    """Heads of the test set."""
    size: int = 256
    """Width and height of the pictures [px]."""
    head: str = "anthro"
    """Head model; it must say where its regions are, as Anthro does."""
    seed: int = 0
    """Another seed, other heads."""

    def __post_init__(self) -> None:
        if min(self.train, self.val, self.test) < 1:
            raise ValueError("expected --train, --val and --test of 1 or more")
        if not 64 <= self.size <= 2048:
            raise ValueError("expected --size of 64 to 2048 px")
        if self.seed < 0:
            raise ValueError("expected --seed of 0 or more")


@dataclass(frozen=True, kw_only=True)
class SynthVideoConfig:
    """Film a rendered head that speaks, blinks and looks about, with its truth beside it.

    Beside NAME.mp4 lie NAME.truth.json (identity, and expression, gaze and pose of every frame, as
    `reconstruct NAME.mp4 --params` writes them) and NAME.truth.csv (Live Link Face's columns).
    """

    out: Annotated[Path, tyro.conf.Positional]
    """Video to write (.mp4 .mov .webm)."""
    seconds: float = 10.0
    """Length; with --motion at most that of the recording."""
    fps: float = 30.0
    """Frames a second."""
    size: tuple[int, int] = (640, 480)
    """Width and height [px]."""
    motion: Path | None = None
    """A Live Link Face recording (.csv) to play; without it a speaker is made up by the seed."""
    head: str = "anthro"
    """Head model with ARKit's expressions that the person is drawn from."""
    seed: int = 0
    """Another seed, another person who moves differently."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace files that exist."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 3600:
            raise ValueError("expected --seconds above 0, at most 3600")
        if not 1 <= self.fps <= 240:
            raise ValueError("expected --fps of 1 to 240")
        if min(self.size) < 64 or max(self.size) > 4096:
            raise ValueError("expected --size of 64 to 4096 px on each side")
        if self.seed < 0:
            raise ValueError("expected --seed of 0 or more")
