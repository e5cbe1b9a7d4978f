"""What the programs' threads cost is measured by functions that are right on small programs."""

import os

import pytest
from bench.threads import ONE_THREAD, Program, busy_cores, busy_cost, quiet_cost, run


def timed(setup: str, *one_thread: str) -> Program:
    """`python -m timeit` of nothing, after `setup`."""
    arguments = ["-n", "1", "-r", "1", "-s", f"import os; {setup}", "pass"]
    return Program("timeit:main", arguments, list(one_thread))


def test_programs_get_the_settings_and_no_others(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run(timed("assert os.environ['OMP_NUM_THREADS'] == '1'"), ONE_THREAD)
    run(timed("assert 'OMP_NUM_THREADS' not in os.environ"), {})
    with pytest.raises(SystemExit, match="AssertionError"):
        run(timed("assert 'OMP_NUM_THREADS' in os.environ"), {})


def test_costs_are_those_of_the_process():
    idle = run(timed("import time; time.sleep(0.8)"), {})
    assert idle.wall > 0.8 > idle.cpu
    busy = run(timed("import time\nwhile time.process_time() < 0.4: pass"), {})
    assert busy.cpu > 0.4
    assert busy.wall > 0.35


def test_defaults_are_compared_with_one_thread_and_with_spinning_threads():
    seconds = "(0.05 if 'OMP_NUM_THREADS' in os.environ else 0.35)"
    program = timed(f"import time\nwhile time.process_time() < {seconds}: pass")
    busy = busy_cost(program, 1)
    assert busy.cpu > 0.35
    assert busy.ratio > 2
    assert quiet_cost(program, 1).wall > 0.3


def test_cores_are_busy_in_the_block_alone():
    with busy_cores() as processes:
        assert all(process.poll() is None for process in processes)
        assert len(processes) == len(os.sched_getaffinity(0))
    assert all(process.poll() is not None for process in processes)
