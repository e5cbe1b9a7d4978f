"""Tables of one or more runs, for the terminal, Markdown and LaTeX."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval_now.data.image_issues import ImageWarning, MissingImage
from eval_now.errors import one_line
from eval_now.io.files import write_bytes_atomic
from eval_now.scoring.result import RunResult, Settings
from eval_now.scoring.statistics import Interval, Pooled


class Row(NamedTuple):
    """One row of a table.

    challenge: the images measured. whole: all images of the run, not one of its challenges.
    incomplete: images are missing; the row is marked.
    """

    protocol: str
    method: str
    challenge: str
    whole: bool
    pooled: Pooled
    incomplete: bool


MAX_MISSING_PRINTED = 10
HEADINGS = ("protocol", "method", "challenge", "median", "mean", "std", "95 % of median", "images")
NOTE = (
    "Scan-to-mesh distance in mm, all distances of all images pooled; std is the population "
    "deviation; the interval resamples subjects."
)
INCOMPLETE = "* incomplete: images are missing, do not compare"


def table_rows(results: list[RunResult]) -> list[Row]:
    """Rows by protocol, smallest median first, each run followed by its challenges."""
    rows: list[Row] = []
    protocols = dict.fromkeys(entry.protocol for run in results for entry in run.protocols)
    for protocol in protocols:
        measured = [
            (run, entry) for run in results for entry in run.protocols if entry.protocol == protocol
        ]
        measured.sort(key=lambda pair: pair[1].pooled.median)
        for run, entry in measured:
            name, images = one_line(run.name), one_line(describe_images(run.settings))
            incomplete = not run.complete
            rows.append(Row(protocol, name, images, True, entry.pooled, incomplete))
            parts = [(one_line(_short_name(p.challenge)), p.pooled) for p in entry.challenges]
            if images not in [challenge for challenge, _ in parts[:1]]:
                rows += [Row(protocol, name, c, False, p, incomplete) for c, p in parts]
    return rows


def describe_images(settings: Settings) -> str:
    """The images a run measured: "all" of its split, or its image list and challenges."""
    restrictions = [] if settings.image_list is None else [Path(settings.image_list).name]
    if settings.challenges:
        restrictions.append(" + ".join(map(_short_name, settings.challenges)))
    return ", ".join(restrictions) or "all"


def _short_name(challenge: str) -> str:
    return challenge.removeprefix("multiview_")


def _format_interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"


def _cells(row: Row) -> tuple[str, ...]:
    pooled = row.pooled
    return (
        row.protocol,
        row.method + (" *" if row.incomplete else ""),
        row.challenge,
        f"{pooled.median:.3f}",
        f"{pooled.mean:.3f}",
        f"{pooled.std:.3f}",
        _format_interval(pooled.median_ci),
        str(pooled.images),
    )


def print_table(console: Console, rows: list[Row]) -> None:
    """Print one table per protocol."""
    for protocol in dict.fromkeys(row.protocol for row in rows):
        selected = [row for row in rows if row.protocol == protocol]
        caption = INCOMPLETE if any(row.incomplete for row in selected) else None
        table = Table(title=f"NoW, {protocol}, mm", caption=caption)
        for index, heading in enumerate(HEADINGS[1:]):
            if index < 2:
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(heading, justify="right", no_wrap=True)
        for index, row in enumerate(selected):
            if index and row.whole:
                table.add_section()
            method, *rest = map(escape, _cells(row)[1:])
            style = "bold" if row.whole else None
            table.add_row(method if row.whole else "", *rest, style=style)
        console.print(table)


def markdown_table(rows: list[Row]) -> str:
    """Format the rows as Markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|---|" + "---:|" * (len(HEADINGS) - 3)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(row)) + " |" for row in rows
    ]
    notes = [NOTE, INCOMPLETE] if any(row.incomplete for row in rows) else [NOTE]
    return "\n".join([*lines, "", *notes, ""])


_TEX_ESCAPES = str.maketrans(
    {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
     "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)  # fmt: skip


def latex_table(rows: list[Row]) -> str:
    """Format the rows as LaTeX (package booktabs)."""
    lines = [rf"% {NOTE.replace('%', 'percent')}", r"\begin{tabular}{lllrrrrr}", r"\toprule"]
    lines.append(" & ".join(heading.translate(_TEX_ESCAPES) for heading in HEADINGS) + r" \\")
    lines.append(r"\midrule")
    lines += [
        " & ".join(cell.translate(_TEX_ESCAPES) for cell in _cells(row)) + r" \\" for row in rows
    ]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if any(row.incomplete for row in rows):
        lines.append(f"% {INCOMPLETE}")
    return "\n".join([*lines, ""])


def save_tables(folder: Path, rows: list[Row]) -> None:
    """Write table.md and table.tex."""
    write_bytes_atomic(folder / "table.md", markdown_table(rows).encode())
    write_bytes_atomic(folder / "table.tex", latex_table(rows).encode())


def print_warnings(console: Console, warnings: Sequence[ImageWarning]) -> None:
    """Print the warnings by name with one example each; result.json holds them all."""
    for name in dict.fromkeys(warning.name for warning in warnings):
        same = [warning for warning in warnings if warning.name == name]
        where = same[0].image + (f", {same[0].protocol}" if same[0].protocol else "")
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        text = one_line(f"({where}{more}): {same[0].text}")
        console.print(f"[yellow]warning {name}[/yellow] {escape(text)}", highlight=False)


def print_missing(console: Console, missing: Sequence[MissingImage]) -> None:
    """Print the first missing images; result.json holds them all."""
    lines = [f"{entry.image}: {entry.reason}" for entry in missing[:MAX_MISSING_PRINTED]]
    if len(missing) > MAX_MISSING_PRINTED:
        lines.append(f"and {len(missing) - MAX_MISSING_PRINTED} more")
    for line in lines:
        console.print(f"[yellow]missing[/yellow] {escape(one_line(line))}", highlight=False)
