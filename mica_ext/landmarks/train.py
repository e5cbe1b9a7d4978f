"""Training of the 68-landmark network: `train(config)` goes on where an earlier run stopped.

    OUT/photos.pt  OUT/mixed.pt     step, weights, running mean of the weights, optimiser, options
    OUT/metrics.jsonl
    OUT/model/{config.json, model.safetensors}

Crops follow from (seed, epoch, index) and steps from the step number alone, so a run that was
killed and resumed gives the same weights as one that was not. With other options it is refused.
"""

import json
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mica_ext.errors import UserError
from mica_ext.landmarks.annotated_photos import LabelledPhoto, read_labelled
from mica_ext.landmarks.config import LandmarkTrainingConfig
from mica_ext.landmarks.network import (
    CROP_PER_CELL,
    LandmarkNetwork,
    marginals,
)
from mica_ext.landmarks.samples import CropSample, sample_crop
from mica_ext.landmarks.weights import save_landmark_network
from pacofr.faces.align import CROP_PX
from pacofr.faces.landmarks68 import MIRROR, nme
from pacofr.utils.progress import track

LOGGER = logging.getLogger(__name__)
MAP_SPREAD = 1.2
"""Standard deviation of the target heat maps, cells."""
MAP_WEIGHT = 0.15
MOUTH_WEIGHT = 2.0
"""Of the mouth's points in the mixed steps: they tell the expression, and learn slowest."""
BENT = 0.6
"""Share of the mixed steps' photos with parts of the face stretched or squeezed."""
FREE = ("helen", "out", "threads", "save_every")
"""Options that a resumed run may change: where things are, and what leaves the steps the same."""
KEEP = 0.998
"""Share of the old value in the running mean of the weights, per step."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Photos that give `per_batch` crops to every step."""

    photos: Sequence[LabelledPhoto]
    per_batch: int
    salt: int
    bent: float = 0.0
    """Share of crops with parts of the face stretched or squeezed."""


def step_crops(sources: Sequence[Source], step: int, seed: int) -> list[CropSample]:
    """The crops of one step: a function of the seed and the step alone."""
    crops = []
    for source in sources:
        count = len(source.photos)
        for position in range(step * source.per_batch, (step + 1) * source.per_batch):
            epoch, place = divmod(position, count)
            order = np.random.default_rng((seed, source.salt, epoch)).permutation(count)
            index = int(order[place])
            rng = np.random.default_rng((seed, source.salt, epoch, index))
            crops.append(sample_crop(source.photos, index, rng, warp_probability=source.bent))
    return crops


def as_batch(
    crops: Sequence[CropSample],
) -> tuple[Float[Tensor, "B 3 128 128"], Float[Tensor, "B 68 2"]]:
    """Views in [0,1] and points in crop pixels."""
    views = torch.from_numpy(np.stack([crop.view for crop in crops]))
    views = views.permute(0, 3, 1, 2).float() / 255  # channels-last in memory
    return views, torch.from_numpy(np.stack([crop.points for crop in crops]))


def loss_of(
    network: LandmarkNetwork,
    views: Float[Tensor, "B 3 128 128"],
    points: Float[Tensor, "B 68 2"],
    mouth: float = 1.0,
) -> Float[Tensor, ""]:
    """Distance of the points [cells] plus cross-entropy of the maps' margins.

    Points of the mouth count `mouth` times as much as others.
    """
    with torch.autocast("cpu", torch.bfloat16):
        logits = network.logits(views)
    columns, rows = marginals(logits)
    off = (network.soft_argmax(columns, rows) - points) / CROP_PER_CELL
    distance = (off.square().sum(-1) + 1e-4).sqrt()
    places = (network.cell_centres - points[..., None]) / (CROP_PER_CELL * MAP_SPREAD)
    target = (-0.5 * places.square()).softmax(-1)  # [B,68,2,32]
    entropy = -(target * (torch.stack([columns, rows], 2) + 1e-6).log()).sum((-1, -2))
    weight = torch.ones(68)
    weight[48:] = mouth
    return ((distance + MAP_WEIGHT * entropy) * (weight / weight.mean())).mean()


