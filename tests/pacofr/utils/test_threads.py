"""Thread settings as the libraries see them, and the ordered map over threads."""

import os
import subprocess
import sys
import threading
import time

import pytest

from pacofr.utils.ordered_map import ordered_map
from pacofr.utils.threads import available_cores, use_one_thread_per_operation

REPORT = """
from pacofr.utils.threads import let_idle_threads_sleep, use_one_thread_per_operation
{call}()
import cv2, numpy, torch
from threadpoolctl import threadpool_info
print(torch.get_num_threads(), cv2.getNumThreads(),
      max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"))
"""


def report(call, **environment):
    names = ("OMP_", "MKL_", "OPENBLAS_", "OPENCV_", "GOMP_", "KMP_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    run = subprocess.run(
        [sys.executable, "-c", REPORT.format(call=call)],
        env=clean | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [int(number) for number in run.stdout.split()]


def test_every_library_runs_on_one_thread():
    assert report("use_one_thread_per_operation") == [1, 1, 1]


def test_settings_of_the_user_stay(monkeypatch):
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "2"})
    use_one_thread_per_operation()
    assert os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.skipif(available_cores() < 2, reason="one core: torch has one thread anyway")
def test_sleeping_threads_are_still_as_many_as_cores():
    assert report("let_idle_threads_sleep")[0] > 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_and_errors_in_their_place(threads):
    def work(number):
        time.sleep(0.002 * (7 - number))  # later ones end first
        return 1 / (number - 3)

    futures = list(ordered_map(work, range(7), threads))
    for number, future in enumerate(futures):
        if number == 3:
            with pytest.raises(ZeroDivisionError):
                future.result()
        else:
            assert future.result() == 1 / (number - 3)


def test_items_are_worked_on_at_the_same_time():
    meet = threading.Barrier(2, timeout=20)  # broken unless two threads wait at it together
    futures = list(ordered_map(lambda _: meet.wait(), range(4), 2))
    assert sorted(future.result() for future in futures) == [0, 0, 1, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_is_begun_than_threads(threads):
    begun = []
    results = ordered_map(begun.append, range(100), threads)
    next(results).result()
    time.sleep(0.05)
    assert len(begun) <= threads
    results.close()
    time.sleep(0.05)
    assert len(begun) <= threads


def test_one_thread_is_the_callers():
    (future,) = ordered_map(lambda _: threading.current_thread(), [0], 1)
    assert future.result() is threading.current_thread()
