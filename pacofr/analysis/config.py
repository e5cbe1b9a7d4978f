"""`pacofr show` and `pacofr probe` as the command line sees them; imports no torch."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pacofr.errors import UserError
from pacofr.utils.config_checks import Device, at_least

ProbeName = Literal["ridge", "linear", "conv", "tuned", "parsing"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """How an encoder is scored by what can be read from its features (`analysis.probe`)."""

    photos: Path
    """Folder with trainset/ and testset/ of photos and .pts files (68 points, iBUG order)."""
    probes: tuple[ProbeName, ...] = ("ridge", "linear", "conv")
    """ridge: regression of the landmarks from all tokens, which is close to one of pixels. linear:
    a linear map of each patch's features to heat maps, by cross-entropy. conv: a small
    convolutional one. tuned: that and the encoder trained together. parsing: a linear map to the
    regions of rendered heads."""
    heads: Path | None = None
    """Folder that `mica-ext synth-parsing` wrote, for the parsing probe."""
    labels: tuple[int, ...] = (100, 870)
    """Numbers of labelled photos (heads) that readouts are trained on; ridge takes all."""
    subsets: int = 3
    """Random subsets of the photos for every number that is less than all."""
    steps: int = 200
    """Optimiser steps of a readout of frozen features."""
    tuned_epochs: int = 30
    """Passes over the photos of a tuned encoder."""
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
        at_least(1, self, "copies", "test_copies", "batch_size", "subsets", "steps", "tuned_epochs")
        if not self.probes or not self.labels or min(self.labels) < 2:
            raise UserError("expected a probe and numbers of labelled photos, 2 at least")
        at_least(2, self, "folds")
        at_least(0, self, "seed", "shift", "turn_degrees", "stretch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeCommand:
    """Score encoders by landmarks and regions read from their features; all see the same crops.

    Further encoders are compared with the first one, photo by photo.
    """

    encoders: tyro.conf.Positional[tuple[str, ...]]
    """RUN folders, NAME:FILE (farl, mae, moco-v3, mcf), scratch:PRESET (random weights) or
    pixels:PRESET (raw pixels)."""
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