@torch.no_grad()
def predict(
    network: LandmarkNetwork, views: Float[Tensor, "B 3 128 128"], flip: bool = False
) -> Float[Tensor, "B 68 2"]:
    """Points in crop pixels; with `flip` the mean of the view's and its mirror image's points."""
    points = network.decode(network.logits(views))
    if flip:
        mirrored = network.decode(network.logits(views.flip(-1)))[:, torch.from_numpy(MIRROR)]
        points = 0.5 * (
            points + torch.stack([CROP_PX - 1 - mirrored[..., 0], mirrored[..., 1]], -1)
        )
    return points


def error_on(network: LandmarkNetwork, photos: Sequence[LabelledPhoto]) -> float:
    """Mean error on centred crops, per cent of the outer eye corners' distance."""
    network.eval()
    rng = np.random.default_rng(0)
    crops = [sample_crop(photos, i, rng, augment=False) for i in range(len(photos))]
    views, points = as_batch(crops)
    errors = nme(predict(network, views).numpy(), points.numpy())
    network.train()
    return float(errors.mean())


def learning_rate(peak: float, step: int, steps: int) -> float:
    """Warm-up over 100 steps, then a cosine to a hundredth."""
    warm = min(1.0, (step + 1) / 100)
    return peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with its own sources and schedule."""

    name: str
    sources: Sequence[Source]
    steps: int
    peak: float
    """Highest learning rate."""
    mouth: float = 1.0
    """Weight of the mouth's points."""


class Trainer:
    """Network, running mean of its weights and optimiser, with their checkpoint."""

    def __init__(self, phase: Phase, config: LandmarkTrainingConfig) -> None:
        torch.manual_seed(config.seed)
        self.phase, self.config = phase, config
        self.network = LandmarkNetwork()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = LandmarkNetwork().requires_grad_(False)
        self.mean.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=0.02)
        self.checkpoint = config.out / f"{phase.name}.pt"
        self.done = 0
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self._refuse_other_options(state.get("options"))
            self.network.load_state_dict(state["network"])
            self.mean.load_state_dict(state["mean"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.done = state["step"]
            LOGGER.info("%s goes on at step %d of %d", phase.name, self.done, phase.steps)

    @property
    def options(self) -> dict[str, int | float]:
        """What the weights follow from: the options but for `FREE`, and the count of photos."""
        chosen = {name: value for name, value in asdict(self.config).items() if name not in FREE}
        return chosen | {"photos": len(self.phase.sources[0].photos)}

    def _refuse_other_options(self, began: dict[str, int | float] | None) -> None:
        elsewhere = f"give another --out, or remove {self.checkpoint.parent} to begin anew"
        if began is None:
            raise UserError(
                f"{self.checkpoint}: of an earlier version, without the run's options: {elsewhere}"
            )
        for name, value in self.options.items():
            if began.get(name) == value:
                continue
            if name == "photos":
                raise UserError(
                    f"{self.checkpoint}: the run began with {began.get(name)} photos to train on, "
                    f"{self.config.helen} gives {value}: {elsewhere}"
                )
            flag = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{self.checkpoint}: the run began with {flag} {began.get(name)}, now it is "
                f"{value}: give {flag} {began.get(name)} to go on; else {elsewhere}"
            )

    def start_from(self, network: LandmarkNetwork) -> None:
        """Take over an earlier phase's weights, unless this phase is under way."""
        if self.done == 0:
            self.network.load_state_dict(network.state_dict())
            self.mean.load_state_dict(network.state_dict())

    def step(self) -> float:
        """One step; returns its loss."""
        crops = step_crops(self.phase.sources, self.done, self.config.seed)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.phase.peak, self.done, self.phase.steps)
        loss = loss_of(self.network, *as_batch(crops), mouth=self.phase.mouth)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RuntimeError(f"{self.phase.name}: loss {value} at step {self.done}")
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        keep = min(KEEP, (self.done + 1) / (self.done + 10))
        latest = self.network.state_dict().values()
        for slow, fast in zip(self.mean.state_dict().values(), latest, strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - keep)
            else:
                slow.copy_(fast)
        self.done += 1
        return value

    def save(self) -> None:
        """Write the checkpoint whole."""
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "step": self.done,
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "options": self.options,
        }
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)


