"""Worker processes that end with their parent, leave Ctrl-C to it and stop between batches."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.synchronize import Event
from typing import Any

SPAWN = multiprocessing.get_context("spawn")
STOP_SECONDS = 3.0
"""For workers to finish their batch, or to find out that there is none."""

_stop: Event | None = None
"""Of a worker process: set when it should stop."""


class WorkersStopped(Exception):  # noqa: N818  # no error: what a worker is told
    """Raised in a worker whose parent has stopped."""


def check_stop() -> None:
    """Raise WorkersStopped in a worker whose pool is being left on an error or by Ctrl-C."""
    if _stop is not None and _stop.is_set():
        raise WorkersStopped


class WorkerPool:
    """A pool of processes; leaving it by an error stops them, without waiting for their work."""

    def __init__(self, jobs: int) -> None:
        self._others = set(multiprocessing.active_children())
        self._stop = SPAWN.Event()
        self._executor = ProcessPoolExecutor(
            jobs, mp_context=SPAWN, initializer=_start_worker, initargs=(self._stop,)
        )

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stop_workers()
        self._executor.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Run a function of a module in some process."""
        with _sigint_blocked():  # the process that is started inherits it
            return self._executor.submit(function, *arguments)

    def _stop_workers(self) -> None:
        """Ask the workers to end; after some seconds, end them."""
        self._stop.set()
        self._executor.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + STOP_SECONDS
        workers = set(multiprocessing.active_children()) - self._others
        for worker in workers:
            worker.join(max(deadline - time.monotonic(), 0))
        for worker in workers:
            worker.terminate()


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Hold Ctrl-C back; it comes at the end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def leave_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
