"""Options of `mica-ext samples`; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mica_ext.errors import UserError

SampleSource = Literal["coma", "famos", "mica", "photos", "heads"]
Views = Literal["colour", "stereo", "all"]
NEEDS_FITS = ("coma", "famos")
SETTINGS = (
    "source", "fits", "head", "images", "views", "max_yaw", "renders", "every", "count", "seed",
    "val", "test", "exclude_like", "exclude_median_mm",
)  # fmt: skip
"""Options that decide what is written; a run goes on only with the same ones."""


@dataclass(frozen=True, kw_only=True)
class SamplesConfig:
    """Make training samples of the expression branch: aligned face pictures with their labels.

    coma: rendered registrations, or real pictures with --images. famos: pictures, calibrations and
    registrations. mica: MICA's data set, ROOT/NAME/FLAME_parameters and images. photos: any
    photos, labelled by the fit to their points. heads: rendered random heads. People are in one
    split only. Given again, the command goes on with the parts that are not done.
    """

    source: Annotated[SampleSource, tyro.conf.Positional]
    """What ROOT holds."""
    root: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of the data; none for heads."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the samples: train/, val/ and test/ as shards, samples.json, CARD.md."""
    fits: Path | None = None
    """coma, famos: what `mica-ext fit` wrote for ROOT."""
    head: str = "auto"
    """Head that the labels belong to."""
    images: Path | None = None
    """coma: folder of real pictures and calibrations, laid out as FaMoS' are."""
    views: Views = "colour"
    """Cameras to use: colour (*_C), stereo (*_A, *_B, grey) or all."""
    max_yaw: float = 80.0
    """Largest yaw of a head towards the camera, in real pictures and of heads [degrees]."""
    renders: int = 1
    """coma: pictures rendered of every mesh."""
    every: int = 1
    """Take every n-th frame or photo."""
    count: int = 20_000
    """heads: how many."""
    seed: int = 0
    """Of everything that is rendered."""
    val: float = 0.1
    """Fraction of the people in val."""
    test: float = 0.1
    """Fraction of the people in test. FaMoS' published lists come first, if they lie in ROOT."""
    exclude_like: Path | None = None
    """Folder with scans/ and scans_lmks_onlypp/ as NoW's: people whose fitted neutral shape
    matches a scan are left out and listed (FaMoS and NoW share people)."""
    exclude_median_mm: float = 1.0
    """Median distance of scan and shape after alignment below which they match."""
    threads: int | None = None
    """Parts made at a time; default: one per core."""

    def __post_init__(self) -> None:
        if (self.root is None) != (self.source == "heads"):
            raise UserError(f"expected a folder of data for {self.source}, and none for heads")
        if (self.fits is None) == (self.source in NEEDS_FITS):
            raise UserError(
                "expected --fits for coma and famos (`mica-ext fit` makes them), not for others"
            )
        if self.images is not None and self.source != "coma":
            raise UserError("--images: only CoMA's pictures are elsewhere than its meshes")
        if min(self.every, self.renders, self.count) < 1 or self.seed < 0:
            raise UserError(
                "expected --every, --renders and --count of 1 or more, --seed of 0 or more"
            )
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise UserError("expected fractions --val and --test of together less than 1")
        if self.exclude_median_mm <= 0:
            raise UserError("--exclude-median-mm: expected a number above 0")

    @property
    def settings(self) -> dict[str, str | float | None]:
        """`SETTINGS` by name, paths as text."""
        values = {name: getattr(self, name) for name in SETTINGS}
        return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}
