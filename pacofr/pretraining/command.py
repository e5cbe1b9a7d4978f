"""`pacofr pretrain PRESET ...` as the command line sees it; imports no torch."""

import dataclasses
import functools
import operator
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pacofr.data.remote.location import LocationArgument
from pacofr.pretraining.config import PretrainConfig
from pacofr.pretraining.presets import PRESETS
from pacofr.utils.config_checks import Device, at_least

RowName = Literal[
    "1-token",
    "1x196",
    "3x196-random",
    "5x196-random",
    "3x196-predictor",
    "5x196-predictor",
    "3x196-no-incubation",
    "mended",
]
"""The keys of `presets.ABLATIONS`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainCommand:
    """Pre-train an encoder on face crops. The same command given again goes on with the run.

    On several GPUs: torchrun --nproc-per-node 8 -m pacofr pretrain PRESET ...
    """

    shards: LocationArgument
    """Folder of crops that `pacofr curate` wrote, or its URL, with --data.cache."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run: metrics.jsonl, pictures/, checkpoints/, last; model/ when it is done."""
    row: RowName | None = None
    """A row of the paper's Table 7, or the mended method; sets codebook and predictor."""
    init_from: Path | None = None
    """A run, or its model/, whose weights this one begins with: the encoder, and every other part
    of the same shape."""
    device: Device = "auto"
    """Where to compute; auto is CUDA where there is one."""
    threads: int | None = None
    """CPU threads of the training process; default: one per core."""
    keep: int = 2
    """Checkpoints to keep."""
    tensorboard: bool = False
    """Write RUN/tensorboard too."""
    profile: bool = False
    """Write RUN/profile/trace.json: what a few steps spend their time on."""
    config: Annotated[PretrainConfig, tyro.conf.arg(name="")]

    def __post_init__(self) -> None:
        if self.threads is not None:
            at_least(1, self, "threads")


def _preset_command(name: str) -> Any:
    """The command whose flags have a preset's values as their defaults."""
    make = PRESETS[name]
    text = " ".join((make.__doc__ or "").split())
    command = functools.partial(PretrainCommand, config=make())
    subcommand = tyro.conf.subcommand(name, description=text, prefix_name=False)
    return Annotated[command, subcommand]


AnyPreset = functools.reduce(operator.or_, map(_preset_command, PRESETS))
"""The union of all presets' commands, which tyro turns into subcommands."""
