"""A function mapped over a list by worker processes that end with the run."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from eval_now.errors import UserError

ALIGNMENTS_PER_PROCESS = 32
Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cpus() -> int:
    """Processors that this process may use, as limited by a container or a scheduler."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_jobs(alignments: int) -> int:
    """Processes for so many alignments: up to one per processor, each with enough to do.

    A process takes half a second of CPU time to start, an alignment a tenth.
    """
    return max(1, min(available_cpus(), alignments // ALIGNMENTS_PER_PROCESS))


def map_parallel(
    function: Callable[[Task], Result], tasks: list[Task], jobs: int
) -> Generator[Result, None, None]:
    """Yield `function(task)` as they complete; one job works in this process, more are spawned.

    Close it where an error or a signal may come between two results, else its processes finish
    their tasks before this one ends.

    Raises:
        UserError: a worker was killed.
    """
    if jobs == 1 or len(tasks) <= 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    workers = min(jobs, len(tasks))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            with _ignore_interrupts():
                futures = [pool.submit(function, task) for task in tasks]
                # the pool looks for dead workers among those that ran at its last submission
                pool.submit(_nothing)
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise UserError(
                "a scoring process was killed (out of memory?); go on with fewer --jobs"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise


def _nothing() -> None:
    """A task that does nothing."""


def _end_with_parent() -> None:
    """Let this worker end when its parent does, however that ended."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    """Ignore SIGINT, so that processes started in the block inherit that; the parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
