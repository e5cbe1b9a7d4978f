"""A small training task that uses all of the engine; also run as a script by tests that kill it.

python tests/helpers/training_toy.py OUT [--slow SECONDS] [--accumulate N] [--workers N] ...
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pacofr.engine.batches.sampling import MixturePlan, MixtureSource, RankBatch
from pacofr.engine.checkpoint import write_model
from pacofr.engine.distributed import World, process_group
from pacofr.engine.step_metrics import StepLoss
from pacofr.engine.task import RunOptions, Stage, StageData, TrainerConfig, TrainingTask
from pacofr.engine.trainer import fit
from pacofr.models.global_batch_norm import use_global_batch_norm

BATCH = 9
FEATURES = 6


class ToyBatch(NamedTuple):
    images: Float[Tensor, "b 3 4 4"]
    targets: Float[Tensor, " b"]


class ReadToy:
    """Inputs that depend on (source, epoch, index); `broken` is a (source, index) that is NaN."""

    def __init__(self, slow: float = 0.0, broken: tuple[int, int] | None = None) -> None:
        self.slow, self.broken = slow, broken

    def __call__(self, batch: RankBatch) -> ToyBatch:
        time.sleep(self.slow)
        images = []
        for source, epoch, index in zip(*(column.tolist() for column in batch), strict=True):
            image = np.random.default_rng([source, index]).normal(size=(3, 4, 4))
            image += 0.05 * np.random.default_rng([source, epoch, index]).normal(size=(3, 4, 4))
            images.append(image * (np.nan if (source, index) == self.broken else 1.0))
        pixels = torch.from_numpy(np.stack(images)).float()
        return ToyBatch(pixels, pixels.nan_to_num().mean(dim=(1, 2, 3)) ** 2)


class ToyNet(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        convolution = nn.Conv2d(3, FEATURES, 3, bias=False)
        self.body = nn.Sequential(convolution, nn.BatchNorm2d(FEATURES), nn.ReLU())
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(FEATURES, 1)

    def forward(self, images: Float[Tensor, "b 3 4 4"]) -> Float[Tensor, " b"]:
        return self.head(self.drop(self.body(images).mean(dim=(2, 3))))[:, 0]


class NamedParts(nn.Module):
    """Has every kind of parameter that the optimiser tells apart: matrices, norms, tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.codebook = nn.Module()
        self.codebook.tokens = nn.Parameter(torch.ones(5, 2, 3))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 4))

    def forward(self, x: Float[Tensor, "b 3"]) -> Float[Tensor, ""]:
        return self.norm(self.body(x)).sum() + self.codebook.tokens.sum() + self.cls_token.sum()


class Toy(TrainingTask[ToyBatch]):
    """Two stages on two sources; the second begins anew from the moving average."""

    stages = (Stage("first", 7), Stage("second", 8, restart=True))
    resume_may_change = frozenset({"slow", "slow_export"})
    exports_in_background = True

    def __init__(
        self,
        world: World,
        *,
        slow: float = 0.0,
        slow_export: float = 0.0,
        dropout: float = 0.3,
        broken: tuple[int, int] | None = None,
    ) -> None:
        self.run_config = {"slow": slow, "slow_export": slow_export, "dropout": dropout}
        self.slow_export = slow_export
        self.read = ReadToy(slow, broken)
        torch.manual_seed(0)
        self.model = ToyNet(dropout)
        if world.size > 1:
            use_global_batch_norm(self.model)

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters())

    def data(self, stage: Stage) -> StageData[ToyBatch]:
        first = stage.name == "first"
        sources = (
            MixtureSource(11, 5 if first else 2, stream=1),
            MixtureSource(7, 4 if first else 7, stream=2),
        )
        return StageData(MixturePlan(sources, seed=0, first_step=0 if first else 7), self.read)

    def learning_rate(self, step: int) -> float:
        return 1e-2 / (1 + step)

    def loss(self, forward: nn.Module, batch: ToyBatch, stage: Stage) -> StepLoss:
        off = forward(batch.images) - batch.targets
        return StepLoss({"loss": off.square().mean(), "off": off.mean()}, (off > 0).sum()[None])

    def validate(self, model: nn.Module) -> dict[str, float]:
        index = np.arange(5)
        images, targets = self.read(RankBatch(0 * index, 0 * index, index))
        with torch.no_grad():
            return {"validation": float((model(images) - targets).square().mean())}

    def record(self, stage: Stage, progress: object, metrics: object) -> dict[str, object]:
        return {"stage": stage.name, "above": int(metrics.counts[0])}

    def export(self, folder: Path, model: nn.Module) -> None:
        write_model(folder, model, {"kind": "toy"})
        time.sleep(self.slow_export)


def run_toy(out: Path, *, accumulate: int = 1, workers: int = 0, save: int = 0, **toy) -> int:
    """Train; the exit code."""
    config = TrainerConfig(
        precision="fp32",
        accumulate=accumulate,
        clip_norm=0.5,
        ema_decay=0.9,
        workers=workers,
        save_steps=save,
        validate_steps=5,
    )
    with process_group("cpu") as world:
        return fit(Toy(world, **toy), config, RunOptions(out=out, device="cpu"), world)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--slow-export", type=float, default=0.0)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save", type=int, default=0)
    given = parser.parse_args()

    from pacofr.errors import run_command

    torch.set_num_threads(1)
    return run_command(lambda: run_toy(**vars(given)))


if __name__ == "__main__":
    sys.exit(main())
