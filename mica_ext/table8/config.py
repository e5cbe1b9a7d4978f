"""Options of `mica-ext table8`; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Table8Config:
    """Score model packs on NoW's validation scans, beside the figures of the paper's Table 8.

    Both protocols, of the neutral meshes. Started again, predictions that are there are used.
    `eval-now data` says how to get the data; `mica-ext synth-now` writes an artificial set.
    """

    dataset: Path
    """Folder of the NoW data."""
    packs: tuple[str, ...] = ("auto",)
    """Model packs: auto, mica, names in the store or folders; NAME=PACK gives a row its name."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("table8")
    """Folder for table8.md, table8.json, and each pack's predictions and result."""
    allow_missing: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on where images have no prediction; the row is marked."""
    jobs: int = 0
    """Processes that score; 0 for up to one per core."""

    def __post_init__(self) -> None:
        if not self.packs:
            raise ValueError("expected --packs with one or more model packs")
        if self.jobs < 0:
            raise ValueError("expected --jobs of 0 or more")
