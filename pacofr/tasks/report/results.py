"""result.json: how a task model was trained and how it scores; best and last epoch."""

import dataclasses
import math
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pacofr.engine.run_log import read_metrics
from pacofr.errors import UserError
from pacofr.tasks.config import TaskConfig, TaskName, Tuning
from pacofr.utils.config_json import from_json, read_json
from pacofr.utils.files import write_json

FORMAT, VERSION = "pacofr-task-result", 1

OUTSIDE_PROTOCOL = frozenset(
    {
        *("tuning", "resolution", "seed", "workers", "validate_epochs", "checkpoint_minutes"),
        *("accumulate", "precision", "compile", "hold_gb"),
    }
)
"""Fields in which runs of one protocol may differ: what the tables compare, and the machine's."""

Which = Literal["best epoch", "last epoch", "given model"]


class Score(NamedTuple):
    """The scores of one subset at one step."""

    subset: str
    which: Which
    step: int
    measures: dict[str, float | None]
    """[%] by name; None for a mean over classes of which one does not occur."""


class Result(NamedTuple):
    """A trained model and its scores."""

    format: str
    version: int
    task: TaskName
    data: str
    encoder: str
    tuning: Tuning
    resolution: int
    labels: int
    """Pictures trained on."""
    steps: int
    seed: int
    deviations: tuple[str, ...]
    """From the protocol and data of the paper, in words; empty: they are the same."""
    test_samples: dict[str, int]
    """Number of test samples by subset."""
    scores: tuple[Score, ...]

    def score(self, subset: str, which: Which) -> Score | None:
        """The scores of a subset, if there are any."""
        found = [score for score in self.scores if (score.subset, score.which) == (subset, which)]
        return found[0] if found else None


def protocol_deviations(config: TaskConfig, default: TaskConfig) -> tuple[str, ...]:
    """Fields of `config` that differ from the protocol's, in words."""
    ours, theirs = dict(_flat(config)), dict(_flat(default))
    return tuple(
        f"{name} {ours[name]} (protocol: {theirs[name]})"
        for name in ours
        if name not in OUTSIDE_PROTOCOL and ours[name] != theirs[name]
    )


def _flat(config: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _flat(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def read_scores(run: Path, best_measure: str, *, smaller_is_better: bool) -> tuple[Score, ...]:
    """The scores of a run's last and best evaluation of each subset, from its metrics.jsonl.

    Raises:
        UserError: that file is not what a run of a task writes.
    """
    file = run / "metrics.jsonl"
    rows: list[tuple[int, dict[str, dict[str, float]]]] = []
    for line, fields in read_metrics(file):
        measures, step = _by_subset(fields), fields.get("step")
        if not measures:
            continue
        if type(step) is not int or any(best_measure not in own for own in measures.values()):
            raise UserError(f"{file}: expected a step and its scores, got {reprlib.repr(line)}")
        rows.append((step, measures))
    if not rows:
        return ()
    last_step, last = rows[-1]
    scores = []
    for subset in last:
        scores.append(Score(subset, "last epoch", last_step, _finite(last[subset])))
        sign = 1 if smaller_is_better else -1
        measured = [(step, scored[subset]) for step, scored in rows if subset in scored]
        step, best = min(measured, key=lambda row: sign * _number(row[1][best_measure], sign))
        scores.append(Score(subset, "best epoch", step, _finite(best)))
    return tuple(scores)


def _number(value: float, sign: int) -> float:
    return sign * math.inf if math.isnan(value) else value


def _by_subset(fields: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    measures: dict[str, dict[str, float]] = {}
    for name, value in fields.items():
        subset, slash, measure = name.partition("/")
        if slash and isinstance(value, float):
            measures.setdefault(subset, {})[measure] = value
    return measures


def _finite(measures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in measures.items()}


def given_scores(scores: Mapping[str, Mapping[str, float]], step: int) -> tuple[Score, ...]:
    """Scores of a model that was given, whatever epoch it is of."""
    return tuple(
        Score(subset, "given model", step, _finite(measures)) for subset, measures in scores.items()
    )


def write_result(file: Path, result: Result) -> None:
    """Write a result as JSON."""
    content = {**result._asdict(), "scores": [score._asdict() for score in result.scores]}
    write_json(file, content)


def read_result(path: Path) -> Result:
    """Read a result.json, or that of a run.

    Raises:
        UserError: it is missing or another file.
    """
    file = path / "result.json" if path.is_dir() else path
    content = read_json(file, "the result of a task model")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file}: expected a result of `pacofr task`, got another JSON file")
    if content.get("version") != VERSION:
        raise UserError(f"{file}: expected version {VERSION}, got {content.get('version')!r}")
    return from_json(Result, content, str(file))
