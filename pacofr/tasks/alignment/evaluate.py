"""Landmarks that a task model predicts, and their scores on a test split."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from pacofr.tasks.alignment.heatmaps import soft_argmax
from pacofr.tasks.alignment.layouts import ALIGNMENT_SETS
from pacofr.tasks.alignment.metrics import (
    box_diagonal,
    box_side,
    error_curve,
    eye_distance,
    normalised_mean_errors,
)
from pacofr.tasks.alignment.samples import AlignmentEvaluationReader
from pacofr.tasks.alignment.schemes import SCHEMES
from pacofr.tasks.config import TaskModelConfig
from pacofr.tasks.evaluation import Scores, evaluation_batches, to_images
from pacofr.tasks.records import FaceSample, Split


@torch.no_grad()
def predict_points(
    model: nn.Module,
    config: TaskModelConfig,
    samples: Sequence[FaceSample],
    device: torch.device,
    workers: int = 0,
) -> Float64[np.ndarray, "N K 2"]:
    """Landmarks of the samples' faces in pixels of their photos.

    Args:
        model: in evaluation mode, on `device`.
        config: of the model.
        samples: pictures with boxes.
        device: where to compute.
        workers: reading processes.
    """
    read = AlignmentEvaluationReader(samples, config.frame, config.crop_scale)
    points = []
    for batch in evaluation_batches(read, len(samples), device, workers):
        logits = model(to_images(batch.frames)).float()
        found = soft_argmax(logits, config.heatmaps) * config.frame - 0.5
        linear, offset = batch.matrices[:, :, :2].double(), batch.matrices[:, :, 2:].double()
        in_photo = torch.linalg.solve(linear, found.double().transpose(1, 2) - offset)
        points.append(in_photo.transpose(1, 2).cpu().numpy())
    return np.concatenate(points)


def score_points(points: Float64[np.ndarray, "N K 2"], split: Split) -> Scores:
    """All measures [%] of a data set, on each of its subsets that is not empty."""
    truth = np.stack([sample.points for sample in split.samples if sample.points is not None])
    boxes = np.stack([sample.box for sample in split.samples if sample.box is not None])
    scheme = SCHEMES[truth.shape[1]]
    units = {
        "inter_ocular": eye_distance(truth, scheme.eye_corners),
        "inter_pupil": eye_distance(truth, scheme.pupils),
        "box": box_side(boxes),
        "diag": box_diagonal(boxes),
    }
    errors = {name: normalised_mean_errors(points, truth, unit) for name, unit in units.items()}
    return {
        subset: {
            measure: 100 * _measure(measure, errors, np.array(positions))
            for measure in ALIGNMENT_SETS[split.data].measures
        }
        for subset, positions in split.subsets.items()
        if positions
    }


def _measure(
    name: str, errors: dict[str, Float64[np.ndarray, " N"]], positions: np.ndarray
) -> float:
    """A mean error by its normalisation, or auc_NORMALISATION_PERCENT, fr_NORMALISATION_PERCENT."""
    kind, _, rest = name.partition("_")
    if kind not in ("auc", "fr"):
        return float(errors[name][positions].mean())
    unit, _, percent = rest.rpartition("_")
    curve = error_curve(errors[unit][positions], int(percent) / 100)
    return curve.auc if kind == "auc" else curve.failure_rate
