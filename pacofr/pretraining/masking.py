"""Masks and random candidates of a batch, functions of (seed, epoch, sample index) alone; no torch.

The paper masks uniformly (Sec. 4.1). Its abstract also speaks of "structured masking" and "spatial
consistency constraints" but defines neither; `regions` is our structured sampler, not the paper's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from pacofr.pretraining.config import MaskingConfig, PaCoFRConfig
from pacofr.utils.counter_rng import Stream, uniforms


class Masks(NamedTuple):
    """Random choices for a batch of B images of K patches."""

    mask: Bool[np.ndarray, "B K"]
    """True: the patch is masked (belongs to M) and replaced by a token."""
    candidate: Int64[np.ndarray, "B K"]
    """A uniformly drawn candidate token in [0, n) for every position."""
    drop: Bool[np.ndarray, "B K"]
    """True: in the incubation stage this masked position takes `candidate`, not the prediction."""


def sample_masks(
    seed: int,
    epoch: int,
    indices: Int64[np.ndarray, " B"],
    model: PaCoFRConfig,
    masking: MaskingConfig,
) -> Masks:
    """Mask, candidates and drops of the samples at positions `indices` of the data set.

    Counts are exact: int(K * ratio) masked positions (147 of 196) and int(masked * drop) of them
    dropped (110 of 147), so every image weighs the same in every mean.
    """
    positions = model.encoder.patches
    masked = int(positions * masking.ratio)
    noise = uniforms(seed, epoch, indices, Stream.MASK, positions)
    if masking.kind == "regions":
        regions = face_regions(model.encoder.grid)
        order = uniforms(seed, epoch, indices, Stream.REGION, int(regions.max()) + 1)
        noise = order[:, regions] + 1e-6 * noise  # whole regions, the last one in part
    mask = _smallest(noise, masked)
    dropped = int(masked * model.predictor.drop)
    drop = _smallest(
        uniforms(seed, epoch, indices, Stream.DROP, positions) + np.where(mask, 0.0, 2.0), dropped
    )
    pick = uniforms(seed, epoch, indices, Stream.CANDIDATE, positions)
    candidate = (pick * model.codebook.candidates).astype(np.int64)
    return Masks(mask, candidate, drop)


def _smallest(values: Float64[np.ndarray, "B K"], count: int) -> Bool[np.ndarray, "B K"]:
    """True at the `count` smallest values of each row."""
    chosen = np.zeros(values.shape, bool)
    np.put_along_axis(chosen, np.argsort(values, axis=1, kind="stable")[:, :count], True, axis=1)
    return chosen


# Boxes (x0, y0, x1, y1) over the unit square of a crop that holds an FFHQ-aligned face of 200 px in
# 256 px: the eyes lie at (0.40, 0.48) and (0.60, 0.48), the mouth at (0.50, 0.68). Later boxes
# paint over earlier ones; what no box covers is background.
_REGION_BOXES = (
    (0.28, 0.10, 0.72, 0.36),  # forehead and hair
    (0.24, 0.36, 0.50, 0.76),  # cheek, left in the image
    (0.50, 0.36, 0.76, 0.76),  # cheek, right in the image
    (0.30, 0.36, 0.50, 0.54),  # eye and brow, left in the image
    (0.50, 0.36, 0.70, 0.54),  # eye and brow, right in the image
    (0.43, 0.50, 0.57, 0.62),  # nose
    (0.38, 0.62, 0.62, 0.74),  # mouth
    (0.34, 0.74, 0.66, 0.90),  # chin
)


def face_regions(grid: int) -> Int64[np.ndarray, " K"]:
    """Region number of each patch of a `grid` x `grid` aligned crop, row by row.

    0 to 3 are the background's quarters, then forehead, cheeks, eyes, nose, mouth, chin.
    """
    centre = (np.arange(grid) + 0.5) / grid
    y, x = np.meshgrid(centre, centre, indexing="ij")
    regions = (x > 0.5) + 2 * (y > 0.5)
    for number, (x0, y0, x1, y1) in enumerate(_REGION_BOXES, start=4):
        regions = np.where((x >= x0) & (x < x1) & (y >= y0) & (y < y1), number, regions)
    return regions.reshape(-1).astype(np.int64)
