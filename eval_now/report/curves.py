"""`eval-now compare`: cumulative error curves and one table of several runs."""

import io
from pathlib import Path

import numpy as np
from rich.console import Console

from eval_now.config import CompareConfig
from eval_now.errors import UserError, one_line
from eval_now.io.files import write_bytes_atomic
from eval_now.io.terminal import Terminal, print_line
from eval_now.report.tables import print_table, save_tables, table_rows
from eval_now.scoring.result import RunResult
from eval_now.scoring.result_files import load_distances, load_result
from eval_now.scoring.score import Protocol


def compare_command(config: CompareConfig) -> None:
    """`eval-now compare`."""
    compare_runs(config, Terminal())


def compare_runs(config: CompareConfig, console: Console) -> None:
    """Write curves_PROTOCOL.png and .pdf, table.md and table.tex; print the table."""
    folders = list(config.runs)
    runs = [load_result(folder) for folder in folders]
    _require_same_images(folders, runs)
    protocols: list[Protocol] = [entry.protocol for run in runs for entry in run.protocols]
    for protocol in dict.fromkeys(protocols):
        measured = [
            (run, folder)
            for run, folder in zip(runs, folders, strict=True)
            if protocol in [entry.protocol for entry in run.protocols]
        ]
        _draw_curves(config, protocol, measured)
    rows = table_rows(runs)
    save_tables(config.out, rows)
    print_table(console, rows)
    print_line(console, f"written to {config.out}")


def _require_same_images(folders: list[Path], runs: list[RunResult]) -> None:
    """Refuse to compare runs that measured different images."""
    listed = [
        {image.image for entry in run.protocols for image in entry.images}
        | {entry.image for entry in run.missing}
        for run in runs
    ]
    for folder, images in zip(folders[1:], listed[1:], strict=True):
        if images != listed[0]:
            raise UserError(
                f"{folder}: measured other images ({len(images)}) than {folders[0]} "
                f"({len(listed[0])}); run both with the same --split, --challenge and --image-list"
            )


def _draw_curves(
    config: CompareConfig, protocol: Protocol, runs: list[tuple[RunResult, Path]]
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    errors = np.linspace(0, config.largest_mm, 501)
    styles = ("-", "--", "-.", ":")
    labels: list[str] = []
    for index, (run, folder) in enumerate(runs):
        distances = np.sort(np.concatenate(list(load_distances(folder, protocol).values())))
        fraction = np.searchsorted(distances, errors.astype(np.float32), side="right") / len(
            distances
        )
        median = next(entry.pooled.median for entry in run.protocols if entry.protocol == protocol)
        labels.append(
            f"{one_line(run.name)}{'' if run.complete else ' (incomplete)'}, median {median:.2f} mm"
        )
        style = styles[index // 10 % len(styles)]
        axes.plot(errors, 100 * fraction, style, label=str(index), linewidth=1.6)
    axes.set(
        xlabel="error [mm]",
        ylabel="scan vertices within the error [%]",
        title=f"NoW, {protocol}",
        xlim=(0, config.largest_mm),
        ylim=(0, 100),
    )
    axes.grid(alpha=0.3)
    legend = axes.legend(loc="lower right", fontsize=8)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # matplotlib hides lines whose own label starts with an underscore
        text.set_parse_math(False)
    for suffix in ("png", "pdf"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=160)
        write_bytes_atomic(config.out / f"curves_{protocol}.{suffix}", buffer.getvalue())
