"""Settings of the 2D tasks: plain frozen data, no torch.

Defaults are FaRL's protocol (Zheng et al. 2022), which the paper follows. What is None depends on
the data set or on the encoder and is filled in by `model.resolve`.
"""

import dataclasses
from typing import Literal

from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.utils.config_checks import at_least, at_most

Tuning = Literal["frozen", "tuned"]
TaskName = Literal["parsing", "alignment"]

Heatmaps = Literal["sigmoid", "softmax"]

MODEL_FORMAT, MODEL_VERSION = "pacofr-task", 1
NARROW_ENCODER = 384
"""Encoders narrower than this get a narrow head by default."""
FULL_WIDTH, NARROW_WIDTH = 768, 96


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Necks and decoder on top of an encoder."""

    width: int | None = None
    """Channels of necks and decoder; default: 768 (FaRL's), 96 for encoders narrower than 384."""
    layers: tuple[int, int, int, int] = (2, 4, 8, 12)
    """Encoder blocks that are read, counted from 1 for 12 blocks and scaled for shallower ones
    (the paper's; FaRL reads 4, 6, 8 and 12)."""
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    """Grids of the pyramid pooling on the coarsest level."""
    dropout: float = 0.1
    """Probability with which a channel is dropped before the last layer."""

    def __post_init__(self) -> None:
        at_least(0, self, "dropout")
        if self.width is not None:
            at_least(1, self, "width")
            at_most(4096, self, "width")
        if self.dropout >= 1.0:
            raise UserError(f"dropout must lie below 1, not {self.dropout}")
        if list(self.layers) != sorted(set(self.layers)) or not set(self.layers) <= {*range(1, 13)}:
            raise UserError(f"head layers must rise and lie in 1..12, not {self.layers}")
        if not self.pool_scales or not all(1 <= scale <= 64 for scale in self.pool_scales):
            raise UserError(f"pool scales must lie in 1..64, not {self.pool_scales}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskOptimConfig:
    """AdamW and its schedule."""

    encoder_lr: float = 1e-4
    """Learning rate of a tuned encoder."""
    head_lr: float = 1e-3
    """Learning rate of necks and decoder."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-5
    schedule: Literal["step", "cosine"] = "step"
    """step: a tenth after `milestone`; cosine: 5 % linear warm-up, then a half cosine to 0."""
    milestone: float = 200.0
    """Epochs after which both learning rates drop to a tenth."""

    def __post_init__(self) -> None:
        at_least(0, self, "encoder_lr", "head_lr", "weight_decay", "milestone")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise UserError(f"betas must lie between 0 and 1, not {self.betas}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What both tasks have in common."""

    tuning: Tuning = "tuned"
    """Train the encoder, too, or keep it frozen."""
    resolution: int | None = None
    """Side of the encoder's input [px], e.g. 224 or 448; default: as it was pre-trained."""
    frame: int | None = None
    """Side of the warped picture that is augmented and then resized to the encoder's input [px];
    default: 512, or 256 for encoders whose input is smaller than 224 px."""
    head: HeadConfig = HeadConfig()
    optim: TaskOptimConfig = TaskOptimConfig()
    labels: int | None = None
    """Train on so many pictures, a subset drawn by `seed`; default: on all."""
    epochs: int | None = None
    """Passes over the pictures; default: the data set's."""
    steps: int | None = None
    """Optimiser steps, instead of epochs."""
    batch_size: int = 40
    """Pictures per step over all processes and accumulation steps."""
    accumulate: int = 1
    """Micro-batches per step."""
    ema_decay: float = 0.999
    """Moving average of the weights, which is evaluated and published."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16: autocast, the losses in float32; auto: bf16 where the device multiplies it natively."""
    compile: bool = False
    """torch.compile the model."""
    workers: int = 4
    """Reading processes per training process."""
    seed: int = 0
    """Every augmentation is a function of (seed, epoch, sample)."""
    validate_epochs: int = 0
    """Evaluate on the test split after every so many epochs; 0: only at the end."""
    checkpoint_minutes: float = 10.0
    """Time between two checkpoints."""

    def __post_init__(self) -> None:
        at_least(1, self, "batch_size", "accumulate")
        at_least(0, self, "workers", "seed", "validate_epochs", "checkpoint_minutes")
        for name in ("resolution", "frame", "labels", "epochs", "steps"):
            if getattr(self, name) is not None:
                at_least(1, self, name)
        for name in ("resolution", "frame"):
            if getattr(self, name) is not None:
                at_most(4096, self, name)
        if not 0.0 <= self.ema_decay < 1.0:
            raise UserError(f"ema decay must lie between 0 and 1, not {self.ema_decay}")
        if self.epochs is not None and self.steps is not None:
            raise UserError("give --epochs or --steps, not both")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParsingConfig(TaskConfig):
    """A class for every pixel; cross-entropy over the frame."""

    warp: float | None = None
    """Tanh warp of the frame, 0 to 1; default: the data set's (LaPa 0.8, CelebAMask-HQ 0)."""
    shift: float = 0.01
    """Largest shift, in sides of the frame (uniform)."""
    rotation: float = 0.314
    """Standard deviation of the rotation [rad] (normal)."""
    scaling: float = 0.1
    """Standard deviation of the scale (normal)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, self, "shift", "rotation", "scaling")
        if self.warp is not None and not 0.0 <= self.warp <= 1.0:
            raise UserError(f"warp must lie between 0 and 1, not {self.warp}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignmentConfig(TaskConfig):
    """Landmarks by heat maps; distance of the points plus cross-entropy of the maps."""

    optim: TaskOptimConfig = TaskOptimConfig(head_lr=1e-2)
    crop_scale: float | None = None
    """Fraction of the frame that the face box fills; default: the data set's (300W, WFLW 0.8)."""
    shift: float = 0.05
    """Largest shift, in sides of the frame; this and the next two are uniform."""
    rotation: float = 0.174
    """Largest rotation [rad]."""
    scaling: float = 0.1
    """Largest change of `crop_scale`."""
    heatmaps: Heatmaps = "sigmoid"
    """sigmoid: each pixel's own probability and binary cross-entropy (FaRL's). softmax: a
    distribution over the map and its cross-entropy, which short trainings learn from much sooner:
    there all pixels compete, where at first an empty map is nearly right for each of them."""
    start_logit: float = 0.0
    """What heat maps begin with. FaRL's begin at 0, half full, from where its long trainings get to
    nearly empty ones; short ones get further from -4 (Lin et al. 2017, section 4.1)."""
    heatmap_size: int = 128
    """Side of the target heat maps [px]."""
    heatmap_radius: float = 5.0
    """Radius of the targets' discs [px]."""
    mirror: float = 0.0
    """Probability of mirroring a training picture (68 landmarks only); FaRL mirrors none."""
    hold_gb: float = 0.0
    """Decoded photos that each reading process keeps in memory [GB], so that small sets are decoded
    once and not in every epoch; changes no number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, self, "shift", "rotation", "scaling", "heatmap_radius", "hold_gb")
        at_least(1, self, "heatmap_size")
        at_most(1024, self, "heatmap_size")
        if not -20.0 <= self.start_logit <= 20.0:
            raise UserError(f"start logit must lie between -20 and 20, not {self.start_logit}")
        if not 0.0 <= self.mirror <= 1.0:
            raise UserError(f"mirror must lie between 0 and 1, not {self.mirror}")
        if self.crop_scale is not None and not 0.1 <= self.crop_scale <= 2.0:
            raise UserError(f"crop scale must lie between 0.1 and 2, not {self.crop_scale}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskModelConfig:
    """What a trained task model is; stands in its config.json."""

    task: TaskName
    data: str
    """Name of the data set, whose classes or landmarks it predicts."""
    outputs: int
    """Number of classes or landmarks."""
    encoder: VitConfig
    head: HeadConfig
    frame: int
    """Side of the warped picture [px]."""
    warp: float = 0.0
    """Tanh warp of the frame (parsing)."""
    crop_scale: float = 1.0
    """Fraction of the frame that the face box fills (alignment)."""
    heatmaps: Heatmaps = "sigmoid"
    """How points are read from the logits (alignment)."""

    def __post_init__(self) -> None:
        at_least(1, self, "outputs", "frame")
        at_most(4096, self, "outputs", "frame")
        if not 0.0 <= self.warp <= 1.0 or not 0.1 <= self.crop_scale <= 2.0:
            raise UserError(f"warp and crop scale out of range: {self.warp}, {self.crop_scale}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedWith:
    """How a task model was trained; stands in its config.json."""

    encoder: str
    """As the command line named it, without folders."""
    tuning: Tuning
    labels: int
    """Pictures trained on."""
    steps: int
    seed: int
    deviations: tuple[str, ...]
    """From the protocol and data of the paper, in words."""


def default_width(encoder: VitConfig) -> int:
    """Width of the head for an encoder."""
    return FULL_WIDTH if encoder.width >= NARROW_ENCODER else NARROW_WIDTH


def default_frame(encoder: VitConfig) -> int:
    """Side of the frame for an encoder [px]."""
    return 512 if encoder.image_size >= 224 else 256
