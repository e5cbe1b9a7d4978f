"""Every random draw of a training step, as a function of (seed, epoch, sample index) alone.

The numbers come from a counter-based hash (SplitMix64's finaliser over integer counters), so a
sample gets the same mask whichever process, worker, batch or resumed run meets it. NumPy only.

The paper masks uniformly (Sec. 4.1). Its abstract also speaks of "structured masking" and "spatial
consistency constraints" but defines neither; `regions` is our structured sampler, not the paper's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from pacofr.pretraining.config import MaskingConfig, PaCoFRConfig

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)

MASK_STREAM, CANDIDATE_STREAM, DROP_STREAM, REGION_STREAM, FLIP_STREAM, CROP_STREAM = range(6)
"""Names of the independent streams of one sample; the loader draws from the last two."""


class Draws(NamedTuple):
    """What chance decides about a batch of B images of K patches."""

    mask: Bool[np.ndarray, "B K"]
    """True: the patch belongs to M and is replaced by a token."""
    candidate: Int64[np.ndarray, "B K"]
    """A uniformly drawn candidate in [0, n) for every position."""
    drop: Bool[np.ndarray, "B K"]
    """True: during incubation, this masked position takes `candidate` instead of the prediction."""


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


def uniforms(
    seed: int, epoch: int, indices: Int64[np.ndarray, " B"], stream: int, count: int
) -> Float64[np.ndarray, "B count"]:
    """`count` numbers in [0, 1) for each sample of dataset position `indices`, in this epoch."""
    key = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for part in (seed, epoch, stream):
            key = _mix((key + np.uint64(part + 1)) * _GOLDEN)
        rows = _mix(key + (indices.astype(np.uint64)[:, None] + np.uint64(1)) * _GOLDEN)
        words = _mix(rows + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(
    seed: int,
    epoch: int,
    indices: Int64[np.ndarray, " B"],
    model: PaCoFRConfig,
    masking: MaskingConfig,
) -> Draws:
    """Mask, candidates and drops of the samples at dataset positions `indices`.

    Counts are exact: int(K * ratio) masked positions (147 of 196) and int(masked * drop) of them
    dropped (110 of 147), so every image weighs the same in every mean.
    """
    positions = model.encoder.patches
    masked = int(positions * masking.ratio)
    noise = uniforms(seed, epoch, indices, MASK_STREAM, positions)
    if masking.kind == "regions":
        regions = face_regions(model.encoder.grid)
        order = uniforms(seed, epoch, indices, REGION_STREAM, int(regions.max()) + 1)
        noise = order[:, regions] + 1e-6 * noise  # whole regions, the last one in part
    mask = _smallest(noise, masked)
    dropped = int(masked * model.predictor.drop)
    drop = _smallest(
        uniforms(seed, epoch, indices, DROP_STREAM, positions) + np.where(mask, 0.0, 2.0), dropped
    )
    pick = uniforms(seed, epoch, indices, CANDIDATE_STREAM, positions)
    candidate = (pick * model.codebook.candidates).astype(np.int64)
    return Draws(mask, candidate, drop)


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
