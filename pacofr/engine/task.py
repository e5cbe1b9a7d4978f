"""What a training method tells the trainer: `TrainingTask` and the settings of a run."""

import abc
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from pacofr.engine.batches.sampling import RankBatch, SamplingPlan
from pacofr.engine.checkpoint import Json, Progress
from pacofr.engine.device import Precision
from pacofr.engine.step_metrics import StepLoss, StepMetrics
from pacofr.errors import UserError

Batch = TypeVar("Batch", bound=tuple[Tensor, ...])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a run is carried out; nothing here changes its numbers."""

    out: Path
    """Folder of the run."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    keep: int = 2
    """Checkpoints to keep."""
    tensorboard: bool = False
    """Write OUT/tensorboard too."""
    profile: bool = False
    """Write OUT/profile/trace.json: what a few steps spend their time on."""

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise UserError(f"expected to keep one checkpoint at least, got --keep {self.keep}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How the trainer carries out the steps of a task."""

    precision: Precision
    """bf16, fp16: the task's loss is computed under autocast; fp16 also with a scaled loss."""
    accumulate: int = 1
    """Micro-batches per step and rank."""
    clip_norm: float | None = None
    """Largest L2 norm of the gradient; longer ones are scaled down."""
    ema_decay: float | None = None
    """Keep an exponential moving average of the weights, and publish that."""
    compile: bool = False
    """torch.compile the task's `compiled_parts`; where that fails, log one line and train without
    it (`speed.compile_trial`)."""
    deferred: bool | None = None
    """Apply each step before the host knows its numbers, which it reads while the next one is
    computed: a step that is not finite leaves the weights alone on the device. Needs a fused
    optimiser; None: on CUDA, where waiting for every step leaves the device idle."""
    workers: int = 0
    """Reading processes per training process; 0 reads between the steps."""
    save_minutes: float = math.inf
    """Time between two checkpoints."""
    save_steps: int = 0
    """Save after every so many steps as well; 0 does not."""
    validate_steps: int = 0
    """Validate after every so many steps, and after the last one; 0 never does."""
    picture_steps: int = 0
    """Save a picture after every so many steps; 0 never does."""


class Stage(NamedTuple):
    """Consecutive steps with the same trainable parameters and the same data."""

    name: str
    steps: int
    restart: bool = False
    """Begin with a new optimiser; with a moving average, from it and with a new one."""


@dataclasses.dataclass(frozen=True)
class StageData(Generic[Batch]):
    """Where the batches of a stage come from."""

    plan: SamplingPlan
    """Which samples make which step; steps count from the beginning of the run."""
    read: Callable[[RankBatch], Batch]
    """Makes the tensors of some samples, in a reading process; a function of its argument alone."""


class TrainingTask(abc.ABC, Generic[Batch]):
    """A training method: what it trains, on what, and by which loss. `trainer.fit` does the rest.

    Batches are named tuples of tensors whose first axis counts the samples.
    """

    model: nn.Module
    """What is trained; created from the run's seed alone, the same on every rank."""
    stages: tuple[Stage, ...]
    run_config: Json
    """All that decides the run's numbers; compared when it is resumed."""
    resume_may_change: frozenset[str] = frozenset()
    """Dotted names of fields of `run_config` that may differ on resume, for they do not affect
    results."""
    implied_config: ClassVar[Json] = {}
    """Values, by dotted name, of fields of `run_config` that runs of earlier versions lack."""
    learning_rate_flag: str = "--learning-rate"
    exports_in_background: bool = False
    """Whether `export` may run in a thread, on a copy of the model, while the training goes on: it
    reads nothing else that the training changes. Checkpoints then cost the loop a copy."""

    @abc.abstractmethod
    def make_optimizer(self) -> torch.optim.Optimizer:
        """An optimiser of `model`, which is on its device by now."""

    @abc.abstractmethod
    def data(self, stage: Stage) -> StageData[Batch]:
        """The data of a stage; called when the stage begins, or the run resumes in it."""

    @abc.abstractmethod
    def learning_rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0 at the beginning of the run."""

    @abc.abstractmethod
    def loss(self, forward: nn.Module, batch: Batch, stage: Stage) -> StepLoss:
        """Loss of a micro-batch on the device; `forward` is `model`, averaging over ranks."""

    @abc.abstractmethod
    def export(self, folder: Path, model: nn.Module) -> None:
        """Write the publishable unit of `model`: config.json and model.safetensors.

        Without a moving average, model.safetensors must hold exactly `model.state_dict()`.
        """

    def flop_per_image(self, stage: Stage) -> float | None:
        """Floating-point operations of a step over its images, for the utilisation in the log."""
        return None

    def compiled_parts(self) -> Iterable[nn.Module]:
        """Parts of the model, and of other nets in the loss, that torch.compile takes one by one
        where it is asked for; the same ones at every call."""
        return (self.model,)

    def initialize(self) -> None:
        """Start the model from data; only called where there is no checkpoint to go on from."""
        return

    def begin_stage(self, stage: Stage) -> None:
        """Set which parameters a stage trains."""
        return

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Validation measures by name, on rank 0 only.

        Args:
            model: in evaluation mode; the moving average where there is one.
        """
        return {}

    def validated(
        self, model: nn.Module, progress: Progress, measured: Mapping[str, float]
    ) -> None:
        """Called on rank 0 with the measures of `validate`, before they are recorded."""
        return

    def record(
        self, stage: Stage, progress: Progress, metrics: StepMetrics
    ) -> Mapping[str, object]:
        """Further fields of the step's line in metrics.jsonl."""
        return {}

    def picture(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """An RGB picture of what the model made of the last micro-batch."""
        return None
