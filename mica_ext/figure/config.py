"""Options of `mica-ext figure`; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class FigureConfig:
    """Compare methods on photos: a row a photo, a column a method, one camera and light for all.

    The suffix of --out decides: .pdf and .png are for print (300 dpi, fonts embedded), .html is a
    page without network in which all heads turn together.
    """

    photos: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Photos, or folders of photos; the largest face of each."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """File to write (.pdf .png .html)."""
    packs: tuple[str, ...] = ("auto",)
    """Model packs: auto, mica, names in the store or folders; NAME=PACK gives a column its name."""
    meshes: tuple[str, ...] = ()
    """NAME=DIR, further methods: DIR/STEM.obj or .ply of each photo's stem. Meshes with other
    vertices than the first pack's need seven landmarks in NoW's order beside (STEM.npy or .txt)."""
    truth: Path | None = None
    """Folder of true meshes or scans, STEM.obj or .ply, with landmarks as for --meshes: adds a
    column of errors for each method."""
    truth_unit: Literal["mm", "cm", "m"] = "mm"
    """Unit of the true meshes."""
    pose: Literal["expressive", "neutral"] = "expressive"
    """Heads with the photo's expression, or without."""
    yaw: float = 20.0
    """How far the heads are turned in print [degrees]."""
    max_error: float = 4.0
    """Right end of the errors' colours [mm]."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a file that exists."""

    def __post_init__(self) -> None:
        if not self.packs:
            raise ValueError("expected --packs with one or more model packs")
        if not -90 <= self.yaw <= 90:
            raise ValueError("expected --yaw of -90 to 90 degrees")
        if not 0 < self.max_error <= 1000:
            raise ValueError("expected --max-error above 0, at most 1000 mm")
