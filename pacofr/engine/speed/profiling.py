"""A trace of a few steps: what they spend their time on."""

import logging
from pathlib import Path
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile, schedule

LOGGER = logging.getLogger(__name__)
WARM_UP, PROFILED = 5, 5
"""Steps before the trace begins, and in it."""


class StepProfiler:
    """Context of training steps; writes RUN/profile/trace.json after the tenth, once.

    The trace opens in any viewer of the Chrome trace format; the operations that took longest are
    also logged.
    """

    def __init__(self, run: Path, *, enabled: bool) -> None:
        self._folder, self._left = run / "profile", WARM_UP + PROFILED if enabled else 0
        self._profile: profile | None = None

    def __enter__(self) -> "StepProfiler":
        if self._left:
            self._left = WARM_UP + PROFILED
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(
                activities=activities,
                schedule=schedule(wait=1, warmup=WARM_UP - 1, active=PROFILED, repeat=1),
                on_trace_ready=self._write,
            )
            self._profile.__enter__()
        return self

    def step(self) -> None:
        """Note the end of a step."""
        if self._profile is not None:
            self._profile.step()
            self._left -= 1
            if not self._left:
                self._end(None, None, None)

    def _end(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ended, self._profile = self._profile, None
        if ended is not None:
            ended.__exit__(kind, error, traceback)

    __exit__ = _end

    def _write(self, finished: profile) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        finished.export_chrome_trace(str(self._folder / "trace.json"))
        by_time = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = finished.key_averages().table(sort_by=by_time, row_limit=30)
        LOGGER.info("%d steps profiled in %s\n%s", PROFILED, self._folder / "trace.json", table)
