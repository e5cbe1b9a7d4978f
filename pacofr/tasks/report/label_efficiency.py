"""Scores over the number of labelled pictures: rows of runs that differ by their seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from pacofr.tasks.report.columns import SHAPES
from pacofr.tasks.report.results import Result
from pacofr.tasks.report.tables import aligned_rows


class LabelRow(NamedTuple):
    """The runs of one encoder, tuning and number of labels; they differ by their seeds."""

    encoder: str
    tuning: str
    labels: int
    values: tuple[float, ...]
    """The data set's main score of the last epoch of each run [%]."""

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.values))

    @property
    def half_interval(self) -> float | None:
        """Half of the 95 % confidence interval of the mean (Student's t); None for one run."""
        count = len(self.values)
        if count < 2:
            return None
        return float(stdtrit(count - 1, 0.975) * np.std(self.values, ddof=1) / np.sqrt(count))


def label_rows(results: Sequence[Result]) -> list[LabelRow]:
    """Results of runs that differ by their seeds, brought together."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for result in results:
        summary = SHAPES[result.data].summary
        score = result.score(summary.subset, "last epoch")
        value = None if score is None else score.measures.get(summary.measure)
        if value is not None:
            found.setdefault((result.encoder, result.tuning, result.labels), []).append(value)
    return [LabelRow(*kind, tuple(values)) for kind, values in found.items()]


def label_table(rows: Sequence[LabelRow]) -> str:
    """A line for every encoder and tuning, a column for every number of labels."""
    counts = sorted({row.labels for row in rows})
    named = {(row.encoder, row.tuning, row.labels): row for row in rows}
    lines = [["encoder", "tuning", *(f"{count} labels" for count in counts)]]
    for encoder, tuning in dict.fromkeys((row.encoder, row.tuning) for row in rows):
        cells = [_cell(named.get((encoder, tuning, count))) for count in counts]
        lines.append([encoder, tuning, *cells])
    return "\n".join(aligned_rows(lines, left=2))


def _cell(row: LabelRow | None) -> str:
    if row is None:
        return "-"
    half = row.half_interval
    return f"{row.mean:.2f}" if half is None else f"{row.mean:.2f} +- {half:.2f}"
