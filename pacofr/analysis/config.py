"""`pacofr show` and `pacofr probe` as the command line sees them; torch comes with `run`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from pacofr.errors import UserError
from pacofr.pretraining.config import Device
from pacofr.utils.config_checks import at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """How a frozen encoder is judged by its landmarks (`pacofr.probe`)."""

    photos: Path
    """Folder with trainset/ and testset/ of photos and .pts files (68 points, iBUG order)."""
    copies: int = 3
    """Displaced copies of every training photo, every second one mirrored."""
    test_copies: int = 4
    """The same of every test photo, whose error is their mean: less of the noise is the crop's."""
    shift: float = 0.04
    """Largest displacement of a crop, as a share of the face's 200 px."""
    turn_degrees: float = 12.0
    """Largest rotation of a crop."""
    stretch: float = 0.1
    """Largest relative change of a crop's scale."""
    folds: int = 4
    """Parts of the training photos for choosing the ridge's strength."""
    seed: int = 0
    """Of the training crops' displacements and of the folds; the test crops are always the same."""
    batch_size: int = 64
    """Crops per forward pass."""
    device: Device = "cpu"
    """Where to encode; the regression is solved on the CPU."""

    def __post_init__(self) -> None:
        at_least(1, self, "copies", "batch_size")
        at_least(2, self, "folds")
        at_least(0, self, "seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """What `pacofr show` draws."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, or their model/ folders."""
    shards: Path
    """Folder of crops that `pacofr curate` wrote."""
    out: Path
    """Folder for the pictures."""
    faces: int = 8
    """Faces to reconstruct."""
    grouped: int = 2000
    """Faces to average and to group by their choices."""
    seed: int = 0
    """Of the faces and masks."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("at least one run is needed")
        at_least(1, self, "faces", "grouped")
        at_least(0, self, "seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Show:
    """Draw what some runs have learnt: codebooks, reconstructions, patches by their choice."""

    config: Annotated[ShowConfig, tyro.conf.arg(name="")]

    def run(self) -> int:
        """Draw; the process's exit code."""
        from pacofr.analysis.visualize import show

        for path in show(self.config):
            print(path)
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """Score frozen encoders by a linear probe of 68 landmarks; all see the same crops."""

    encoders: tyro.conf.Positional[tuple[str, ...]]
    """RUN folders, NAME:FILE (farl, mae, moco-v3, mcf) or scratch:PRESET."""
    out: Path | None = None
    """Write the scores, photo by photo, to this JSON file too."""
    config: Annotated[ProbeConfig, tyro.conf.arg(name="")]

    def run(self) -> int:
        """Probe one after the other; the process's exit code."""
        from pacofr.analysis.linear_probe import encoder_of, probe
        from pacofr.utils.files import write_json

        if not self.encoders:
            raise UserError("expected at least one encoder: RUN, NAME:FILE or scratch:PRESET")
        if self.out is not None and (self.out.is_dir() or not self.out.parent.is_dir()):
            raise UserError(f"expected a JSON file in a folder that is there, got {self.out}")
        scores = {}
        for spec in self.encoders:
            result = probe(encoder_of(spec), self.config)
            scores[spec] = result._asdict()
            print(
                f"{spec}: NME {result.nme:.3f} % [{result.low:.3f}, {result.high:.3f}],"
                f" mean shape {result.mean_shape_nme:.3f} %",
                flush=True,
            )
        if self.out is not None:
            content = {"version": 1, "config": dataclasses.asdict(self.config), "scores": scores}
            write_json(self.out, content)
        return 0
