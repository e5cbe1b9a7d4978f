"""PaCo-FR pre-training: shards of face crops in, an encoder out.

    pacofr pretrain paper --shards SHARDS --out RUN                                    one GPU
    torchrun --nproc-per-node 8 -m pacofr pretrain paper --shards SHARDS --out RUN     one node
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \
        -m pacofr pretrain paper --shards SHARDS --out RUN                             on every node

The same command given again goes on from the last checkpoint. All processes see the same run: each
draw depends on (seed, epoch, sample) and each loss is a mean over the global batch.
"""

import contextlib
import dataclasses
import gc
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from pacofr.engine import checkpoint, distributed, optim
from pacofr.engine.checkpoint import Progress
from pacofr.engine.distributed import World
from pacofr.engine.loader import Schedule, Share, ShareSampler, iterate
from pacofr.engine.locks import alone_in
from pacofr.engine.precision import resolve_precision
from pacofr.engine.run_log import Records
from pacofr.engine.signals import StopRequest
from pacofr.errors import UserError
from pacofr.pretraining.codebook import denormalise, normalise, restructure, unpatchify
from pacofr.pretraining.config import Device, PretrainConfig, model_to_json
from pacofr.pretraining.masking import draw
from pacofr.pretraining.model import PaCoFR, PaCoFROutput, pretraining_loss
from pacofr.pretraining.perceptual import load_perceptual
from pacofr.pretraining.step_metrics import StepNumbers, Tally

LOGGER = logging.getLogger(__name__)

SAME_RUN = frozenset(
    {
        "data.workers",
        "checkpoint_minutes",
        "pictures_every",
        "compile",
        "accumulate",
        "loss.perceptual_net",
        "loss.perceptual_weights",
    }
)
"""Fields that may change between the lives of a run: they alter its pace, not its numbers. Where
the perceptual net lies is such a one; its weights' fingerprint is not."""


