"""`pacofr show` and `pacofr probe` as the command line sees them; imports no torch."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from pacofr.errors import UserError
from pacofr.utils.config_checks import Device, at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """How a frozen encoder is scored by landmarks (`linear_probe.probe`)."""

    photos: Path
    """Folder with trainset/ and testset/ of photos and .pts files (68 points, iBUG order)."""
    copies: int = 3
    """Displaced copies of every training photo, every second one mirrored."""
    test_copies: int = 4
    """Displaced copies of every test photo; its error is their mean, which depends less on where
    the crop happens to lie."""
    shift: float = 0.04
    """Largest displacement of a crop, as a fraction of the face's 200 px."""
    turn_degrees: float = 12.0
    """Largest rotation of a crop."""
    stretch: float = 0.1
    """Largest relative change of a crop's scale."""
    folds: int = 4
    """Folds of the training photos for choosing the ridge's regularisation."""
    seed: int = 0
    """Of the training crops' displacements and of the folds; the test crops are always the same."""
    batch_size: int = 64
    """Crops per forward pass."""
    device: Device = "cpu"
    """Where to encode; the regression is solved on the CPU."""

    def __post_init__(self) -> None:
        at_least(1, self, "copies", "test_copies", "batch_size")
        at_least(2, self, "folds")
        at_least(0, self, "seed", "shift", "turn_degrees", "stretch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeCommand:
    """Score frozen encoders by a linear probe of 68 landmarks; all see the same crops."""

    encoders: tyro.conf.Positional[tuple[str, ...]]
    """RUN folders, NAME:FILE (farl, mae, moco-v3, mcf) or scratch:PRESET."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the scores, photo by photo, to this JSON file too."""
    threads: int | None = None
    """CPU threads; default: one per core."""
    config: Annotated[ProbeConfig, tyro.conf.arg(name="")]

    def __post_init__(self) -> None:
        if self.threads is not None:
            at_least(1, self, "threads")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Draw what some runs have learnt: codebooks, reconstructions, patches by their choice."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, or their model/ folders."""
    shards: Path
    """Folder of crops that `pacofr curate` wrote."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the pictures."""
    faces: int = 8
    """Faces to reconstruct."""
    grouped: int = 2000
    """Faces to average and to group by their choices."""
    seed: int = 0
    """Of the faces and masks."""
    threads: int | None = None
    """CPU threads; default: one per core."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("at least one run is needed")
        at_least(1, self, "faces", "grouped")
        at_least(0, self, "seed")
        if self.threads is not None:
            at_least(1, self, "threads")
