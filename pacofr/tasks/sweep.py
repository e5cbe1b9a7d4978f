"""Label efficiency: task models of several encoders, trained on few and on many labels.

OUT/ENCODER/TUNING/labels-NNNN/seed-N/    a run of `pacofr task train` each
OUT/table.json                            the means and intervals over seeds
"""

import dataclasses
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pacofr.errors import UserError
from pacofr.pretraining.encoder_spec import without_folders
from pacofr.tasks.command import SweepAlignment, SweepParsing, TrainAlignment, TrainParsing
from pacofr.tasks.report.columns import SHAPES
from pacofr.tasks.report.results import Result, read_result
from pacofr.tasks.report.tables import aligned_rows
from pacofr.tasks.run import train_task
from pacofr.utils.files import write_json

LOGGER = logging.getLogger(__name__)

VERSION = 1


class SweepRow(NamedTuple):
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
        from scipy.stats import t  # takes a second to import

        count = len(self.values)
        if count < 2:
            return None
        return float(t.ppf(0.975, count - 1) * np.std(self.values, ddof=1) / np.sqrt(count))


def sweep(command: SweepParsing | SweepAlignment) -> int:
    """Carry out what is left of a sweep; the exit code: 0 done, 143 or 130 when it was stopped."""
    runs = list(planned_runs(command))
    for number, run in enumerate(runs, start=1):
        if (run.out / "result.json").exists():
            continue
        LOGGER.info("run %d of %d: %s", number, len(runs), run.out)
        code = train_task(run)
        if code:
            return code
    rows = sweep_rows([read_result(run.out) for run in runs])
    columns = [
        row._asdict() | {"mean": row.mean, "half_interval": row.half_interval} for row in rows
    ]
    write_json(command.out / "table.json", {"version": VERSION, "rows": columns})
    print(sweep_table(rows))
    return 0


def planned_runs(
    command: SweepParsing | SweepAlignment,
) -> Iterator[TrainParsing | TrainAlignment]:
    """The runs of a sweep, those with few labels first."""
    folders = {spec: _folder_name(spec) for spec in command.encoders}
    if len(set(folders.values())) < len(folders):
        raise UserError(f"two encoders would have one folder: {', '.join(folders)}; rename one")
    kinds = itertools.product(
        sorted(command.label_counts), range(command.seeds), command.tunings, command.encoders
    )
    for labels, number, tuning, encoder in kinds:
        seed = command.config.seed + number
        out = command.out / folders[encoder] / tuning / f"labels-{labels:04d}" / f"seed-{seed}"
        options = {
            "data": command.data,
            "encoder": encoder,
            "out": out,
            "cache": command.cache,
            "device": command.device,
            "threads": command.threads,
        }
        changes = {"labels": labels, "seed": seed, "tuning": tuning}
        if isinstance(command, SweepParsing):
            yield TrainParsing(config=dataclasses.replace(command.config, **changes), **options)
        else:
            yield TrainAlignment(config=dataclasses.replace(command.config, **changes), **options)


def _folder_name(spec: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", without_folders(spec)).strip("_") or "encoder"


def sweep_rows(results: Sequence[Result]) -> list[SweepRow]:
    """Results of runs that differ by their seeds, brought together."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for result in results:
        summary = SHAPES[result.data].summary
        score = result.score(summary.subset, "last epoch")
        value = None if score is None else score.measures.get(summary.measure)
        if value is not None:
            found.setdefault((result.encoder, result.tuning, result.labels), []).append(value)
    return [SweepRow(*kind, tuple(values)) for kind, values in found.items()]


def sweep_table(rows: Sequence[SweepRow]) -> str:
    """A line for every encoder and tuning, a column for every number of labels."""
    counts = sorted({row.labels for row in rows})
    named = {(row.encoder, row.tuning, row.labels): row for row in rows}
    lines = [["encoder", "tuning", *(f"{count} labels" for count in counts)]]
    for encoder, tuning in dict.fromkeys((row.encoder, row.tuning) for row in rows):
        cells = [_cell(named.get((encoder, tuning, count))) for count in counts]
        lines.append([encoder, tuning, *cells])
    return "\n".join(aligned_rows(lines, left=2))


def _cell(row: SweepRow | None) -> str:
    if row is None:
        return "-"
    half = row.half_interval
    return f"{row.mean:.2f}" if half is None else f"{row.mean:.2f} +- {half:.2f}"
