"""Options of `eval-now`: flags and help in one. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from eval_now.data.layout import Split


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Score 3D faces on the NoW benchmark.

    Score meshes (.obj/.ply with 7 landmarks .npy/.txt):
    eval-now --dataset DIR --predictions DIR

    Run a registered method first; stopped runs continue:
    eval-now --dataset DIR --predictor mica_ext

    Write the folder and archive to submit:
    eval-now --split test --predictor mica_ext

    Error curves and one table of several runs:
    eval-now compare RUN_A RUN_B

    How to get the data:
    eval-now data

    One core scores several images a second; the first run compiles for some ten seconds.
    """

    split: Split = "val"
    """val: 20 subjects, scored here. test: 80 subjects, packed for the organisers to score."""
    dataset: Path | None = None
    """Folder of the NoW data; without it the environment variable NOW_DATASET."""
    predictions: Path | None = None
    """Folder SUBJECT/CHALLENGE/IMG.obj|.ply with IMG.npy|.txt; with --predictor its output."""
    predictor: str | None = None
    """A registered method, NAME or NAME:ARGUMENT (for mica_ext the argument is a model folder)."""
    protocol: Literal["non-metrical", "metrical", "both"] = "non-metrical"
    """Whether the scale is fitted (non-metrical) or must be right (metrical)."""
    unit: Literal["m", "cm", "mm"] | None = None
    """Unit of the prediction files, for the metrical protocol; predictors state it themselves."""
    challenge: tuple[str, ...] = ()
    """Only these challenges, e.g. multiview_neutral selfie."""
    image_list: Path | None = None
    """Another image list than the split's own."""
    allow_missing: bool = False
    """Go on without the missing or unreadable predictions; the result is marked as incomplete."""
    jobs: int = 0
    """Processes; 0 for up to one per core, as many as the number of images keeps busy."""
    heatmaps: int = 0
    """Draw this many of the worst, the median and the best scans, coloured by error."""
    name: str | None = None
    """Name of the run in tables and curves; by default the name of the --out folder."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder for all that is written; by default now_result/ and the method's name."""

    def __post_init__(self) -> None:
        if (self.predictions is None) and (self.predictor is None):
            raise ValueError("expected --predictions DIR or --predictor NAME")
        if self.predictor is not None and self.unit is not None:
            raise ValueError("expected no --unit with --predictor, which states its own")
        if self.split == "test" and (self.heatmaps or self.protocol != "non-metrical"):
            raise ValueError("--split test packs only: expected no --heatmaps and no --protocol")
        if self.jobs < 0 or self.heatmaps < 0:
            raise ValueError("expected --jobs and --heatmaps of 0 or more")


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Cumulative error curves (PNG, PDF) and one table of several runs."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders written by `eval-now --out`."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("now_comparison")
    """Folder for curves_PROTOCOL.png and .pdf, table.md and table.tex."""
    largest_mm: float = 5.0
    """Right end of the curves."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("expected the folders of one or more runs: eval-now compare A B")
        if not 0 < self.largest_mm < 1000:
            raise ValueError("expected --largest-mm between 0 and 1000")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Say how to get the NoW data and which files go where."""
