"""Learning curves of pre-training runs: read from metrics.jsonl, drawn over images seen."""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8

from pacofr.engine.run_log import read_metrics
from pacofr.errors import UserError

POINTS = 200
"""Most points of a curve; each is the mean of consecutive steps."""
LARGEST = 1e30
"""Larger numbers of a damaged record are not drawn."""
PANELS = {
    "mse": "mean square error (eq. 2)",
    "perceptual": "perceptual loss (eq. 3)",
    "cross_entropy": "cross-entropy of the beliefs (eq. 6)",
    "usage_entropy": "use of the candidates in a step: entropy over log n",
}
"""Fields of metrics.jsonl and the titles of their panels."""


class Curves(NamedTuple):
    """Records of a run, averaged to at most `POINTS` points."""

    images: Float64[np.ndarray, " n"]
    """Images seen."""
    values: dict[str, Float64[np.ndarray, " n"]]
    """By field of `PANELS`; NaN where the run has none."""


def read_curves(run: Path) -> Curves | None:
    """Curves of a run's folder; None for a `model/` folder or a run without any record.

    Raises:
        UserError: if metrics.jsonl is not what a run writes.
    """
    file = run / "metrics.jsonl"
    if not file.exists():
        return None
    rows = [fields for _, fields in read_metrics(file)]
    try:
        needed = {name: _column([row[name] for row in rows]) for name in ("images", "mse")}
        table = {name: _column([row.get(name, np.nan) for row in rows]) for name in PANELS}
    except (KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{file}: expected the record of a run, got {error!r}") from error
    if not any(map(_known, table.values())):
        return None
    for name in ("perceptual", "cross_entropy"):
        table[name][table[name] == 0.0] = np.nan  # a term that is off counts as 0
    blocks = np.array_split(np.arange(len(rows)), min(POINTS, len(rows)))
    thin = {
        name: np.array([column[block].mean() for block in blocks])
        for name, column in (table | needed).items()
    }
    return Curves(thin.pop("images"), thin)


def draw_curves(curves: Mapping[str, Curves]) -> UInt8[np.ndarray, "H W 3"]:
    """An RGB picture with a panel for every field that some run has, and a curve for every run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [name for name in PANELS if any(_known(c.values[name]) for c in curves.values())]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(5.5 * columns, 3.6 * rows), layout="constrained", dpi=120)
    canvas = FigureCanvasAgg(figure)
    styles = ("-", "--", "-.", ":")
    for number, field in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, number)
        for run, (name, curve) in enumerate(curves.items()):
            if _known(curve.values[field]):
                style = styles[run // 10 % len(styles)]
                colour = f"C{run % 10}"
                axes.plot(
                    curve.images, curve.values[field], style, color=colour, lw=1.2, label=name
                )
        axes.set(title=PANELS[field], xlabel="images seen")
        if field == "mse" and any((curve.values[field] > 0).any() for curve in curves.values()):
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _column(values: list[Any]) -> Float64[np.ndarray, " n"]:
    """Numbers as an array; TypeError for anything else, OverflowError for those beyond 64 bits."""
    for value in values:
        if type(value) not in (int, float):
            raise TypeError(f"expected a number, got {reprlib.repr(value)}")
    column = np.array([float(value) for value in values])
    return np.where(np.abs(column) < LARGEST, column, np.nan)


def _known(values: Float64[np.ndarray, " n"]) -> bool:
    return bool(np.isfinite(values).any())
