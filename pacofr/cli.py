"""The `pacofr` command: parse, then import what the command needs. `--help` never imports torch."""

import dataclasses
import functools
import logging
import operator
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Protocol, runtime_checkable

import tyro

from pacofr.analysis.config import Probe, Show
from pacofr.analysis.table7_config import EvidenceConfig
from pacofr.data.curation.config import CurateConfig
from pacofr.errors import run_command
from pacofr.pretraining.config import ABLATIONS, PRESETS, Device, PretrainConfig

RowName = Literal[
    "1-token",
    "1x196",
    "3x196-random",
    "5x196-random",
    "3x196-predictor",
    "5x196-predictor",
    "3x196-no-incubation",
]
"""The keys of `config.ABLATIONS`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Pre-train an encoder on face crops. The same command given again goes on with the run.

    On several GPUs: torchrun --nproc-per-node 8 -m pacofr pretrain PRESET ...
    """

    shards: Path
    """Folder of crops that `pacofr curate` wrote."""
    out: Path
    """Folder of the run: metrics.jsonl, pictures/, checkpoints/, last; model/ when it is done."""
    row: RowName | None = None
    """A row of the paper's Table 7; sets the codebook and the predictor accordingly."""
    device: Device = "auto"
    """Where to compute; auto is CUDA where there is one."""
    keep: int = 2
    """Checkpoints to keep."""
    tensorboard: bool = False
    """Write RUN/tensorboard too."""
    config: Annotated[PretrainConfig, tyro.conf.arg(name="")]

    def run(self) -> int:
        """Train; the process's exit code."""
        from pacofr.pretraining.data import ShardCrops
        from pacofr.pretraining.train import Place, pretrain

        config = self.config if self.row is None else ABLATIONS[self.row].apply(self.config)
        side = config.model.encoder.image_size
        crops = ShardCrops(self.shards, side=side, config=config.data, seed=config.seed)
        place = Place(
            out=self.out, device=self.device, keep=self.keep, tensorboard=self.tensorboard
        )
        return pretrain(config, crops, place)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curate:
    """Cut aligned face crops from photos: pacofr curate SOURCE... --out SHARDS

    Given again, it goes on where it was stopped.
    """

    config: Annotated[CurateConfig, tyro.conf.arg(name="")]

    def run(self) -> int:
        """Curate; prints what was kept and what was not."""
        from pacofr.data.curation.curate import curate

        stats = curate(self.config)
        rejected = ", ".join(f"{count.photos} {count.reason}" for count in stats.rejected)
        print(f"{stats.kept} of {stats.photos} photos kept: {self.config.out}")
        print(f"rejected: {rejected or 'none'}")
        if not stats.complete:
            print("other parts are still to be done; the index follows the last of them")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """Pre-train every row of Table 7 alike and probe it; given again, it goes on."""

    config: Annotated[EvidenceConfig, tyro.conf.arg(name="")]

    def run(self) -> int:
        """Do what is left to do; the process's exit code."""
        from pacofr.analysis.table7 import evidence

        return evidence(self.config)


def parse_curate(arguments: Sequence[str]) -> Curate:
    """`curate SOURCE... --out SHARDS`: what stands before the first flag are the sources."""
    named = bool(arguments) and not arguments[0].startswith("-")
    return tyro.cli(
        Curate, prog="pacofr curate", args=["--sources", *arguments] if named else arguments
    )


def parse_pretrain(arguments: Sequence[str]) -> Pretrain:
    """`pretrain PRESET ...`: the preset gives every flag of the configuration its default."""
    presets = []
    for name, make in PRESETS.items():
        text = " ".join((make.__doc__ or "").split())
        kind = functools.partial(Pretrain, config=make())
        presets.append(
            Annotated[kind, tyro.conf.subcommand(name, description=text, prefix_name=False)]
        )
    return tyro.cli(
        functools.reduce(operator.or_, presets),
        prog="pacofr pretrain",
        description=Pretrain.__doc__,
        args=arguments,
    )


@runtime_checkable
class Runs(Protocol):
    """What a command's flags become."""

    def run(self) -> int:
        """Do it; the process's exit code."""
        ...


class Command(NamedTuple):
    """A command: what the overview says of it, and how its flags become something to run."""

    summary: str
    parse: Callable[[Sequence[str]], Runs]


def _flags_of(name: str, kind: type[Runs]) -> Callable[[Sequence[str]], Runs]:
    return lambda arguments: tyro.cli(kind, prog=f"pacofr {name}", args=arguments)


COMMANDS = {
    "curate": Command("cut aligned face crops from photos", parse_curate),
    "pretrain": Command("pre-train an encoder on crops", parse_pretrain),
    "show": Command("draw what some runs have learnt", _flags_of("show", Show)),
    "probe": Command("score frozen encoders by their landmarks", _flags_of("probe", Probe)),
    "evidence": Command("the paper's Table 7 on real faces", _flags_of("evidence", Evidence)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"error: no command {name!r}; use one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    main_process = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(
        level=logging.INFO if main_process else logging.WARNING, format="%(message)s"
    )
    return run_command(lambda: COMMANDS[name].parse(rest).run())


def _overview() -> str:
    lines = [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: pacofr COMMAND ...", "", *lines, "", "pacofr COMMAND --help says more"]
    )
