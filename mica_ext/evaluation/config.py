"""Options of `mica-ext evaluate-expression` and `mica-ext compare-encoders`; no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mica_ext.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ExpressionEvaluationConfig:
    """Posed meshes of model packs on people held out: distances by region and by expression.

    Samples of `mica-ext samples` that nothing was trained on (split test), for one head. Each pack
    is scored as MICA alone (its identity, or the mean head, without expression), with the training
    samples' mean expression, by the fit to dense points, and by its expression network alone and as
    the start of the fit. Meshes are aligned rigidly by the face.
    """

    data: Annotated[Path, tyro.conf.Positional]
    """Folder of the samples."""
    packs: tuple[str, ...] = ("auto",)
    """Model packs for the samples' head: auto, names in the store or folders; NAME=PACK gives a
    name."""
    head: str | None = None
    """The samples' head, in place of the packs'."""
    split: Literal["test", "val", "train"] = "test"
    """Split that is measured on."""
    every: int = 1
    """Take every n-th sample."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("expression")
    """Folder for evaluation.md and evaluation.json."""

    def __post_init__(self) -> None:
        if not self.packs:
            raise UserError("expected --packs with one or more model packs")
        if self.every < 1:
            raise UserError(f"--every: expected 1 or more, got {self.every}")


@dataclass(frozen=True, kw_only=True)
class CompareEncodersConfig:
    """Which encoder reads expressions best: trains a branch on each, alike, and measures all.

    Every encoder, frozen and tuned, with every seed, gets the same rendered faces, samples and
    steps. Judged on rendered people who were never trained on (posed distance by region) and, with
    --helen, on photos. Differences are paired, with 95 % intervals over faces and seeds. Stopped,
    the same command goes on. A run of 2,000 steps takes about 20 core minutes at 64 px.
    """

    encoders: Annotated[tuple[str, ...], tyro.conf.Positional]
    """NAME=KIND:WEIGHTS, such as mine=pacofr:runs/micro or FaRL=farl:FaRL.pth; NAME=random:WEIGHTS
    has the same network with random weights. WEIGHTS,WEIGHTS,... gives each seed its own
    pre-training."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the runs, encoders.md and encoders.json."""
    tuning: tuple[Literal["frozen", "tuned"], ...] = ("frozen", "tuned")
    """Whether encoders are trained along."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of branch, faces and order."""
    head: str = "auto"
    """Head that is trained and judged on: auto is ict where it is installed, else anthro."""
    data: tuple[Path, ...] = ()
    """Folders of `mica-ext samples` for the head, as of `mica-ext train`."""
    rendered: float = 0.5
    """Share of rendered faces, with --data."""
    steps: int = 2000
    """Of each run."""
    batch: int = 32
    """Crops per step."""
    learning_rate: float = 5e-4
    """Peak rate."""
    encoder_rate: float = 0.1
    """Of tuned encoders' rate over the branch's."""
    width: int = 192
    """Of the branch."""
    precision: Literal["bf16", "fp32"] = "fp32"
    """Of the networks in training."""
    people: int = 100
    """Rendered people to judge on."""
    helen: Path | None = None
    """Folder whose testset/ of photos with .pts files is judged on, too."""
    workers: int = 1
    """Rendering processes of a run."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        if not self.encoders or not self.seeds or not self.tuning:
            raise UserError("expected an encoder, a seed and a tuning at least")
        if len(set(self.seeds)) < len(self.seeds) or len(set(self.tuning)) < len(self.tuning):
            raise UserError("expected each of --seeds and --tuning once")
        if min(self.seeds) < 0:
            raise UserError("--seeds: expected 0 or more")
        if self.people < 2:
            raise UserError(f"--people: expected 2 or more, got {self.people}")
