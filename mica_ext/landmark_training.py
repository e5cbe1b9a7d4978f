"""Training of the 68-landmark network: `train(config)` goes on where an earlier run stopped.

    OUT/teacher.pt  OUT/student.pt     step, weights, running mean of the weights, optimiser
    OUT/pseudo.npz                     the teacher's points on the unlabelled photos
    OUT/model/{config.json, model.safetensors}

Crops follow from (seed, epoch, index) and steps from the step number alone, so a run that was
killed and resumed gives the same weights as one that was not.
"""

import json
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mica_ext.landmark_config import LandmarkTrainingConfig
from mica_ext.landmark_data import FLIP, Crop, LabelledPhoto, draw
from mica_ext.landmarks import CROP_PER_CELL, LandmarkNetwork, margins

LOGGER = logging.getLogger(__name__)
MAP_SPREAD = 1.2
"""Standard deviation of the target heat maps, cells."""
MAP_WEIGHT = 0.15
KEEP = 0.998
"""Share of the old value in the running mean of the weights, per step."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Photos that give `per_batch` crops to every step."""

    photos: Sequence[LabelledPhoto]
    per_batch: int
    salt: int


def step_crops(sources: Sequence[Source], step: int, seed: int) -> list[Crop]:
    """The crops of one step: a function of the seed and the step alone."""
    crops = []
    for source in sources:
        count = len(source.photos)
        for position in range(step * source.per_batch, (step + 1) * source.per_batch):
            epoch, place = divmod(position, count)
            order = np.random.default_rng((seed, source.salt, epoch)).permutation(count)
            index = int(order[place])
            rng = np.random.default_rng((seed, source.salt, epoch, index))
            crops.append(draw(source.photos, index, rng))
    return crops


def as_batch(
    crops: Sequence[Crop],
) -> tuple[Float[Tensor, "B 3 128 128"], Float[Tensor, "B 68 2"]]:
    """Views in [0,1] and points in crop pixels."""
    views = torch.from_numpy(np.stack([crop.view for crop in crops]))
    views = views.permute(0, 3, 1, 2).float() / 255  # channels-last in memory
    return views, torch.from_numpy(np.stack([crop.points for crop in crops]))


def loss_of(
    network: LandmarkNetwork,
    views: Float[Tensor, "B 3 128 128"],
    points: Float[Tensor, "B 68 2"],
) -> Float[Tensor, ""]:
    """Distance of the points [cells] plus cross-entropy of the maps' margins."""
    with torch.autocast("cpu", torch.bfloat16):
        heat = network.heat(views)
    columns, rows = margins(heat)
    off = (network.centre_of_mass(columns, rows) - points) / CROP_PER_CELL
    distance = (off.square().sum(-1) + 1e-4).sqrt()
    places = (network.cell_centres - points[..., None]) / (CROP_PER_CELL * MAP_SPREAD)
    target = (-0.5 * places.square()).softmax(-1)  # [B,68,2,32]
    entropy = -(target * (torch.stack([columns, rows], 2) + 1e-6).log()).sum((-1, -2))
    return distance.mean() + MAP_WEIGHT * entropy.mean()


@torch.no_grad()
def predict(
    network: LandmarkNetwork, views: Float[Tensor, "B 3 128 128"], flip: bool = False
) -> Float[Tensor, "B 68 2"]:
    """Points in crop pixels; with `flip` the mean of the view's and its mirror image's points."""
    points = network.read(network.heat(views))
    if flip:
        mirrored = network.read(network.heat(views.flip(-1)))[:, torch.from_numpy(FLIP)]
        points = 0.5 * (points + torch.stack([223 - mirrored[..., 0], mirrored[..., 1]], -1))
    return points


def error_on(network: LandmarkNetwork, photos: Sequence[LabelledPhoto]) -> float:
    """Mean error on centred crops, per cent of the outer eye corners' distance."""
    network.eval()
    rng = np.random.default_rng(0)
    crops = [draw(photos, i, rng, augment=False) for i in range(len(photos))]
    views, points = as_batch(crops)
    off = (predict(network, views) - points).norm(dim=-1).mean(1)
    network.train()
    return 100 * float((off / (points[:, 36] - points[:, 45]).norm(dim=-1)).mean())


def learning_rate(config: LandmarkTrainingConfig, step: int, steps: int) -> float:
    """Warm-up over 100 steps, then a cosine to a hundredth."""
    warm = min(1.0, (step + 1) / 100)
    fade = 0.5 * (1 + math.cos(math.pi * step / steps))
    return config.learning_rate * warm * (0.01 + 0.99 * fade)


def write_atomically(path: Path, state: dict) -> None:
    """Save to a neighbour, then put it in place."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def run_phase(
    config: LandmarkTrainingConfig,
    name: str,
    sources: Sequence[Source],
    held_out: Sequence[LabelledPhoto],
    steps: int,
) -> LandmarkNetwork:
    """Train one network for `steps`, or go on with it; returns the running mean of its weights."""
    torch.manual_seed(config.seed)
    network = LandmarkNetwork().to(memory_format=torch.channels_last)
    mean = LandmarkNetwork().requires_grad_(False)
    mean.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.02)
    checkpoint = config.out / f"{name}.pt"
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
        LOGGER.info("%s goes on at step %d of %d", name, first, steps)
    began, running = time.monotonic(), 0.0
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step, steps)
        loss = loss_of(network, *as_batch(step_crops(sources, step, config.seed)))
        value = float(loss.detach())
        if not np.isfinite(value):
            raise RuntimeError(f"{name}: loss {value} at step {step}")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        keep = min(KEEP, (step + 1) / (step + 10))
        for slow, fast in zip(
            mean.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - keep)
            else:
                slow.copy_(fast)
        running = value if step == first else 0.98 * running + 0.02 * value
        if (step + 1) % config.save_every == 0 or step + 1 == steps:
            write_atomically(
                checkpoint,
                {
                    "step": step + 1,
                    "network": network.state_dict(),
                    "mean": mean.state_dict(),
                    "optimiser": optimiser.state_dict(),
                },
            )
            record = {
                "phase": name,
                "step": step + 1,
                "loss": round(running, 4),
                "held_out": round(error_on(mean, held_out), 3) if held_out else None,
                "seconds": round(time.monotonic() - began),
            }
            LOGGER.info("%s", record)
            with open(config.out / "metrics.jsonl", "a") as log:
                log.write(json.dumps(record) + "\n")
    return mean.eval()


def train(config: LandmarkTrainingConfig) -> None:
    """Run all phases that are not done yet."""
    from mica_ext.landmark_data import read_labelled

    torch.set_num_threads(config.threads)
    cv2.setNumThreads(config.threads)
    config.out.mkdir(parents=True, exist_ok=True)
    photos = [photo for _, photo in read_labelled(config.helen)]
    order = np.random.default_rng(config.seed).permutation(len(photos))
    held_out = [photos[i] for i in order[: config.holdout]]
    labelled = [photos[i] for i in order[config.holdout :]]
    steps = config.teacher_epochs * len(labelled) // config.batch
    sources = [Source(photos=labelled, per_batch=config.batch, salt=1)]
    run_phase(config, "teacher", sources, held_out, steps)
