"""Label efficiency: task models of several encoders, trained on few and on many labels.

OUT/ENCODER/TUNING/labels-NNNN/seed-N/    a run of `pacofr task train` each
OUT/table.json, table.png                 the means and intervals over seeds, and their chart
"""

import dataclasses
import itertools
import logging
import re
from collections.abc import Iterator

from pacofr.errors import UserError
from pacofr.pretraining.encoder_spec import without_folders
from pacofr.tasks.command import SweepAlignment, SweepParsing, TrainAlignment, TrainParsing
from pacofr.tasks.report.label_chart import write_label_efficiency
from pacofr.tasks.report.label_efficiency import label_rows
from pacofr.tasks.report.results import read_result
from pacofr.tasks.run import train_task
from pacofr.utils.files import write_json

LOGGER = logging.getLogger(__name__)

VERSION = 1


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
    results = [read_result(run.out) for run in runs]
    rows = label_rows(results)
    columns = [
        row._asdict() | {"mean": row.mean, "half_interval": row.half_interval} for row in rows
    ]
    write_json(command.out / "table.json", {"version": VERSION, "rows": columns})
    print(write_label_efficiency(results, command.out / "table.png"))
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
