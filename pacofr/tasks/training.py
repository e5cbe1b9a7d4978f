"""What both tasks' trainings have in common, on the engine: `TaskTraining`.

    pacofr task train alignment --data 300w:ROOT --encoder RUN --out TASK_RUN       one process
    torchrun --nproc-per-node 8 -m pacofr task train ...                            one node

The moving average of the weights is evaluated on the test split and published.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from pacofr.engine.batches.sampling import MixturePlan, MixtureSource, RankBatch
from pacofr.engine.checkpoint import Progress
from pacofr.engine.device import resolve_precision
from pacofr.engine.distributed import World
from pacofr.engine.step_metrics import StepMetrics
from pacofr.engine.task import Stage, StageData, TrainerConfig, TrainingTask
from pacofr.errors import UserError
from pacofr.models.encoders import FaceEncoder
from pacofr.models.global_batch_norm import use_global_batch_norm
from pacofr.tasks.config import (
    TaskConfig,
    TaskModelConfig,
    TrainedWith,
    default_frame,
    default_width,
)
from pacofr.tasks.evaluation import Scores
from pacofr.tasks.model import TaskModel, new_task_model, save_task_model
from pacofr.tasks.records import Split

Batch = TypeVar("Batch", bound=tuple[Tensor, ...])
Config = TypeVar("Config", bound=TaskConfig)
RESUME_MAY_CHANGE = frozenset(
    {"workers", "hold_gb", "checkpoint_minutes", "compile", "accumulate", "validate_epochs"}
)
"""Config fields that may differ on resume because they do not affect results."""
WARM_UP = 0.05
"""Part of the cosine schedule that warms up."""


class TaskTraining(TrainingTask[Batch], Generic[Batch]):
    """Training of a task model; the tasks add their batches, losses and scores.

    Args:
        config: without None where `resolved` fills it in.
        model_config: of the model to train.
        encoder: at the resolution to train at.
        train: the samples.
        test: what is evaluated; None: nothing is.
        world: this process among those that train.
        trained: how, for the model's config.json.
    """

    resume_may_change = RESUME_MAY_CHANGE
    learning_rate_flag = "--optim.head-lr"

    def __init__(
        self,
        config: TaskConfig,
        model_config: TaskModelConfig,
        encoder: FaceEncoder,
        train: Split,
        test: Split | None,
        world: World,
        trained: TrainedWith,
    ) -> None:
        self.settings, self.model_config, self.world = config, model_config, world
        self.train, self.test, self.trained = train, test, trained
        parts = world.size * config.accumulate
        if config.batch_size < 2 * parts:
            raise UserError(
                f"expected at least {2 * parts} pictures in a step (two for each of {parts} parts,"
                f" for batch normalisation), got --batch-size {config.batch_size}"
            )
        torch.manual_seed(config.seed)
        self.model = self.task_model = new_task_model(encoder, model_config)
        if config.tuning == "frozen":
            self.task_model.freeze_encoder()
        if world.size > 1:
            use_global_batch_norm(self.model)
        self.steps_per_epoch = steps_per_epoch(config, train)
        self.stages = (Stage("train", total_steps(config, train)),)
        self.run_config = {
            **dataclasses.asdict(config),
            "model": dataclasses.asdict(model_config),
            "encoder_name": trained.encoder,
            "data": {"name": train.data, "fingerprint": train.fingerprint},
        }

    def read(self) -> Callable[[RankBatch], Batch]:
        """Makes the training batches."""
        raise NotImplementedError

    def scores(self, model: nn.Module) -> Scores:
        """Scores on the test split."""
        raise NotImplementedError

    def compiled_parts(self) -> Iterable[nn.Module]:
        """The encoder's transformer blocks."""
        return self.task_model.encoder.vit.blocks

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW; a tuned encoder has a learning rate of its own."""
        optim = self.settings.optim
        parts = {"encoder": [], "head": []}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                parts["encoder" if name.startswith("encoder.") else "head"].append(parameter)
        groups = [{"params": parts["head"], "lr_scale": 1.0}]
        if parts["encoder"]:
            scale = optim.encoder_lr / optim.head_lr if optim.head_lr else 0.0
            groups.append({"params": parts["encoder"], "lr_scale": scale})
        fused = self.world.device.type in ("cpu", "cuda")
        return torch.optim.AdamW(
            groups, lr=0.0, betas=optim.betas, weight_decay=optim.weight_decay, fused=fused
        )

    def data(self, stage: Stage) -> StageData[Batch]:
        """The samples again and again, shuffled anew; a batch may span two passes."""
        source = MixtureSource(len(self.train.samples), self.settings.batch_size, 0)
        return StageData(MixturePlan((source,), self.settings.seed), self.read())

    def learning_rate(self, step: int) -> float:
        """Of necks and decoder."""
        optim, total = self.settings.optim, self.stages[0].steps
        if optim.schedule == "step":
            late = step >= optim.milestone * self.steps_per_epoch
            return optim.head_lr * (0.1 if late else 1.0)
        warm_up = max(1.0, WARM_UP * total)
        if step < warm_up:
            return optim.head_lr * (step + 1) / warm_up
        return optim.head_lr * 0.5 * (1 + math.cos(math.pi * step / total))

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Scores of the moving average, as SUBSET/MEASURE."""
        if self.test is None:
            return {}
        return {
            f"{subset}/{measure}": round(value, 6)
            for subset, measures in self.scores(model).items()
            for measure, value in measures.items()
        }

    def record(
        self, stage: Stage, progress: Progress, metrics: StepMetrics
    ) -> Mapping[str, object]:
        """The seconds spent in training."""
        return {"seconds": round(progress.seconds, 1)}

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write config.json and model.safetensors."""
        assert isinstance(model, TaskModel)
        save_task_model(folder, model, self.model_config, self.trained)


def steps_per_epoch(config: TaskConfig, train: Split) -> int:
    """Batches that a pass over the samples takes."""
    return math.ceil(len(train.samples) / config.batch_size)


def total_steps(config: TaskConfig, train: Split) -> int:
    """Optimiser steps of a training."""
    return config.steps or (config.epochs or 1) * steps_per_epoch(config, train)


def trainer_config(config: TaskConfig, train: Split, device: torch.device) -> TrainerConfig:
    """How the engine carries out the training."""
    every = config.validate_epochs * steps_per_epoch(config, train)
    return TrainerConfig(
        precision=resolve_precision(config.precision, device),
        accumulate=config.accumulate,
        ema_decay=config.ema_decay,
        compile=config.compile,
        workers=config.workers,
        save_minutes=config.checkpoint_minutes,
        validate_steps=every or NEVER_BEFORE_THE_END,
    )


NEVER_BEFORE_THE_END = 1 << 40
"""Steps between validations where only the last step validates."""


def resolved(config: Config, encoder: FaceEncoder, epochs: int) -> Config:
    """The settings with everything that depends on the encoder or the data set filled in."""
    vit = encoder.config
    head = dataclasses.replace(config.head, width=config.head.width or default_width(vit))
    return dataclasses.replace(
        config,
        resolution=vit.image_size,
        frame=config.frame or default_frame(vit),
        head=head,
        epochs=None if config.steps else config.epochs or epochs,
    )
