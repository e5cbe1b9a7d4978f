"""What a run leaves behind while it goes: metrics.jsonl, pictures, TensorBoard, a progress line.

    RUN/metrics.jsonl       one line of JSON per optimiser step, always
    RUN/pictures/*.png      what the model makes of a few images
    RUN/tensorboard/        where TensorBoard is installed and asked for

Resuming cuts metrics.jsonl back to the checkpoint's step, so that a killed run's file ends up as
the uninterrupted run's.
"""

import json
import logging
import math
import time
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pacofr.errors import UserError
from pacofr.utils.files import write_atomic, write_png

LOGGER = logging.getLogger(__name__)
LOG_SECONDS = 60.0


@runtime_checkable
class Row(Protocol):
    """A named tuple with what one step has to tell; every field goes into metrics.jsonl."""

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        ...

    @property
    def images(self) -> int:
        """Images seen."""
        ...

    @property
    def loss(self) -> float:
        """What was minimised."""
        ...

    def _asdict(self) -> dict: ...


class Records:
    """Writes what rank 0 is told; on other ranks (`writes` false) every call does nothing."""

    def __init__(
        self, run: Path, *, writes: bool, first_step: int, total_steps: int, tensorboard: bool
    ) -> None:
        self.run, self.writes = run, writes
        self._throughput = Throughput()
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

    def step(self, row: Row) -> None:
        """Record a step: `row`'s fields as JSON, plus the images per second of late."""
        if not self.writes:
            return
        self._throughput.add(row.step, row.images)
        rate = self._throughput.rate
        fields = {**_plain(row._asdict()), "images_per_second": round(rate, 2)}
        try:
            self._file.write(json.dumps(fields) + "\n")
        except OSError as error:
            raise self._unwritable(self.run / "metrics.jsonl", error) from error
        if self._board is not None:
            for name, value in fields.items():
                if isinstance(value, (int, float)):
                    self._board.add_scalar(name, value, row.step)
        line = f"loss {row.loss:.4f}  {rate:.3g} images/s"
        self._progress.update(self._task, completed=row.step, line=line)
        if self._progress.disable and time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            left = self._throughput.seconds_for(self._total - row.step)
            LOGGER.info("step %d of %d  %s  %s left", row.step, self._total, line, clock(left))

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
    def _unwritable(place: Path, error: OSError) -> UserError:
        return UserError(
            f"cannot write {place} ({error}); make room there and give the same command again: it"
            " goes on from the last checkpoint"
        )

    def pause(self) -> None:
        """Leave the time until the next step out of the throughput (saving, pictures)."""
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
    """Images per second of the last few seconds of stepping."""

    def __init__(self, window_seconds: float = 30.0) -> None:
        self._window = window_seconds
        self._marks: list[tuple[float, int, int]] = []  # (time, step, images)

    def add(self, step: int, images: int) -> None:
        """Note that `step` is done and `images` have been seen in all."""
        now = time.monotonic()
        self._marks.append((now, step, images))
        while len(self._marks) > 2 and now - self._marks[1][0] > self._window:
            self._marks.pop(0)

    def restart(self) -> None:
        """Begin again at the next step."""
        self._marks = []

    @property
    def rate(self) -> float:
        """Images per second, 0 before the second step."""
        return self._per_second(2)

    def seconds_for(self, steps: int) -> float:
        """Time that many more steps will take at the present pace."""
        pace = self._per_second(1)
        return steps / pace if pace else math.inf

    def _per_second(self, column: int) -> float:
        if len(self._marks) < 2 or self._marks[-1][0] <= self._marks[0][0]:
            return 0.0
        first, last = self._marks[0], self._marks[-1]
        return (last[column] - first[column]) / (last[0] - first[0])


def cut_metrics(file: Path, last_step: int) -> None:
    """Drop the lines after `last_step` (and a half-written last one)."""
    if not file.exists():
        return
    kept = [line for line in read_lines(file) if json.loads(line)["step"] <= last_step]
    write_atomic(file, "".join(kept).encode())


def read_lines(file: Path) -> list[str]:
    """Complete lines of a metrics file, each with its newline."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("}\n")]


def clock(seconds: float) -> str:
    """Hours and minutes for people."""
    if not math.isfinite(seconds):
        return "unknown"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _open_metrics(run: Path, first_step: int) -> IO[str]:
    try:
        run.mkdir(parents=True, exist_ok=True)
        cut_metrics(run / "metrics.jsonl", first_step)
        return (run / "metrics.jsonl").open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise UserError(
            f"expected a folder to write the run to, got {run} ({error}); give another --out"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run / 'metrics.jsonl'} is no record of a run ({error!r}); give another --out"
        ) from error


def _plain(fields: dict) -> dict:
    return {name: value for name, value in fields.items() if value is not None}


def _open_board(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise UserError(
            "TensorBoard is not installed; pip install tensorboard, or leave --tensorboard away"
        ) from error
    return SummaryWriter(str(folder), purge_step=first_step + 1)