def run_phase(
    phase: Phase,
    config: LandmarkTrainingConfig,
    held_out: Sequence[LabelledPhoto],
    earlier: LandmarkNetwork | None = None,
) -> LandmarkNetwork:
    """Go through the phase, or the rest of it; returns the running mean of the weights."""
    trainer = Trainer(phase, config)
    if earlier is not None:
        trainer.start_from(earlier)
    began, loss = time.monotonic(), 0.0
    first = trainer.done
    for step in track(range(first, phase.steps), phase.name):
        value = trainer.step()
        loss = value if step == first else 0.98 * loss + 0.02 * value
        if trainer.done % config.save_every == 0 or trainer.done == phase.steps:
            trainer.save()
            record = {
                "phase": phase.name,
                "step": trainer.done,
                "loss": round(loss, 4),
                "held_out": round(error_on(trainer.mean, held_out), 3) if held_out else None,
                "seconds": round(time.monotonic() - began),
            }
            LOGGER.info("%s", record)
            with open(config.out / "metrics.jsonl", "a") as log:
                log.write(json.dumps(record) + "\n")
    return trainer.mean.eval()


def rendered_heads(count: int, seed: int) -> list[LabelledPhoto]:
    """Heads of Anthro as labelled photos; the same ones for the same seed."""
    from flame_assets.store import load_head
    from mica_ext.data.synthetic.faces import SyntheticFaces

    faces = SyntheticFaces(load_head("anthro"), seed=seed)
    drawn = (faces.sample(index) for index in track(range(count), "heads"))
    return [LabelledPhoto(face.image, face.landmarks_px) for face in drawn]


def train(config: LandmarkTrainingConfig) -> None:
    """Run what is not done yet and write the weights."""
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(config.threads)
    photos = [photo for _, photo in read_labelled(config.helen)]
    if config.holdout >= len(photos):
        raise UserError(
            f"{config.helen}: expected more photos than --holdout {config.holdout}, found "
            f"{len(photos)}: lower --holdout"
        )
    config.out.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(config.seed).permutation(len(photos))
    held_out = [photos[i] for i in order[: config.holdout]]
    labelled = [photos[i] for i in order[config.holdout :]]
    alone = Phase(
        name="photos",
        sources=[Source(photos=labelled, per_batch=config.batch, salt=1)],
        steps=max(1, config.photo_epochs * len(labelled) // config.batch),
        peak=config.learning_rate,
    )
    network = run_phase(alone, config, held_out)
    if config.mixed_steps:
        rendered = config.batch // 8
        heads = rendered_heads(config.heads, config.seed)
        mixed = Phase(
            name="mixed",
            sources=[
                Source(photos=labelled, per_batch=config.batch - rendered, salt=2, bent=BENT),
                Source(photos=heads, per_batch=rendered, salt=3),
            ],
            steps=config.mixed_steps,
            peak=config.mixed_learning_rate,
            mouth=MOUTH_WEIGHT,
        )
        network = run_phase(mixed, config, held_out, network)
    defaults = {f.name: f.default for f in fields(config)}
    changed = {name: value for name, value in asdict(config).items() if value != defaults[name]}
    changed |= {"helen": "HELEN/trainset", "out": "RUN"}
    flags = "".join(f" --{name.replace('_', '-')} {value}" for name, value in changed.items())
    score = "not measured"
    if held_out:
        score = f"{error_on(network, held_out):.2f} % on {len(held_out)} photos held out"
    save_landmark_network(
        network,
        config.out / "model",
        name="landmarks68",
        command=f"mica-ext train-landmarks{flags}",
        seed=config.seed,
        score=score,
    )
    LOGGER.info("wrote %s (%s)", config.out / "model", score)
