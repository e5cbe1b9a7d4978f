"""Scores over the number of labelled pictures as a chart: a panel a tuning, a line an encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pacofr.errors import UserError
from pacofr.tasks.report.columns import SHAPES
from pacofr.tasks.report.label_efficiency import LabelRow, label_rows, label_table
from pacofr.tasks.report.results import Result
from pacofr.utils.files import write_png

SPREAD = 1.03
"""Ratio by which neighbouring encoders' marks are moved apart, so that intervals do not overlap."""


def write_label_efficiency(results: Sequence[Result], chart: Path) -> str:
    """Write the chart of results of one data set; their table.

    Raises:
        UserError: results of several data sets or without scores; the chart cannot be written.
    """
    sets = {result.data for result in results}
    rows = label_rows(results)
    if len(sets) != 1 or not rows:
        raise UserError(
            f"expected scored results of one data set, got {len(rows)} scores of"
            f" {', '.join(sorted(sets))}"
        )
    summary = SHAPES[sets.pop()].summary
    picture = draw_label_efficiency(rows, f"{summary.subset}, {summary.measure}")
    try:
        write_png(chart, picture)
    except OSError as error:
        raise UserError(f"{chart} cannot be written: {error.strerror}") from error
    return label_table(rows)


def draw_label_efficiency(rows: Sequence[LabelRow], measure: str) -> UInt8[np.ndarray, "H W 3"]:
    """Mean and 95 % interval over seeds of every row, over the number of labels.

    Args:
        rows: not empty.
        measure: what the scores are, for the axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tunings = list(dict.fromkeys(row.tuning for row in rows))
    encoders = list(dict.fromkeys(row.encoder for row in rows))
    counts = sorted({row.labels for row in rows})
    figure = Figure(figsize=(1.0 + 4.6 * len(tunings), 3.8), layout="constrained", dpi=120)
    canvas = FigureCanvasAgg(figure)
    panels = np.atleast_1d(np.asarray(figure.subplots(1, len(tunings), sharey=True)))
    for axes, tuning in zip(panels, tunings, strict=True):
        for number, encoder in enumerate(encoders):
            own = sorted(
                (row for row in rows if (row.encoder, row.tuning) == (encoder, tuning)),
                key=lambda row: row.labels,
            )
            if not own:
                continue
            x = np.array([row.labels for row in own]) * SPREAD ** (number - (len(encoders) - 1) / 2)
            half = [row.half_interval or 0.0 for row in own]
            means = [row.mean for row in own]
            axes.errorbar(x, means, yerr=half, marker="o", ms=4, capsize=3, lw=1.2, label=encoder)
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set(title=f"{tuning} encoder", xlabel="labelled pictures")
        axes.grid(alpha=0.3)
    seeds = {len(row.values) for row in rows}
    panels[0].set_ylabel(f"{measure} [%]")
    panels[-1].legend(fontsize=8)
    figure.supxlabel(
        f"{'/'.join(map(str, sorted(seeds)))} seeds, bars: 95 % interval of their mean", fontsize=8
    )
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
