"""A trace of a few steps: what they spend their time on."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch
from torch.autograd.profiler_util import DeviceType, FunctionEventAvg
from torch.profiler import ProfilerActivity, profile, schedule

LOGGER = logging.getLogger(__name__)
WARM_UP, PROFILED = 5, 5
"""Steps before the trace begins, and in it."""

GROUPS = (
    ("between processes", ("nccl", "c10d::")),
    ("attention", ("flash", "fmha", "attention")),
    ("optimiser", ("multi_tensor", "adam", "foreach")),
    ("matrix products", ("gemm", "cutlass", "nvjet", "xmma", "cublas", "::mm", "addmm", "bmm")),
    ("convolutions", ("conv", "cudnn", "winograd")),
    ("fused by the compiler", ("triton", "cpp_fused")),
    ("normalisation", ("layer_norm", "layernorm", "batch_norm", "softmax")),
    ("copies and fills", ("memcpy", "memset", "copy", "fill", "::to", "::cat", "catarray")),
    ("reductions", ("reduce", "::sum", "::mean")),
    ("element by element", ("elementwise", "vectorized", "::add", "::mul", "::div", "gelu")),
)
"""Kinds of kernels by parts of their names; the first that fits counts."""


class TimedKernel(NamedTuple):
    """A kernel, or on a processor an operation, over the profiled steps."""

    name: str
    microseconds: float
    """Without those that it called."""
    calls: int


def kernel_groups(kernels: Iterable[TimedKernel], steps: int) -> str:
    """A table of the time a step spends in each kind of kernel, with the longest of its kind."""
    groups: dict[str, list[TimedKernel]] = defaultdict(list)
    for kernel in kernels:
        name = kernel.name.lower()
        kind = next((kind for kind, parts in GROUPS if any(p in name for p in parts)), "other")
        groups[kind].append(kernel)
    times = {kind: sum(each.microseconds for each in group) for kind, group in groups.items()}
    total = max(sum(times.values()), 1e-9)
    lines = [f"{'kind':22} {'ms a step':>9} {'share':>6} {'calls':>7}  longest"]
    for kind in sorted(times, key=lambda kind: -times[kind]):
        longest = max(groups[kind], key=lambda each: each.microseconds)
        calls = sum(each.calls for each in groups[kind]) / steps
        lines.append(
            f"{kind:22} {times[kind] / 1000 / steps:9.2f} {times[kind] / total:6.1%} {calls:7.0f}"
            f"  {longest.microseconds / 1000 / steps:.2f} ms {longest.name[:60]}"
        )
    lines.append(f"{'all':22} {total / 1000 / steps:9.2f}")
    return "\n".join(lines)


class StepProfiler:
    """Context of training steps; after the tenth, once, writes RUN/profile/trace.json, which any
    viewer of the Chrome trace format opens, and RUN/profile/kernels.txt: time by kind of kernel,
    and the operations that took longest. Both tables are also logged.
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
        averages = finished.key_averages()
        on_gpu = torch.cuda.is_available()
        by_time = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        text = (
            f"{kernel_groups(_kernels(averages, on_gpu), PROFILED)}\n\n"
            f"{averages.table(sort_by=by_time, row_limit=30)}\n"
        )
        (self._folder / "kernels.txt").write_text(text, encoding="utf-8")
        LOGGER.info("%d steps profiled in %s\n%s", PROFILED, self._folder / "trace.json", text)


def _kernels(averages: Iterable[FunctionEventAvg], on_gpu: bool) -> list[TimedKernel]:
    """The kernels of the GPU, or without one the processor's operations."""
    if on_gpu:
        return [
            TimedKernel(str(each.key), each.self_device_time_total, each.count)
            for each in averages
            if each.device_type == DeviceType.CUDA
        ]
    return [
        TimedKernel(str(each.key), each.self_cpu_time_total, each.count)
        for each in averages
        if not str(each.key).startswith("ProfilerStep")
    ]
