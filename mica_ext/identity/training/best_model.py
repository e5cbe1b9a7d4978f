"""MICA's choice of the published weights: those of the best smoothed validation loss.

    RUN/best/model/      config.json, model.safetensors
    RUN/best/best.json   step, smoothed loss

MICA's validator (validator.py) averages the losses of its validation people, smooths them over the
last WINDOW validations, and keeps the weights whenever that mean falls below its lowest value.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.engine.run_log import read_metrics

WINDOW = 7
"""Validations that are averaged."""
BEST, MODEL, RECORD = "best", "model", "best.json"
METRICS = "metrics.jsonl"


class Smoothed(NamedTuple):
    """Losses of a run's validations so far."""

    losses: tuple[float, ...]

    def add(self, loss: float) -> "Smoothed":
        """With one more."""
        return Smoothed((*self.losses, loss))

    @property
    def means(self) -> list[float]:
        """Mean of the last WINDOW losses after each validation."""
        ends = range(1, len(self.losses) + 1)
        return [float(np.mean(self.losses[max(0, end - WINDOW) : end])) for end in ends]

    @property
    def is_best(self) -> bool:
        """Whether the last mean is below all before it."""
        *before, last = self.means
        return all(last < each for each in before)


class BestModel:
    """Keeps the best weights of a run beside its checkpoints."""

    def __init__(self, run: Path, name: str) -> None:
        """Set up for a run whose validation measure has this name."""
        self.run, self.name = run, name

    def validated(self, step: int, loss: float, export: Callable[[Path], None]) -> None:
        """Keep the weights if this validation is the best so far.

        The earlier ones are read from the run's metrics, which resuming cuts back to its step, so
        that a run that was killed chooses as an uninterrupted one.

        Raises:
            UserError: the weights cannot be written.
        """
        smoothed = self._before(step).add(loss)
        if not smoothed.is_best:
            return
        writing = self.run / f".writing_{BEST}"
        try:
            shutil.rmtree(writing, ignore_errors=True)
            export(writing / MODEL)
            record = {"step": step, self.name: smoothed.means[-1]}
            write_bytes_atomic(writing / RECORD, (json.dumps(record) + "\n").encode())
            shutil.rmtree(self.run / BEST, ignore_errors=True)
            writing.rename(self.run / BEST)
        except OSError as error:
            raise UserError(
                f"{self.run}: the best weights cannot be written ({error.strerror}); make room "
                "there and give the same command again"
            ) from error

    def _before(self, step: int) -> Smoothed:
        file = self.run / METRICS
        rows = (fields for _, fields in read_metrics(file)) if file.is_file() else ()
        return Smoothed(tuple(f[self.name] for f in rows if self.name in f and f["step"] < step))
