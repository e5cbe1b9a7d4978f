"""Label maps that a task model predicts, and their F1 on a test split."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from pacofr.tasks.augment.tanh_warp import photo_map
from pacofr.tasks.config import TaskModelConfig
from pacofr.tasks.evaluation import Scores, evaluation_batches, to_images
from pacofr.tasks.parsing.classes import PARSING_SETS
from pacofr.tasks.parsing.labels import read_labels
from pacofr.tasks.parsing.metrics import Confusion
from pacofr.tasks.parsing.samples import ParsingEvaluationReader
from pacofr.tasks.records import FaceSample, Split


class Parsed(NamedTuple):
    """Logits of a picture in the frame, and the picture's place in it."""

    index: int
    """Position of the sample."""
    logits: Float[Tensor, "C h w"]
    matrix: Float32[np.ndarray, "2 3"]
    """Photo -> aligned frame."""


@torch.no_grad()
def frame_logits(
    model: nn.Module,
    config: TaskModelConfig,
    samples: Sequence[FaceSample],
    device: torch.device,
    workers: int = 0,
) -> Iterator[Parsed]:
    """Logits of each sample's frame, in order; `model` is in evaluation mode, on `device`."""
    read = ParsingEvaluationReader(samples, config.outputs, config.frame, config.warp)
    for batch in evaluation_batches(read, len(samples), device, workers):
        logits = model(to_images(batch.frames)).float()
        matrices = batch.matrices.cpu().numpy()
        for row, index in enumerate(batch.index.tolist()):
            yield Parsed(index, logits[row], matrices[row])


def photo_labels(
    parsed: Parsed, config: TaskModelConfig, height: int, width: int
) -> UInt8[np.ndarray, "height width"]:
    """The most likely class of every pixel of a photo of that size; 0 outside of the frame."""
    size = config.frame
    logits = F.interpolate(
        parsed.logits[None], size=(size, size), mode="bilinear", align_corners=False
    )
    places = photo_map(parsed.matrix, size, config.warp, height, width)
    grid = torch.from_numpy((places + 0.5) / size * 2 - 1).to(logits.device)
    in_photo = F.grid_sample(logits, grid[None], mode="bilinear", align_corners=False)
    return in_photo[0].argmax(dim=0).to(torch.uint8).cpu().numpy()


def score_labels(
    model: nn.Module, config: TaskModelConfig, split: Split, device: torch.device, workers: int = 0
) -> Scores:
    """F1 [%] of every class, and "mean" of all but the background, on each subset.

    Labels are compared in the size in which they are annotated.
    """
    confusions = {subset: Confusion(config.outputs) for subset in split.subsets}
    members = {subset: set(positions) for subset, positions in split.subsets.items()}
    for parsed in frame_logits(model, config, split.samples, device, workers):
        truth = read_labels(split.samples[parsed.index], config.outputs)
        predicted = photo_labels(parsed, config, *truth.shape)
        for subset, confusion in confusions.items():
            if parsed.index in members[subset]:
                confusion.add(truth, predicted)
    names = PARSING_SETS[config.data].classes
    return {
        subset: {
            "mean": 100 * confusion.mean_f1(),
            **dict(zip(names, (100 * confusion.f1()).tolist(), strict=True)),
        }
        for subset, confusion in confusions.items()
    }
