"""Pooled statistics of all distances, with bootstrap intervals over subjects."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval_now.scoring.score import ScoredImage

BIN_MM = 0.002
HISTOGRAM_MAX_MM = 40.0
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Median, mean and population standard deviation of all distances together [mm].

    The 95 % intervals resample subjects; they are None with fewer than two. That of the median is
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
    """Pool the distances of one or more images."""
    distances = np.concatenate([image.distances for image in scored])
    subjects = sorted({image.score.subject for image in scored})
    mean = float(distances.mean(dtype=np.float64))
    intervals = _Intervals(None, None, None)
    if len(subjects) > 1:
        intervals = _bootstrap(scored, subjects)
    return Pooled(
        median=_median(distances),
        mean=mean,
        std=float(np.sqrt(distances.var(dtype=np.float64))),
        count=len(distances),
        images=len(scored),
        subjects=len(subjects),
        median_ci=intervals.median,
        mean_ci=intervals.mean,
        std_ci=intervals.std,
    )


def _median(values: Float[np.ndarray, " N"]) -> float:
    """Median; reorders `values` in place instead of copying them."""
    middle = len(values) // 2
    values.partition([max(middle - 1, 0), middle])
    if len(values) % 2:
        return float(values[middle])
    return (float(values[middle - 1]) + float(values[middle])) / 2


class _Intervals(NamedTuple):
    median: Interval | None
    mean: Interval | None
    std: Interval | None


def _bootstrap(scored: list[ScoredImage], subjects: list[str]) -> _Intervals:
    """Percentile bootstrap intervals of median, mean and deviation; subjects are resampled.

    Medians come from histograms with bins of 0.002 mm, so that resamples need no sorting.
    """
    bins = int(HISTOGRAM_MAX_MM / BIN_MM)
    histograms = np.zeros((len(subjects), bins))
    sums = np.zeros((len(subjects), 3))  # count, sum, sum of squares
    for image in scored:
        row = subjects.index(image.score.subject)
        distances = image.distances.astype(np.float64)
        cells = np.minimum((distances / BIN_MM).astype(np.int64), bins - 1)
        histograms[row] += np.bincount(cells, minlength=bins)
        sums[row] += len(distances), distances.sum(), (distances**2).sum()
    counts = np.random.default_rng(0).multinomial(
        len(subjects), np.full(len(subjects), 1 / len(subjects)), RESAMPLES
    )
    total = counts @ sums
    mean = total[:, 1] / total[:, 0]
    std = np.sqrt(np.maximum(total[:, 2] / total[:, 0] - mean**2, 0))
    median = np.concatenate(
        [_medians(counts[i : i + 50], histograms) for i in range(0, RESAMPLES, 50)]
    )
    median_ci = _interval(median)
    clipped = median_ci.high > HISTOGRAM_MAX_MM - BIN_MM
    return _Intervals(None if clipped else median_ci, _interval(mean), _interval(std))


def _interval(values: Float[np.ndarray, " R"]) -> Interval:
    """The central 95 % of the resamples."""
    return Interval(low=float(np.percentile(values, 2.5)), high=float(np.percentile(values, 97.5)))


def _medians(
    counts: Int[np.ndarray, "R S"], histograms: Float[np.ndarray, "S B"]
) -> Float[np.ndarray, " R"]:
    """Median of each resample, linearly interpolated within its bin."""
    cumulative = np.cumsum(counts @ histograms, axis=1)
    half = cumulative[:, -1:] / 2
    cell = (cumulative < half).sum(axis=1)
    rows = np.arange(len(counts))
    below = np.where(cell > 0, cumulative[rows, np.maximum(cell - 1, 0)], 0.0)
    inside = cumulative[rows, cell] - below
    return (cell + (half[:, 0] - below) / np.maximum(inside, 1)) * BIN_MM
