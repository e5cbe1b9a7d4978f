"""Pooled figures over all distances, and their 95 % intervals over subjects."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eval_now.scoring.score import ScoredImage

BIN_MM = 0.002
LARGEST_MM = 40.0
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Median, mean and (population) deviation of all distances together, mm.

    The intervals come from resampling subjects: None with fewer than two. That of the median is
    also None where it reaches the end of the histograms, 40 mm.
    """

    median: float
    mean: float
    std: float
    count: int
    images: int
    subjects: int
    median_ci: Interval | None = None
    mean_ci: Interval | None = None
    std_ci: Interval | None = None


def pool(scored: list[ScoredImage]) -> Pooled:
    """Pooled figures of at least one image."""
    together = np.concatenate([image.distances for image in scored])
    subjects = sorted({image.score.subject for image in scored})
    mean = float(together.mean(dtype=np.float64))
    intervals: list[Interval | None] = [None, None, None]
    if len(subjects) > 1:
        intervals = list(_bootstrap(scored, subjects))
    return Pooled(
        median=_median(together),
        mean=mean,
        std=float(np.sqrt(together.var(dtype=np.float64))),
        count=len(together),
        images=len(scored),
        subjects=len(subjects),
        median_ci=intervals[0],
        mean_ci=intervals[1],
        std_ci=intervals[2],
    )


def _median(values: Float[np.ndarray, " N"]) -> float:
    """Median; reorders `values` in place, which spares a copy of all distances."""
    middle = len(values) // 2
    values.partition([max(middle - 1, 0), middle])
    if len(values) % 2:
        return float(values[middle])
    return (float(values[middle - 1]) + float(values[middle])) / 2


def _bootstrap(scored: list[ScoredImage], subjects: list[str]) -> tuple[Interval | None, ...]:
    """Percentile intervals of median, mean and deviation, subjects drawn with replacement.

    Medians are read from histograms of 0.002 mm bins, so that a resample costs no sorting.
    """
    bins = int(LARGEST_MM / BIN_MM)
    histograms = np.zeros((len(subjects), bins))
    sums = np.zeros((len(subjects), 3))  # count, sum, sum of squares
    for image in scored:
        row = subjects.index(image.score.subject)
        distances = image.distances.astype(np.float64)
        cells = np.minimum((distances / BIN_MM).astype(np.int64), bins - 1)
        histograms[row] += np.bincount(cells, minlength=bins)
        sums[row] += len(distances), distances.sum(), (distances**2).sum()
    draws = np.random.default_rng(0).multinomial(
        len(subjects), np.full(len(subjects), 1 / len(subjects)), RESAMPLES
    )
    total = draws @ sums
    mean = total[:, 1] / total[:, 0]
    std = np.sqrt(np.maximum(total[:, 2] / total[:, 0] - mean**2, 0))
    median = np.concatenate(
        [_medians(draws[i : i + 50], histograms) for i in range(0, RESAMPLES, 50)]
    )
    intervals = [
        Interval(low=float(np.percentile(values, 2.5)), high=float(np.percentile(values, 97.5)))
        for values in (median, mean, std)
    ]
    clipped = intervals[0].high > LARGEST_MM - BIN_MM
    return (None if clipped else intervals[0], *intervals[1:])


def _medians(
    draws: Int[np.ndarray, "R S"], histograms: Float[np.ndarray, "S B"]
) -> Float[np.ndarray, " R"]:
    """Median of every resample, linear within its bin."""
    cumulated = np.cumsum(draws @ histograms, axis=1)
    half = cumulated[:, -1:] / 2
    cell = (cumulated < half).sum(axis=1)
    rows = np.arange(len(draws))
    below = np.where(cell > 0, cumulated[rows, np.maximum(cell - 1, 0)], 0.0)
    inside = cumulated[rows, cell] - below
    return (cell + (half[:, 0] - below) / np.maximum(inside, 1)) * BIN_MM
