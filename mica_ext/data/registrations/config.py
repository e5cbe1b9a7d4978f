"""Options of `mica-ext fit`; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mica_ext.errors import UserError

FitSource = Literal["coma", "famos", "meshes", "landmarks"]
LengthUnit = Literal["m", "cm", "mm"]
FrameSplit = Literal["all", "train", "val", "test"]
SETTINGS = ("source", "head", "unit", "split", "every", "sigma_mm", "max_residual_mm")
"""Options that decide what is written; a run goes on only with the same ones."""


@dataclass(frozen=True, kw_only=True)
class FitMeshesConfig:
    """Fit a head to registered meshes or 3D landmarks: shape per subject, the rest per frame.

    coma: ROOT/SUBJECT/EXPRESSION/EXPRESSION.000001.ply. famos: ROOT/registrations/SUBJECT/
    SEQUENCE/SEQUENCE.000001.ply. meshes: ROOT/SUBJECT/**/*.ply or .obj, files directly in ROOT
    are a subject each. landmarks: ROOT/*.npy of 68 x 3 numbers, NaN where unknown. Given again,
    the command goes on with the subjects that are not done.
    """

    source: Annotated[FitSource, tyro.conf.Positional]
    """What ROOT holds."""
    root: Annotated[Path, tyro.conf.Positional]
    """Folder of the data."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the fits: SUBJECT.safetensors, SUBJECT.json, residuals.json."""
    head: str = "auto"
    """Head that the meshes are registered to: auto (FLAME where it is installed), flame2020,
    anthro, gnm, ict, ... or a folder."""
    unit: LengthUnit = "m"
    """Of the files."""
    split: FrameSplit = "all"
    """famos: only the frames of a published list, which must lie in ROOT."""
    every: int = 1
    """Take every n-th frame of a sequence."""
    sigma_mm: float = 0.1
    """Standard deviation of the vertices, against which coefficients have unit normal priors."""
    max_residual_mm: float = 10.0
    """Frames whose mean distance is larger are left out and counted."""
    threads: int | None = None
    """Batches of frames fitted at a time; default: one per core."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UserError(f"--every: expected 1 or more, got {self.every}")
        if not (self.sigma_mm > 0 and self.max_residual_mm > 0):
            raise UserError("--sigma-mm, --max-residual-mm: expected numbers above 0")
        if self.threads is not None and self.threads < 1:
            raise UserError(f"--threads: expected 1 or more, got {self.threads}")
        if self.split != "all" and self.source != "famos":
            raise UserError(f"--split {self.split}: only famos has published lists of frames")

    @property
    def settings(self) -> dict[str, str | float]:
        """`SETTINGS` by name."""
        return {name: getattr(self, name) for name in SETTINGS}