@runtime_checkable
class Crops(Protocol):
    """Face crops by position; a crop's flip and window are functions of (seed, epoch, position)."""

    def __len__(self) -> int:
        """Number of crops."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with the crops or their order."""
        ...

    def read(self, epoch: int, positions: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 H W"]:
        """RGB crops at the model's input size."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how a run is carried out; nothing here changes its numbers."""

    out: Path
    device: Device = "auto"
    keep: int = 2
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise UserError(f"expected to keep one checkpoint at least, got --keep {self.keep}")


class Batch(NamedTuple):
    """This rank's share of a global batch."""

    images: UInt8[Tensor, "b 3 H W"]
    mask: Bool[Tensor, "b K"]
    candidate: Int64[Tensor, "b K"]
    drop: Bool[Tensor, "b K"]

    def part(self, piece: slice, device: torch.device) -> "Batch":
        """A micro-batch, on the device."""
        return Batch(*(tensor[piece].to(device, non_blocking=True) for tensor in self))


class StepRow(NamedTuple):
    """A line of metrics.jsonl; losses are means over the global batch."""

    step: int
    """Optimiser steps done, this one included."""
    epoch: int
    images: int
    """Images seen."""
    lr: float
    loss: float
    mse: float
    perceptual: float
    cross_entropy: float
    grad_norm: float
    grad_norms: dict[str, float]
    """By part of the model: encoder, decoder, codebook, and predictor while it learns."""
    usage_entropy: float | None
    dead_share: float


class NotFiniteError(UserError):
    """A loss or a gradient is not finite; the step was not applied."""


def pretrain(config: PretrainConfig, crops: Crops, place: Place) -> int:
    """Run a pre-training or go on with it; the process's exit code: 0 done, 143 after SIGTERM."""
    with (
        distributed.membership(place.device) as world,
        distributed.lost_worker_named("in training", "give the same command again to go on"),
        memory_named(config),
        contextlib.ExitStack() as held,
    ):
        return _pretrain(config, crops, place, world, held)


def _pretrain(
    config: PretrainConfig, crops: Crops, place: Place, world: World, held: contextlib.ExitStack
) -> int:
    # ---- set-up -------------------------------------------------------------------------------
    precision = resolve_precision(config.precision, world.device)
    config = dataclasses.replace(config, precision=precision)
    schedule = Schedule(len(crops), config.batch_size, config.epochs, config.seed)
    schedule.check(world)
    per_epoch, total_steps = schedule.steps_per_epoch, schedule.total_steps
    torch.manual_seed(config.seed)

    # ---- model and optimiser ------------------------------------------------------------------
    before = checkpoint.checkpoints(place.out)
    if not before and (place.out / "model").exists():
        raise UserError(
            f"{place.out} holds a model/ that a new run would replace, and no checkpoint to go on"
            " from; give another --out"
        )
    model = PaCoFR(config.model)
    if not before:
        start_codebook(model, crops, schedule)
    model.to(world.device)
    perceptual = load_perceptual(config.loss)
    if perceptual is not None:
        perceptual.to(world.device)
    if config.compile:
        for net in filter(None, (model, perceptual)):
            net.compile()
    optimizer = optim.make_adamw(
        model,
        weight_decay=config.optim.weight_decay,
        betas=config.optim.betas,
        undecayed=["codebook."],
    )

    # ---- resume -------------------------------------------------------------------------------
    run_config = {
        **dataclasses.asdict(config),
        "shards": {"images": len(crops), "fingerprint": crops.fingerprint},
        "perceptual": {"fingerprint": perceptual and perceptual.fingerprint},
    }
    progress = Progress(step=0, images=0, seconds=0.0, world_size=world.size)
    if before:
        checkpoint.refuse_other_config(before[0], run_config, SAME_RUN)
        progress, generators = checkpoint.resume(before[0], model, optimizer)
        checkpoint.set_generators(generators[world.rank % len(generators)], world.device)
        LOGGER.info("going on from %s", before[0])
    distributed.refuse_disagreement(progress.step, world, f"the step to go on from in {place.out}")

    def save() -> None:
        records.pause()
        generators = distributed.gather_bytes(checkpoint.generator_bytes(world.device), world)
        if world.is_main:
            checkpoint.save_checkpoint(
                place.out,
                model=model,
                model_config=model_to_json(config.model),
                run_config=run_config,
                optimizer=optimizer,
                progress=progress,
                generators=generators,
                keep=place.keep,
            )
        distributed.wait_for_all(world)  # torchrun ends all once one has left

    # ---- loop ---------------------------------------------------------------------------------
    if world.is_main:
        held.enter_context(alone_in(place.out))
        if checkpoint.checkpoints(place.out) != before:
            raise UserError(
                f"another process has just written to {place.out}; give the same command again to"
                " go on from there"
            )
    records = Records(
        place.out,
        writes=world.is_main,
        first_step=progress.step,
        total_steps=total_steps,
        tensorboard=place.tensorboard,
    )
    batches = iterate(
        ReadBatch(crops, config),
        ShareSampler(schedule, world, progress.step),
        workers=config.data.workers,
        pin=world.device.type == "cuda",
    )
    mixed = config.precision == "bf16"
    peak = optim.peak_learning_rate(config.optim.base_lr, config.batch_size)
    forward, learns = None, False
    saved_step = progress.step if before else -1
    began = saved_at = time.monotonic()
    with contextlib.closing(records), StopRequest() as stop:
        for step, batch in enumerate(batches, start=progress.step):
            # The predictor freezes when incubation ends; a wrapper is good for one such phase.
            if forward is None or learns != config.predictor_trains(step, per_epoch):
                learns = config.predictor_trains(step, per_epoch)
                if not learns:
                    model.freeze_predictor()
                forward = None
                gc.collect()  # the old wrapper's gradient hooks go with it
                forward = distributed.wrap(model, world)

            rate = optim.learning_rate(
                step / per_epoch,
                peak=peak,
                warm_up=config.optim.warmup_epochs,
                total=float(config.epochs),
                floor=config.optim.min_lr,
            )
            optim.set_learning_rate(optimizer, rate)
            optimizer.zero_grad(set_to_none=True)

            # Each micro-batch weighs by its images, DDP averages over ranks: a global mean.
            tally = Tally(config.model, world)
            pieces = distributed.split(len(batch.images), config.accumulate)
            for piece in pieces:
                part = batch.part(piece, world.device)
                weight = len(part.images) / config.batch_size
                with distributed.without_sync(forward, hold=piece is not pieces[-1]):
                    with torch.autocast(world.device.type, torch.bfloat16, enabled=mixed):
                        output = forward(part.images / 255, *part[1:], incubating=learns)
                        terms = pretraining_loss(output, perceptual, config.loss)
                    (terms.total * (weight * world.size)).backward()
                tally.add(output, part.mask, terms, weight)

            # Nothing is applied before it is known, on all ranks alike, to be finite.
            due = world.is_main and time.monotonic() - saved_at >= 60 * config.checkpoint_minutes
            numbers = tally.over_ranks(
                optim.gradient_norms(model), save=due, stop=stop.signal is not None
            )
            if not numbers.finite:
                raise NotFiniteError(_not_finite(step + 1, numbers, place.out))
            optimizer.step()

            images = progress.images + config.batch_size
            seconds = progress.seconds + time.monotonic() - began
            progress = Progress(step + 1, images, seconds, world.size)
            records.step(_row(progress, schedule, rate, numbers))
            pictured = config.pictures_every and progress.step % config.pictures_every == 0
            if pictured and world.is_main:
                records.picture(f"step_{progress.step:08d}", picture(model, output, part.mask))
                records.pause()
            if numbers.save or numbers.stop:
                save()
                saved_step, saved_at = progress.step, time.monotonic()
            if numbers.stop:
                LOGGER.info("stopped after step %d; the same command goes on", progress.step)
                return stop.exit_code or 143
            began = time.monotonic()

    # ---- publish ------------------------------------------------------------------------------
    if saved_step != progress.step:
        save()
    if world.is_main:
        checkpoint.publish(place.out, checkpoint.checkpoints(place.out)[0])
    return 0


class ReadBatch:
    """Reads a share and draws its masks, in a worker of the loader."""

    def __init__(self, crops: Crops, config: PretrainConfig) -> None:
        self.crops, self.config = crops, config

    def __call__(self, share: Share) -> Batch:
        """The tensors of a step."""
        config = self.config
        images = self.crops.read(share.epoch, share.positions)
        chance = draw(config.seed, share.epoch, share.positions, config.model, config.masking)
        return Batch(torch.from_numpy(images), *(torch.from_numpy(array) for array in chance))


def start_codebook(model: PaCoFR, crops: Crops, schedule: Schedule, images: int = 256) -> None:
    """Start the tokens from the first crops of the first epoch; the same on every rank."""
    crop = torch.from_numpy(crops.read(0, schedule.order(0)[:images]))
    generator = torch.Generator().manual_seed(schedule.seed)
    patch = model.config.encoder.patch_size
    model.codebook.start_from(normalise(crop / 255), patch, generator)


@torch.no_grad()
def picture(
    model: PaCoFR, output: PaCoFROutput, mask: Bool[Tensor, "B K"], columns: int = 8
) -> UInt8[np.ndarray, "H W 3"]:
    """Rows of crops: as they are, with the tokens in (as the step left these), reconstructed."""
    target, mask = output.target[:columns], mask[:columns]
    seen = restructure(target, model.codebook(), output.chosen[:columns], mask)
    patch = model.config.encoder.patch_size
    rows = []
    for patches in (target, seen, output.prediction[:columns].float()):
        faces = denormalise(unpatchify(patches, patch)).clamp(0, 1)
        rows.append(torch.cat(list(faces), dim=2))
    grid = (torch.cat(rows, dim=1) * 255).round().to(torch.uint8)
    return grid.permute(1, 2, 0).cpu().numpy()


@contextlib.contextmanager
def memory_named(config: PretrainConfig) -> Iterator[None]:
    """Turn a GPU's full memory into one clear line."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU's memory is too small for {config.batch_size} images in {config.accumulate}"
            f" parts over all processes; give --accumulate {2 * config.accumulate}, it changes no"
            " number"
        ) from error


def _row(progress: Progress, schedule: Schedule, rate: float, numbers: StepNumbers) -> StepRow:
    loss, mse, perceptual, cross_entropy = (float(term) for term in numbers.losses)
    return StepRow(
        step=progress.step,
        epoch=schedule.epoch_of(progress.step - 1),
        images=progress.images,
        lr=rate,
        loss=loss,
        mse=mse,
        perceptual=perceptual,
        cross_entropy=cross_entropy,
        grad_norm=numbers.grad_norm,
        grad_norms=numbers.grad_norms,
        usage_entropy=numbers.usage.entropy,
        dead_share=numbers.usage.dead_share,
    )


def _not_finite(step: int, numbers: StepNumbers, run: Path) -> str:
    terms = ", ".join(
        f"{name} {float(value):.4g}"
        for name, value in zip(numbers.losses._fields, numbers.losses, strict=True)
    )
    good = checkpoint.checkpoints(run)
    kept = f"the last good checkpoint is {good[0]}" if good else "no checkpoint was written yet"
    return (
        f"step {step} is not finite ({terms}, gradient norm {numbers.grad_norm:.4g}) and was not"
        f" applied; {kept}; lower --optim.base-lr and start with another --out"
    )
