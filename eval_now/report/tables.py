"""Tables of a run or of several: terminal, Markdown, LaTeX."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval_now.io.files import write_atomically
from eval_now.scoring.result import Missing, RunResult, Settings
from eval_now.scoring.result_warnings import Warned
from eval_now.scoring.statistics import Interval, Pooled


class Row(NamedTuple):
    """One line of a table; `incomplete` runs are marked.

    challenge: which images; whole: all that the run measured, not one challenge among others.
    """

    protocol: str
    method: str
    challenge: str
    whole: bool
    pooled: Pooled
    incomplete: bool


MOST_MISSING = 10
HEADINGS = ("protocol", "method", "challenge", "median", "mean", "std", "95 % of median", "images")
NOTE = (
    "Scan-to-mesh distance in mm, all distances of all images pooled; std is the population "
    "deviation; the interval resamples subjects."
)
INCOMPLETE = "* incomplete: images are missing, do not compare"


def rows_of(results: list[RunResult], by_challenge: bool) -> list[Row]:
    """Rows protocol by protocol, best median first; with `by_challenge` each challenge as well."""
    rows: list[Row] = []
    protocols = dict.fromkeys(entry.protocol for run in results for entry in run.protocols)
    for protocol in protocols:
        found = [(run, one) for run in results for one in run.protocols if one.protocol == protocol]
        found.sort(key=lambda pair: pair[1].pooled.median)
        for run, entry in found:
            chosen, partial = selection(run.settings), not run.complete
            rows.append(Row(protocol, run.name, chosen, True, entry.pooled, partial))
            if by_challenge and chosen != _short(entry.challenges[0].challenge):
                rows.extend(
                    Row(protocol, run.name, _short(one.challenge), False, one.pooled, partial)
                    for one in entry.challenges
                )
    return rows


def selection(settings: Settings) -> str:
    """Which images a run measured: "all" of its split, or the list and the challenges it took."""
    parts = [] if settings.image_list is None else [Path(settings.image_list).name]
    if settings.challenges:
        parts.append(" + ".join(map(_short, settings.challenges)))
    return ", ".join(parts) or "all"


def _short(challenge: str) -> str:
    return challenge.removeprefix("multiview_")


def _interval(interval: Interval | None) -> str:
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
        _interval(pooled.median_ci),
        str(pooled.images),
    )


def print_table(console: Console, rows: list[Row]) -> None:
    """The table on the terminal, one per protocol."""
    for protocol in dict.fromkeys(row.protocol for row in rows):
        own = [row for row in rows if row.protocol == protocol]
        caption = INCOMPLETE if any(row.incomplete for row in own) else None
        table = Table(title=f"NoW, {protocol}, mm", caption=caption)
        for index, heading in enumerate(HEADINGS[1:]):
            if index < 2:
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(heading, justify="right", no_wrap=True)
        for before, row in zip([None, *own[:-1]], own, strict=True):
            if before is not None and row.whole:
                table.add_section()
            method, *rest = map(escape, _cells(row)[1:])
            style = "bold" if row.whole else None
            table.add_row(method if row.whole else "", *rest, style=style)
        console.print(table)


def markdown(rows: list[Row]) -> str:
    """The table as Markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|---|" + "---:|" * (len(HEADINGS) - 3)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(row)) + " |" for row in rows
    ]
    notes = [NOTE, INCOMPLETE] if any(row.incomplete for row in rows) else [NOTE]
    return "\n".join([*lines, "", *notes, ""])


_TEX = str.maketrans(
    {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
     "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)  # fmt: skip


def latex(rows: list[Row]) -> str:
    """The table as LaTeX (package booktabs)."""
    lines = [rf"% {NOTE.replace('%', 'percent')}", r"\begin{tabular}{lllrrrrr}", r"\toprule"]
    lines.append(" & ".join(heading.translate(_TEX) for heading in HEADINGS) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(cell.translate(_TEX) for cell in _cells(row)) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if any(row.incomplete for row in rows):
        lines.append(f"% {INCOMPLETE}")
    return "\n".join([*lines, ""])


def save_tables(folder: Path, rows: list[Row]) -> None:
    """Write table.md and table.tex."""
    write_atomically(folder / "table.md", markdown(rows).encode())
    write_atomically(folder / "table.tex", latex(rows).encode())


def print_warnings(console: Console, warnings: Sequence[Warned]) -> None:
    """Warnings by name, with one example each; all of them stand in result.json."""
    for name in dict.fromkeys(warning.name for warning in warnings):
        same = [warning for warning in warnings if warning.name == name]
        where = same[0].image + (f", {same[0].protocol}" if same[0].protocol else "")
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        console.print(
            f"[yellow]warning {name}[/yellow] {escape(f'({where}{more}): {same[0].text}')}",
            highlight=False,
        )


def print_missing(console: Console, missing: Sequence[Missing]) -> None:
    """The first of the missing images; all of them stand in result.json."""
    lines = [f"{entry.image}: {entry.reason}" for entry in missing[:MOST_MISSING]]
    if len(missing) > MOST_MISSING:
        lines.append(f"and {len(missing) - MOST_MISSING} more")
    for line in lines:
        console.print(f"[yellow]missing[/yellow] {escape(line)}", highlight=False)
