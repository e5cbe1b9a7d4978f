"""Fixtures shared by all tests: where the parity figures and the outside data lie."""

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PARITY = Path(__file__).resolve().parent / "reference" / "parity"
SHARED = REPOSITORY.parent / "shared"
LONGEST_TEST, LONGEST_SLOW_TEST = 600.0, 3600.0
"""Seconds of wall clock, beside other jobs too."""

# the workers of xdist share the cores, and threads that wait for each other spin
os.environ.setdefault("OMP_NUM_THREADS", "1")

# what is compiled is kept for the other worker, the programs under test and the next run: without
# it each of a hundred processes compiles the packages anew
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# programs under test are the installed ones, as the tests' own imports are, with one compiler cache
os.environ["PYTHONSAFEPATH"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # started in the background of a script, which programs under test would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What is imported stays: searching it for garbage was a third of short trainings' time."""
    if "pacofr.engine.optimization.adamw" in sys.modules:
        import torch._dynamo  # noqa: F401  # else the first optimizer imports it
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def _bounded(item: pytest.Item) -> Iterator[None]:
    """Fail a test that is still running after `LONGEST_TEST` seconds, whatever it waits for."""
    if not hasattr(signal, "setitimer") or threading.current_thread() != threading.main_thread():
        yield
        return

    longest = LONGEST_SLOW_TEST if item.get_closest_marker("slow") else LONGEST_TEST

    def fail(number: int, frame: object) -> None:
        pytest.fail(f"still running after {longest:g} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, longest, 30.0)  # again, if the first is caught
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Bound fixtures."""
    with _bounded(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Bound tests."""
    with _bounded(item):
        return (yield)


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    """Folder of the figures computed with the official peers' code (travels with the tests)."""
    return PARITY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real faces; they are never part of the repository."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("missing: ../shared/data (real photos and scans, not distributed)")
    return folder


@pytest.fixture(scope="session")
def now_cases() -> Path:
    """Folder of the NoW-style cases with the official evaluator's figures."""
    folder = SHARED / "reference" / "now_cases"
    if not folder.is_dir():
        pytest.skip("missing: ../shared/reference/now_cases (NoW-style cases; not distributed)")
    return folder


@pytest.fixture(scope="session")
def head():
    """The Anthro head."""
    from flame_assets.store import load_head

    return load_head("anthro")
