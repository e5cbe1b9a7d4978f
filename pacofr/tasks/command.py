"""`pacofr task ...` as the command line sees it; imports no torch."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from pacofr.errors import UserError
from pacofr.tasks.config import AlignmentConfig, ParsingConfig, TaskName, Tuning
from pacofr.utils.config_checks import Device, at_least


class DataSpec:
    """NAME:ROOT of a data set."""

    def __init__(self, text: str) -> None:
        self.name, colon, root = text.partition(":")
        if not colon or not self.name or not root:
            raise UserError(f"--data {text}: expected NAME:FOLDER, such as 300w:/data/300w")
        self.root = Path(root)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Train:
    data: str
    """NAME:FOLDER of the data set."""
    encoder: str
    """RUN of `pacofr pretrain`, NAME:FILE (farl, mae, moco-v3, mcf) or scratch:PRESET."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run: metrics.jsonl, checkpoints/, last; model/ and result.json at the end."""
    test: bool = True
    """Evaluate on the data set's test split."""
    cache: Path | None = None
    """Folder for shards of the data set, read instead of it from then on."""
    device: Device = "auto"
    """Where to compute; auto is CUDA where there is one."""
    threads: int | None = None
    """CPU threads of the training process; default: one per core."""
    keep: int = 1
    """Checkpoints to keep."""
    tensorboard: bool = False
    """Write OUT/tensorboard too."""

    def __post_init__(self) -> None:
        DataSpec(self.data)
        if self.threads is not None:
            at_least(1, self, "threads")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainParsing(_Train):
    """Train face parsing on lapa, celebamask-hq or synthetic (`mica-ext synth-parsing`).

    The same command given again goes on with the run. On several GPUs:
    torchrun --nproc-per-node 8 -m pacofr task train parsing ...
    """

    config: Annotated[ParsingConfig, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainAlignment(_Train):
    """Train face alignment on 300w, aflw-19, wflw or pts (any photos with .pts files).

    The same command given again goes on with the run. On several GPUs:
    torchrun --nproc-per-node 8 -m pacofr task train alignment ...
    """

    config: Annotated[AlignmentConfig, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train necks and decoder on an encoder, frozen or tuned with them."""

    task: Annotated[
        Annotated[TrainParsing, tyro.conf.subcommand("parsing", prefix_name=False)]
        | Annotated[TrainAlignment, tyro.conf.subcommand("alignment", prefix_name=False)],
        tyro.conf.arg(name=""),
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sweep:
    encoders: tuple[str, ...]
    """Encoders as `task train --encoder` takes them."""
    data: str
    """NAME:FOLDER of the data set."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the runs; table.json at the end."""
    label_counts: tuple[int, ...] = (50, 100, 200, 870)
    """Numbers of labelled pictures."""
    tunings: tuple[Tuning, ...] = ("frozen", "tuned")
    """What happens to the encoder."""
    seeds: int = 3
    """Runs of each kind, with --seed and the following numbers."""
    cache: Path | None = None
    """Folder for shards of the data set, read instead of it from then on."""
    device: Device = "auto"
    """Where to compute; auto is CUDA where there is one."""
    threads: int | None = None
    """CPU threads; default: one per core."""

    def __post_init__(self) -> None:
        DataSpec(self.data)
        at_least(1, self, "seeds")
        if not self.encoders or not self.label_counts or not self.tunings:
            raise UserError("expected at least one of each: --encoders, --label-counts, --tunings")
        if min(self.label_counts) < 1:
            raise UserError(f"label counts must be at least 1, not {min(self.label_counts)}")
        if self.threads is not None:
            at_least(1, self, "threads")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepParsing(_Sweep):
    """Face parsing by every encoder, tuning, number of labels and seed."""

    config: Annotated[ParsingConfig, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepAlignment(_Sweep):
    """Face alignment by every encoder, tuning, number of labels and seed."""

    config: Annotated[AlignmentConfig, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Label efficiency of encoders: trains them on few and many labels, and prints a table.

    The same command given again goes on with the run at which it was stopped.
    """

    task: Annotated[
        Annotated[SweepParsing, tyro.conf.subcommand("parsing", prefix_name=False)]
        | Annotated[SweepAlignment, tyro.conf.subcommand("alignment", prefix_name=False)],
        tyro.conf.arg(name=""),
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a trained model on the test split of a data set."""

    task: tyro.conf.Positional[TaskName]
    data: str
    """NAME:FOLDER of the data set; its classes or landmarks must be the model's."""
    model: Path
    """RUN of `pacofr task train`, or its model/ folder."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the scores to this JSON file too."""
    cache: Path | None = None
    """Folder for shards of the data set, read instead of it from then on."""
    device: Device = "auto"
    """Where to compute; auto is CUDA where there is one."""
    workers: int = 2
    """Reading processes."""
    threads: int | None = None
    """CPU threads; default: one per core."""

    def __post_init__(self) -> None:
        DataSpec(self.data)
        at_least(0, self, "workers")
        if self.threads is not None:
            at_least(1, self, "threads")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict:
    """Predict landmarks or label maps on photos: the largest face of each.

    alignment writes NAME.pts, NAME.json and NAME_landmarks.png; parsing writes NAME_labels.png
    (class numbers, as a palette), NAME.json and NAME_overlay.png.
    """

    task: tyro.conf.Positional[TaskName]
    photos: tuple[Path, ...]
    """Photos, or folders of photos."""
    model: Path
    """RUN of `pacofr task train`, or its model/ folder."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the files."""
    device: Device = "auto"
    """Where to compute; auto is CUDA where there is one."""
    threads: int | None = None
    """CPU threads; default: one per core."""

    def __post_init__(self) -> None:
        if not self.photos:
            raise UserError("expected at least one photo or folder after --photos")
        if self.threads is not None:
            at_least(1, self, "threads")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Print results in the shape of the paper's Tables 1 to 6.

    The paper's rows stand beside those of the same data and protocol alone.
    """

    results: tyro.conf.Positional[tuple[Path, ...]]
    """result.json files, or runs of `pacofr task train`."""
    by_labels: Path | None = None
    """Print the scores over the number of labels instead, means and 95 % intervals over seeds, and
    write their chart to this PNG file."""

    def __post_init__(self) -> None:
        if not self.results:
            raise UserError("expected at least one run or result.json")
        if self.by_labels is not None and self.by_labels.is_dir():
            raise UserError(f"expected a PNG file to write, got the folder {self.by_labels}")


AnyTask = Annotated[
    Annotated[Train, tyro.conf.subcommand("train", prefix_name=False)]
    | Annotated[Sweep, tyro.conf.subcommand("sweep", prefix_name=False)]
    | Annotated[Evaluate, tyro.conf.subcommand("eval", prefix_name=False)]
    | Annotated[Predict, tyro.conf.subcommand("predict", prefix_name=False)]
    | Annotated[Table, tyro.conf.subcommand("table", prefix_name=False)],
    tyro.conf.ConsolidateSubcommandArgs,
]
"""The union of all commands, which tyro turns into subcommands."""
