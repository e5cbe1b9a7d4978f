"""Training of readouts, of frozen features or together with the encoder."""

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from pacofr.analysis.config import ProbeConfig
from pacofr.analysis.probe.crops import AnnotatedCrops, LabelledCrops, mean_per_photo
from pacofr.analysis.probe.readouts import (
    SUBCELLS,
    HeatmapTargets,
    Readout,
    expected_points,
    heatmap_cross_entropy,
    heatmap_targets,
    new_readout,
    region_logits,
    region_targets,
    start_from_class_shares,
    start_from_mean_heatmaps,
)
from pacofr.engine.optimization.adamw import learning_rate, set_learning_rate
from pacofr.faces.landmarks68 import nme
from pacofr.models.encoders import FaceEncoder
from pacofr.tasks.parsing.metrics import Confusion
from pacofr.utils.progress import track

BATCH = 64
LINEAR_LR, CONV_LR, TUNED_LR = 1e-2, 3e-3, 1e-3
ENCODER_LR_SCALE = 0.5
"""Learning rate of a fine-tuned encoder over that of its readout."""
WEIGHT_DECAY = 1e-2
TUNED_BATCH = 32


def landmark_errors(
    tokens: tuple[Float[Tensor, "N K D"], Float[Tensor, "M K D"]],
    train: AnnotatedCrops,
    test: AnnotatedCrops,
    config: ProbeConfig,
    *,
    conv: bool,
    seed: int,
    what: str,
) -> Float64[np.ndarray, " P"]:
    """NME of every test photo [%], of heat maps read from frozen features.

    Args:
        tokens: features of the training crops (as many as `train` has) and of the test crops.
        train: what the readout learns.
        test: what it is scored on.
        config: `steps`.
        conv: two convolutions between features and heat maps; else a linear map.
        seed: of the readout's start and its batches.
        what: for the progress line.
    """
    own, other = tokens
    side = train.images.shape[1]
    readout = new_readout(own, train.points.shape[1], conv=conv, seed=seed)
    points = torch.from_numpy(train.points).float().to(own.device)
    targets = heatmap_targets(points, side, readout.grid)
    start_from_mean_heatmaps(readout, targets)

    def loss(rows: Tensor) -> Tensor:
        part = HeatmapTargets(targets.cell[rows], targets.weight[rows])
        return heatmap_cross_entropy(readout(own[rows]), part)

    groups = [{"params": list(readout.parameters()), "lr_scale": 1.0}]
    lr = CONV_LR if conv else LINEAR_LR
    _minimise(loss, groups, lr, _batches(len(own), BATCH, config.steps, seed), config.steps, what)
    return _scored(readout, other, test)


def tuned_landmark_errors(
    encoder: FaceEncoder,
    tokens: Float[Tensor, "N K D"],
    train: AnnotatedCrops,
    test: AnnotatedCrops,
    config: ProbeConfig,
    *,
    seed: int,
    what: str,
) -> Float64[np.ndarray, " P"]:
    """The same for a convolutional readout trained together with a copy of the encoder."""
    side, device = train.images.shape[1], encoder.mean.device
    encoder = copy.deepcopy(encoder).requires_grad_(True)
    encoder.vit.pos_embed.requires_grad_(encoder.config.positions == "learned")
    readout = new_readout(tokens, train.points.shape[1], conv=True, seed=seed)
    targets = heatmap_targets(torch.from_numpy(train.points).float().to(device), side, readout.grid)
    start_from_mean_heatmaps(readout, targets)
    images = torch.from_numpy(train.images).permute(0, 3, 1, 2).to(device)

    def loss(rows: Tensor) -> Tensor:
        maps = torch.cat([layer[:, 1:] for layer in encoder(images[rows] / 255)], dim=2)
        part = HeatmapTargets(targets.cell[rows], targets.weight[rows])
        return heatmap_cross_entropy(readout(maps), part)

    groups = [
        {"params": list(readout.parameters()), "lr_scale": 1.0},
        {
            "params": [p for p in encoder.parameters() if p.requires_grad],
            "lr_scale": ENCODER_LR_SCALE,
        },
    ]
    steps = config.tuned_epochs * math.ceil(len(images) / TUNED_BATCH)
    _minimise(loss, groups, TUNED_LR, _batches(len(images), TUNED_BATCH, steps, seed), steps, what)
    shown = torch.from_numpy(test.images).permute(0, 3, 1, 2)
    with torch.no_grad():
        parts = [encoder(part.to(device) / 255) for part in shown.split(config.batch_size)]
    layers = [torch.cat(layer) for layer in zip(*parts, strict=True)]
    return _scored(readout, torch.cat([layer[:, 1:] for layer in layers], dim=2), test)


