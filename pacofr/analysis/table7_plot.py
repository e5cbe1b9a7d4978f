"""The table of `pacofr evidence` as a picture: every row's error, every pair's gap and noise."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from pacofr.analysis.table7_report import RunScore, comparisons, row_scores

COLOURS = {"confirmed": "C2", "reversed": "C3", "undecided": "0.6", "needs seeds": "0.6"}


def draw_scores(scores: Sequence[RunScore]) -> UInt8[np.ndarray, "H W 3"]:
    """Left: NME of every row, a dot per seed. Right: our gap for every pair of the paper's rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, pairs = row_scores(scores), comparisons(scores)
    lines = max(len(rows), len(pairs))
    figure = Figure(figsize=(13, 1.2 + 0.27 * lines), layout="constrained", dpi=120)
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle("Not comparable with the paper's numbers; left of 0 its order holds")

    for height, row in enumerate(rows):
        nmes = [s.probed.nme for s in scores if s.row == row.row and s.probed]
        left.plot(nmes, [height] * len(nmes), "o", color="C0", ms=4, alpha=0.6)
        left.plot([row.nme], [height], "|", color="k", ms=14)
    left.set_yticks(range(len(rows)), [row.row for row in rows])
    left.set(title="frozen encoder, a dot per seed, | their mean", xlabel="NME [%], 68 landmarks")

    for height, pair in enumerate(pairs):
        colour = COLOURS[pair.verdict]
        right.errorbar(pair.gap, height, xerr=pair.noise, fmt="o", color=colour, ms=4, capsize=2)
    names = [f"{pair.better}  before  {pair.worse}" for pair in pairs]
    right.set_yticks(range(len(pairs)), names, fontsize=7)
    right.axvline(0.0, color="k", lw=0.8)
    right.set(title="the paper's better row before its worse", xlabel="NME gap [%] and its 95 %")
    shown = {pair.verdict: COLOURS[pair.verdict] for pair in pairs}
    right.legend(
        [right.plot([], [], "o", color=colour)[0] for colour in shown.values()],
        list(shown),
        fontsize=7,
        loc="lower right",
    )
    for axes in (left, right):
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
