"""Worker processes of eval_now: they end with the run, however it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.worker_tasks import die, refuse

from eval_now.errors import UserError
from eval_now.scoring.workers import available_cpus, default_jobs, map_parallel

TWO_SLEEPERS = """
import contextlib, multiprocessing, time
from eval_now.scoring.workers import map_parallel

if __name__ == "__main__":
    # closed wherever a signal comes: else the interpreter's end waits for the sleepers
    with contextlib.closing(map_parallel(time.sleep, [0.0, 300.0, 300.0], 2)) as results:
        next(results)
        for child in multiprocessing.active_children():
            print(child.pid)
        print("working", flush=True)
        next(results)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:  # an orphan may stay as a zombie where nobody reaps
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(TWO_SLEEPERS)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        lines = list(iter(parent.stdout.readline, "working\n"))
        workers = [int(line) for line in lines]
        assert len(workers) == 2
        assert all(map(is_alive, workers))
        parent.send_signal(number)
        parent.wait(60)
    last = time.monotonic() + 60
    while any(map(is_alive, workers)):
        assert time.monotonic() < last
        time.sleep(0.1)


def test_a_killed_worker_is_one_line():
    with pytest.raises(UserError, match="a scoring process was killed .*fewer --jobs"):
        list(map_parallel(die, [0.0, 300.0], 2))


def test_errors_of_a_worker_arrive():
    with pytest.raises(UserError, match="cannot be told apart"):
        list(map_parallel(refuse, ["cannot be", "cannot be"], 2))


def test_only_the_cpus_of_this_process_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert available_cpus() == 2
    assert [default_jobs(count) for count in (0, 1, 63, 64, 10_000)] == [1, 1, 1, 2, 2]


def test_a_stop_ends_the_pools_processes_only():
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(300,))
    other.start()
    try:
        results = map_parallel(time.sleep, [0.0, 300.0], 2)
        next(results)
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt())
        other.join(0.5)
        assert other.is_alive()
    finally:
        other.terminate()
        other.join()
