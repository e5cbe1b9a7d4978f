"""Masks and random tokens of a batch, functions of (seed, epoch, sample index) alone; no torch.

The paper masks uniformly (Sec. 4.1). Its abstract also speaks of "structured masking" and "spatial
consistency constraints" but defines neither; `regions` is our structured sampler, not the paper's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from pacofr.faces.align import CROP_CONTENT, CROP_PX
from pacofr.pretraining.config import MaskingConfig, PaCoFRConfig
from pacofr.utils.counter_rng import Stream, uniforms


class Masks(NamedTuple):
    """Random choices for a batch of B images of K patches."""

    mask: Bool[np.ndarray, "B K"]
    """True: the patch is masked (belongs to M) and replaced by a token."""
    random_token: Int64[np.ndarray, "B K"]
    """A uniformly drawn candidate token in [0, n) for every position."""
    use_random: Bool[np.ndarray, "B K"]
    """True: this masked position takes `random_token`, not the predictor's choice (the paper's
    dropout, `PredictorConfig.drop` and `drop_after`)."""
    judged: Bool[np.ndarray, "B K"]
    """True: eq. 4 compares the candidates of this masked position (`PredictorConfig.judged`)."""


def sample_masks(
    seed: int,
    epoch: int,
    indices: Int64[np.ndarray, " B"],
    model: PaCoFRConfig,
    masking: MaskingConfig,
    *,
    incubation: bool = True,
) -> Masks:
    """Masks and random tokens of the samples at positions `indices` of the data set.

    Counts are exact: int(K * ratio) masked positions (147 of 196) and int(masked * drop) random
    tokens among them (110 of 147; after incubation int(masked * drop_after)), so every image weighs
    the same in every mean.
    """
    positions = model.encoder.patches
    masked = int(positions * masking.ratio)
    noise = uniforms(seed, epoch, indices, Stream.MASK, positions)
    if masking.kind == "regions":
        regions = face_regions(model.encoder.grid)
        order = uniforms(seed, epoch, indices, Stream.REGION, int(regions.max()) + 1)
        noise = order[:, regions] + 1e-6 * noise  # whole regions, the last one in part
    mask = _smallest(noise, masked)
    order = uniforms(seed, epoch, indices, Stream.USE_RANDOM, positions) + np.where(mask, 0.0, 2.0)
    predictor = model.predictor
    drop = predictor.drop if incubation else predictor.drop_after
    use_random = _smallest(order, int(masked * drop))
    pick = uniforms(seed, epoch, indices, Stream.RANDOM_TOKEN, positions)
    random_token = (pick * model.codebook.candidates).astype(np.int64)
    judged = mask
    if predictor.judged < 1.0:
        order = uniforms(seed, epoch, indices, Stream.JUDGED, positions) + np.where(mask, 0.0, 2.0)
        judged = _smallest(order, max(1, int(masked * predictor.judged)))
    return Masks(mask, random_token, use_random, judged)


def _smallest(values: Float64[np.ndarray, "B K"], count: int) -> Bool[np.ndarray, "B K"]:
    """True at the `count` smallest values of each row."""
    chosen = np.zeros(values.shape, bool)
    np.put_along_axis(chosen, np.argsort(values, axis=1, kind="stable")[:, :count], True, axis=1)
    return chosen


# Boxes (x0, y0, x1, y1) over the unit square of an FFHQ-aligned face: eyes at (0.37, 0.47)
# and (0.63, 0.47), mouth at (0.50, 0.73). Later boxes paint over earlier ones; what
# no box covers is background.
_REGION_BOXES = (
    (0.218, -0.012, 0.782, 0.321),  # forehead and hair
    (0.167, 0.321, 0.500, 0.833),  # cheek, left in the image
    (0.500, 0.321, 0.833, 0.833),  # cheek, right in the image
    (0.244, 0.321, 0.500, 0.551),  # eye and brow, left in the image
    (0.500, 0.321, 0.756, 0.551),  # eye and brow, right in the image
    (0.410, 0.500, 0.590, 0.654),  # nose
    (0.346, 0.654, 0.654, 0.807),  # mouth
    (0.295, 0.807, 0.705, 1.012),  # chin
)


def constant_positions(grid: int) -> Bool[np.ndarray, " K"]:
    """True for patches that lie in the crop's uniform border alone: the ring around the photo.

    The 200-pixel face stands in a canvas of 256, so 52 of the 196 patches of a 14 x 14 grid show
    nothing of the photo.
    """
    edges = np.arange(grid + 1) * CROP_PX / grid
    outside = (edges[1:] <= CROP_CONTENT.start) | (edges[:-1] >= CROP_CONTENT.end)
    return (outside[:, None] | outside[None, :]).reshape(-1)


def face_regions(grid: int) -> Int64[np.ndarray, " K"]:
    """Region number of each patch of the encoders' crop as `grid` x `grid` patches, row by row.

    0 to 3 are the background's quarters, then forehead, cheeks, eyes, nose, mouth, chin.
    """
    centre = (np.arange(grid) + 0.5) / grid
    y, x = np.meshgrid(centre, centre, indexing="ij")
    regions = (x > 0.5) + 2 * (y > 0.5)
    start, end = (edge / CROP_PX for edge in CROP_CONTENT)  # of the face in the crop
    for number, box in enumerate(_REGION_BOXES, start=4):
        x0, y0, x1, y1 = (start + (end - start) * edge for edge in box)
        regions = np.where((x >= x0) & (x < x1) & (y >= y0) & (y < y1), number, regions)
    return regions.reshape(-1).astype(np.int64)
