"""Results as tables of text, in the shape of the paper's Tables 1 to 6."""

from collections.abc import Iterable, Sequence

from pacofr.tasks.report.columns import SHAPES
from pacofr.tasks.report.published import PUBLISHED, TABLE_6, TABLE_6_COLUMNS, PublishedRow
from pacofr.tasks.report.results import Result, Score, Which

ABSENT = "-"
WHICH: tuple[Which, ...] = ("last epoch", "best epoch", "given model")


def tables(results: Sequence[Result]) -> str:
    """A table for every data set, and Table 6 where results of several are given."""
    parts = []
    for data in SHAPES:
        own = [result for result in results if result.data == data]
        if own:
            parts.append(_data_table(data, own))
    if len({result.data for result in results}) > 1:
        parts.append(_summary_table(results))
    return "\n\n".join(parts)


def _data_table(data: str, results: Sequence[Result]) -> str:
    shape = SHAPES[data]
    rows, notes = [], []
    for result in results:
        for which in WHICH:
            values = [_value(result, c.subset, c.measure, which) for c in shape.columns]
            if any(value is not None for value in values):
                rows.append(_row(_name(result), result.tuning, result.resolution, which, values))
        notes += [f"{_name(result)}: {deviation}" for deviation in result.deviations]
    for row in PUBLISHED.get(data, ()):
        if any(_comparable(result, row) for result in results):
            rows.append(_row(row.method, row.tuning, row.resolution, "paper", row.values))
    titles = ["encoder", "tuning", "px", "epoch", *(column.title for column in shape.columns)]
    lines = [shape.title, *aligned_rows([titles, *rows], left=4)]
    if notes:
        lines += ["not the paper's protocol or data:", *(f"  {n}" for n in dict.fromkeys(notes))]
    return "\n".join(lines)


def _summary_table(results: Sequence[Result]) -> str:
    rows = []
    named = {(_name(r), r.tuning, r.resolution): r for r in results}
    for (name, tuning, resolution), _ in named.items():
        for which in WHICH:
            values = []
            for data in TABLE_6_COLUMNS:
                summary = SHAPES[data].summary
                found = [
                    _value(r, summary.subset, summary.measure, which)
                    for r in results
                    if (_name(r), r.tuning, r.resolution, r.data)
                    == (name, tuning, resolution, data)
                ]
                values.append(found[0] if found else None)
            if any(value is not None for value in values):
                rows.append(_row(name, tuning, resolution, which, values))
    for row in TABLE_6:
        if any(_comparable(result, row) for result in results):
            rows.append(_row(row.method, row.tuning, row.resolution, "paper", row.values))
    titles = ["encoder", "tuning", "px", "epoch"]
    titles += [SHAPES[data].summary.title for data in TABLE_6_COLUMNS]
    return "\n".join(["Table 6", *aligned_rows([titles, *rows], left=4)])


def _comparable(result: Result, row: PublishedRow) -> bool:
    same = (result.tuning, result.resolution) == (row.tuning, row.resolution)
    return same and not result.deviations


def _name(result: Result) -> str:
    return f"{result.encoder} ({result.labels} labels, seed {result.seed})"


def _value(result: Result, subset: str, measure: str, which: Which) -> float | None:
    score: Score | None = result.score(subset, which)
    return None if score is None else score.measures.get(measure)


def _row(
    name: str, tuning: str, resolution: int, which: str, values: Iterable[float | None]
) -> list[str]:
    shown = [ABSENT if value is None else f"{value:.4g}" for value in values]
    return [name, tuning, str(resolution), which, *shown]


def aligned_rows(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Rows of cells as lines; the first `left` columns are aligned to the left."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
