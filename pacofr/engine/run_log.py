"""The records of a run: metrics.jsonl, pictures, TensorBoard, a progress line.

    RUN/metrics.jsonl       one line of JSON per optimiser step, always
    RUN/pictures/*.png      what the model makes of a few images
    RUN/tensorboard/        where TensorBoard is installed and asked for

Resuming cuts metrics.jsonl back to the checkpoint's step, so that the file of a killed run ends up
as that of an uninterrupted one.
"""

import json
import logging
import math
import reprlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pacofr.errors import UserError
from pacofr.utils.budgets import METRICS_LINE
from pacofr.utils.files import write_atomic, write_png

LOGGER = logging.getLogger(__name__)
LOG_SECONDS = 30.0
"""Time between two lines of progress where standard error is no terminal."""


class RunLog:
    """Writes the records of a run on rank 0; on other ranks (`writes` false) it does nothing."""

    def __init__(
        self, run: Path, *, writes: bool, first_step: int, total_steps: int, tensorboard: bool
    ) -> None:
        self.run, self.writes = run, writes
        self._throughput = Throughput()
        self.mfu_per_rate: float | None = None
        """Model-flops utilisation of a rate of one image per second, where it is known."""
        if not writes:
            return
        self._total = total_steps
        self._file = _open_metrics(run, first_step)
        self._board = _open_board(run / "tensorboard", first_step) if tensorboard else None
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total_steps, completed=first_step, line="")
        self._progress.start()
        self._logged = time.monotonic()

    def step(self, fields: Mapping[str, Any]) -> None:
        """Write a step's line to metrics.jsonl, with the images per second of late.

        Args:
            fields: JSON values by name; "step" and "images" (seen so far) are needed. Fields that
                are None are left out.
        """
        if not self.writes:
            return
        step = fields["step"]
        self._throughput.add(step, fields["images"])
        rate = self._throughput.rate
        known = {name: value for name, value in fields.items() if value is not None}
        known["images_per_second"] = round(rate, 2)
        if self.mfu_per_rate is not None:
            known["mfu"] = round(rate * self.mfu_per_rate, 4)
        try:
            self._file.write(json.dumps(known) + "\n")
        except OSError as error:
            raise self._unwritable(self.run / "metrics.jsonl", error) from error
        if self._board is not None:
            for name, value in known.items():
                if isinstance(value, (int, float)):
                    self._board.add_scalar(name, value, step)
        line = f"loss {fields.get('loss', math.nan):.4f}  {rate:.3g} images/s"
        if self.mfu_per_rate is not None:
            line += f"  MFU {rate * self.mfu_per_rate:.0%}"
        self._progress.update(self._task, completed=step, line=line)
        if self._progress.disable and time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            left = self._throughput.seconds_for(self._total - step)
            LOGGER.info("step %d of %d  %s  %s left", step, self._total, line, format_time(left))

    def picture(self, name: str, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Save an RGB picture under `pictures/`."""
        if not self.writes:
            return
        folder = self.run / "pictures"
        try:
            folder.mkdir(exist_ok=True)
            write_png(folder / f"{name}.png", image)
        except OSError as error:
            raise self._unwritable(folder, error) from error

    @staticmethod
    def _unwritable(path: Path, error: OSError) -> UserError:
        return UserError(
            f"cannot write {path} ({error}); make room there and give the same command again: it"
            " goes on from the last checkpoint"
        )

    def pause(self) -> None:
        """Exclude the time until the next step (saving, pictures) from the throughput."""
        self._throughput.restart()

    def close(self) -> None:
        """Close the files and the progress line."""
        if not self.writes:
            return
        self._progress.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()


class Throughput:
    """Images per second over the last few seconds."""

    def __init__(self, window_seconds: float = 30.0) -> None:
        self._window = window_seconds
        self._marks: list[tuple[float, int, int]] = []  # (time, step, images)

    def add(self, step: int, images: int) -> None:
        """Note that `step` steps are done on `images` images in all."""
        now = time.monotonic()
        self._marks.append((now, step, images))
        while len(self._marks) > 2 and now - self._marks[1][0] > self._window:
            self._marks.pop(0)

    def restart(self) -> None:
        """Start measuring anew at the next step."""
        self._marks = []

    @property
    def rate(self) -> float:
        """Images per second, 0 before the second step."""
        return self._per_second(2)

    def seconds_for(self, steps: int) -> float:
        """Time for so many more steps at the present rate [s]."""
        pace = self._per_second(1)
        return steps / pace if pace else math.inf

    def _per_second(self, column: int) -> float:
        if len(self._marks) < 2 or self._marks[-1][0] <= self._marks[0][0]:
            return 0.0
        first, last = self._marks[0], self._marks[-1]
        return (last[column] - first[column]) / (last[0] - first[0])


def read_metrics(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The complete lines of a metrics file: text with its newline, and fields.

    Raises:
        UserError: a line is not one of a run's records.
    """
    if not file.is_file():
        raise UserError(f"{file}: expected the record of a run, found no such file")
    with file.open(encoding="utf-8", errors="backslashreplace") as lines:
        while line := lines.readline(METRICS_LINE):
            if not line.endswith("}\n") and len(line) < METRICS_LINE:
                continue  # half written by a process that was killed
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError):
                fields = None
            if not isinstance(fields, dict):
                raise UserError(f"{file}: expected the record of a run, got {reprlib.repr(line)}")
            yield line, fields


def cut_metrics(file: Path, last_step: int) -> None:
    """Drop the lines after `last_step` (and a half-written last one)."""
    if not file.exists():
        return
    kept = []
    for line, fields in read_metrics(file):
        step = fields.get("step")
        if type(step) is not int:
            raise UserError(f"{file}: expected the record of a run, got a line without its step")
        if step <= last_step:
            kept.append(line)
    write_atomic(file, "".join(kept).encode())


def format_time(seconds: float) -> str:
    """A duration as hours and minutes."""
    if not math.isfinite(seconds):
        return "unknown"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _open_metrics(run: Path, first_step: int) -> IO[str]:
    file = run / "metrics.jsonl"
    try:
        run.mkdir(parents=True, exist_ok=True)
        cut_metrics(file, first_step)
        return file.open("a", encoding="utf-8", buffering=1)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"expected a folder to write the run to, got {run} ({error}); give another --out"
        ) from error
    except UserError as error:
        raise UserError(f"{file} is no record of a run ({error}); give another --out") from error


def _open_board(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise UserError(
            "TensorBoard is not installed; pip install tensorboard, or leave --tensorboard away"
        ) from error
    return SummaryWriter(str(folder), purge_step=first_step + 1)
