"""The `pacofr` command: parse, then import what the command needs. `--help` never imports torch."""

import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from pacofr.config import ABLATIONS, PRESETS, PretrainConfig
from pacofr.errors import exit_with_one_line

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
Device = Literal["auto", "cpu", "cuda", "mps"]


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
        from pacofr.data import ShardCrops
        from pacofr.pretrain import Place, pretrain

        config = self.config if self.row is None else ABLATIONS[self.row].apply(self.config)
        side = config.model.encoder.image_size
        crops = ShardCrops(self.shards, side=side, config=config.data, seed=config.seed)
        place = Place(
            out=self.out, device=self.device, keep=self.keep, tensorboard=self.tensorboard
        )
        return pretrain(config, crops, place)


def parse_pretrain(arguments: Sequence[str]) -> Pretrain:
    """`pretrain PRESET ...`."""
    presets = {
        name: (
            (make.__doc__ or "").strip(),
            Pretrain(shards=tyro.MISSING, out=tyro.MISSING, config=make()),
        )
        for name, make in PRESETS.items()
    }
    return tyro.extras.overridable_config_cli(
        presets, prog="pacofr pretrain", description=Pretrain.__doc__, args=arguments
    )


class Command(NamedTuple):
    """A command: what the overview says of it, and how its flags become something to run."""

    summary: str
    parse: Callable[[Sequence[str]], Pretrain]


COMMANDS = {
    "pretrain": Command("pre-train an encoder on shards of face crops", parse_pretrain),
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
    try:
        command = COMMANDS[name].parse(rest)
    except ValueError as error:  # a config's own checks
        print(f"error: {error}; see pacofr {name} --help", file=sys.stderr)
        return 2
    main_process = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(
        level=logging.INFO if main_process else logging.WARNING, format="%(message)s"
    )
    return exit_with_one_line(command.run)


def _overview() -> str:
    lines = [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: pacofr COMMAND ...", "", *lines, "", "pacofr COMMAND --help says more"]
    )
