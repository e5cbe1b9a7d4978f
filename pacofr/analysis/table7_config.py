"""Settings of `pacofr evidence`; imports nothing heavy."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from pacofr.errors import UserError
from pacofr.utils.config_checks import Device, at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvidenceConfig:
    """Every row of the paper's Table 7 and the mended method, pre-trained alike and scored by a
    landmark probe.

    Takes hours (8 rows and the further seeds of four: 16 runs of --minutes-per-run, and one for
    the perceptual network); stop it at any time and give the same command again.
    """

    shards: Path
    """Crops that `pacofr curate` wrote; the testset of --helen must not be among them."""
    helen: Path
    """Folder with trainset/ and testset/ of photos with 68 landmarks (.pts)."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for runs, probes and the table."""
    preset: str = "micro"
    """Size of the network."""
    minutes_per_run: float = 45.0
    """Length of the method's own run on this machine; all rows see as many images as it does."""
    epochs: int | None = None
    """Epochs of every run, whatever they take; instead of --minutes-per-run."""
    perceptual: bool = True
    """Train with eq. 3 through a `self:` net that is pre-trained first; without, half the time."""
    warmup_fraction: float = 1 / 8
    """Fraction of a run's steps for warm-up and incubation. The paper's is one of 32 epochs, 2,777
    steps; a 32nd of a run of some hundred steps would end before the predictor is trained at
    all."""
    seeds: int = 3
    """Seeds of the main rows; the other rows have one."""
    pilot: bool = False
    """Only estimate whether the probe's noise is below the gaps: a fifth of the minutes, main rows
    only, two seeds, in OUT/pilot."""
    device: Device = "auto"
    """Where to train and probe."""
    threads: int | None = None
    """CPU threads; default: one per core."""

    def __post_init__(self) -> None:
        at_least(0, self, "minutes_per_run")
        if not 0.0 < self.warmup_fraction < 1.0:
            raise UserError(
                f"the warm-up fraction must lie between 0 and 1, not {self.warmup_fraction}"
            )
        at_least(1, self, "seeds")
        if self.epochs is not None:
            at_least(1, self, "epochs")
        if self.threads is not None:
            at_least(1, self, "threads")