def region_errors(
    tokens: tuple[Float[Tensor, "N K D"], Float[Tensor, "M K D"]],
    train: LabelledCrops,
    test: LabelledCrops,
    classes: int,
    config: ProbeConfig,
    *,
    seed: int,
    what: str,
) -> Float64[np.ndarray, " P"]:
    """100 - F1 of every test picture, mean over its classes but the background [%].

    A linear map of the features labels 4 x 4 places in every patch.
    """
    own, other = tokens
    readout = new_readout(own, classes * SUBCELLS**2, conv=False, seed=seed)
    targets = region_targets(torch.from_numpy(train.labels), readout.grid).to(own.device)
    start_from_class_shares(readout, targets, classes)
    truth = region_targets(torch.from_numpy(test.labels), readout.grid).numpy()

    def loss(rows: Tensor) -> Tensor:
        logits = region_logits(readout(own[rows]), classes, readout.grid)
        return nn.functional.cross_entropy(logits, targets[rows])

    groups = [{"params": list(readout.parameters()), "lr_scale": 1.0}]
    steps = config.steps
    _minimise(loss, groups, LINEAR_LR, _batches(len(own), BATCH, steps, seed), steps, what)
    with torch.no_grad():
        predicted = torch.cat(
            [region_logits(readout(p), classes, readout.grid).argmax(1) for p in other.split(256)]
        )
    predicted = predicted.cpu().numpy()
    errors = np.empty(len(truth))
    for number, (true, said) in enumerate(zip(truth, predicted, strict=True)):
        confusion = Confusion(classes)
        confusion.add(true, said)
        errors[number] = 100 * (1 - np.nanmean(confusion.f1()[1:]))
    return mean_per_photo(errors, test.photo)


@torch.no_grad()
def _scored(
    readout: Readout, tokens: Float[Tensor, "M K D"], test: AnnotatedCrops
) -> Float64[np.ndarray, " P"]:
    side = test.images.shape[1]
    points = torch.cat(
        [expected_points(readout(part), side, readout.grid) for part in tokens.split(256)]
    )
    return mean_per_photo(nme(points.double().cpu().numpy(), test.points), test.photo)


def _batches(count: int, batch: int, steps: int, seed: int) -> Iterator[Int64[Tensor, " b"]]:
    """Shuffled passes over the crops, cut into batches, for a number of steps."""
    generator = torch.Generator().manual_seed(seed)
    done = 0
    while done < steps:
        order = torch.randperm(count, generator=generator)
        for start in range(0, max(1, count - batch + 1), batch):
            if done < steps:
                yield order[start : start + batch]
            done += 1


def _minimise(
    loss: Callable[[Tensor], Tensor],
    groups: list[dict],
    lr: float,
    batches: Iterator[Int64[Tensor, " b"]],
    steps: int,
    what: str,
) -> None:
    """AdamW with 5 % linear warm-up and a half cosine to 0."""
    device = groups[0]["params"][0].device
    optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=WEIGHT_DECAY, fused=True)
    for step, rows in enumerate(track(list(batches), what)):
        at = learning_rate(step + 1.0, peak=lr, warm_up=0.05 * steps, total=steps + 1.0)
        set_learning_rate(optimizer, at)
        optimizer.zero_grad(set_to_none=True)
        loss(rows.to(device)).backward()
        optimizer.step()
