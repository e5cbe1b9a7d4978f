"""Options of `mica-ext train-identity`; imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mica_ext.errors import UserError


@dataclass(frozen=True, kw_only=True)
class IdentityTrainingConfig:
    """Train MICA's identity network on its data sets; the defaults are MICA's own (mica.yml).

    MICA's run: one GPU, 160,000 steps of 8 people with 2 photos each, from ArcFace's Glint360K
    R100 (`--init backbone.pth`). Several GPUs: `torchrun --nproc-per-node N -m mica_ext
    train-identity ...`, with the same numbers. The folder of the run is a model pack:
    `reconstruct photo.jpg --out mesh.obj --model RUN`.
    """

    root: Annotated[Path, tyro.conf.Positional]
    """Folder of MICA's data sets: NAME/arcface_input and NAME/FLAME_parameters."""
    out: Path
    """Folder of the run; started again with the same options, it goes on where it stopped."""
    init: Path
    """Weights to start from: ArcFace's backbone.pth (IResNet-100), mica.tar, or a folder of
    identity weights (`identity` of a pack)."""
    lists: Path | None = None
    """Folder of MICA's image lists (its datasets/image_paths). Without: every crop of an actor."""
    data_sets: tuple[str, ...] = (
        "LYHM",
        "D3DFACS",
        "BU3DFE",
        "FRGC",
        "STIRLING",
        "FACEWAREHOUSE",
        "BP4D",
    )
    """To train on."""
    validation: tuple[str, ...] = ("FLORENCE",)
    """Data sets to measure on; none: no measure."""
    skip_missing: bool = False
    """Leave out listed photos and people without files."""
    head: str = "flame2020"
    """FLAME 2020's generic head; its masks give the regions (`flame-assets convert --masks`)."""
    trained: Literal["mica", "mapping", "all"] = "mica"
    """mica: the mapping network and ArcFace's last stage (layer4, bn2, fc, features); mapping: the
    mapping network; all: everything. Batch normalisation of what rests stays in evaluation mode."""
    regions: Literal["mica", "uniform"] = "mica"
    """Weights of the loss: mica: face 150, ears and eyeballs 0.01, else 1; or 1 everywhere."""
    steps: int = 160_000
    """Optimiser steps."""
    batch: int = 8
    """People per step."""
    photos: int = 2
    """Photos of each of them."""
    learning_rate: float = 1e-5
    """Of the mapping network (AdamW, constant)."""
    arcface_learning_rate: float = 1e-5
    """Of ArcFace."""
    weight_decay: float = 2e-4
    """Of both."""
    precision: Literal["bf16", "fp32"] = "fp32"
    """Of the networks; the loss is always in fp32."""
    accumulate: int = 1
    """Parts that a batch is worked off in; statistics of batch normalisation are then of a part."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    workers: int = 4
    """Reading processes; 0 reads between the steps."""
    seed: int = 0
    """Every random draw follows from (seed, epoch, person)."""
    save_minutes: float = 10.0
    """Time between two checkpoints."""
    validate_every: int = 300
    """Steps between two measurements."""
    publish: Literal["best", "last"] = "best"
    """Weights of the run's model/: best: of the lowest validation loss, averaged over the last 7
    validations, as MICA's validator chooses; last: of the last step."""
    tensorboard: bool = False
    """Write OUT/tensorboard too."""
    licence: str = (
        "non-commercial research: MICA's data sets, FLAME and ArcFace's weights; none of them may "
        "be used commercially"
    )
    """What the weights' config.json says of their licence."""

    def __post_init__(self) -> None:
        if not self.data_sets:
            raise UserError("expected at least one data set: --data-sets NAME")
        for name in ("steps", "batch", "photos", "accumulate"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name}: expected at least 1, got {getattr(self, name)}")
        if self.workers < 0 or self.validate_every < 0 or not self.save_minutes > 0:
            raise UserError(
                "expected --workers and --validate-every of 0 or more, --save-minutes above 0"
            )
        for name in ("learning_rate", "arcface_learning_rate"):
            if not 0 < getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag}: expected between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < 1:
            raise UserError(f"--weight-decay: expected 0 to 1, got {self.weight_decay}")
        both = {name.upper() for name in self.data_sets} & {n.upper() for n in self.validation}
        if both:
            raise UserError(f"--validation: {sorted(both)[0]} is trained on as well; leave it out")
