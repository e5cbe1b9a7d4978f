"""Starting training scripts in processes of their own: alone, or as two ranks on this machine.

The processes are forked from a server that has imported torch and the trainers once.
"""

import atexit
import faulthandler
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LONGEST_WAIT = 300.0
"""Seconds after which a process counts as stuck."""

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["pacofr.pretraining.train", "mica_ext.landmarks.distillation.train", "torch._dynamo"]
)


class Script:
    """A running Python script; its standard error is kept in a file."""

    def __init__(self, script: Path, arguments: list[str], environment: dict[str, str]) -> None:
        handle, self._said = tempfile.mkstemp()
        os.close(handle)
        task = (str(script), arguments, environment, self._said)
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"  # read once, by the server
        try:
            self._process = _SERVER.Process(target=_run_script, args=task)
            self._process.start()
        finally:
            os.environ.pop("OMP_NUM_THREADS")
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """Exit code; minus the signal's number, None while it runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Wait for its end: the exit code. A stuck process is ended and fails the test."""
        self._process.join(LONGEST_WAIT)
        if self.returncode is None:
            self.send_signal(signal.SIGABRT)  # it then writes where its threads are
            self._process.join(10.0)
            self.kill()
            self._process.join(10.0)
            raise AssertionError(f"stuck for {LONGEST_WAIT:g} s: {Path(self._said).read_text()}")
        return self.returncode

    def communicate(self) -> str:
        """Wait for its end: what it wrote to standard error."""
        self.wait()
        text = Path(self._said).read_text()
        os.unlink(self._said)
        return text

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def send_signal(self, number: signal.Signals) -> None:
        """Any signal."""
        os.kill(self.pid, number)


def _run_script(script: str, arguments: list[str], environment: dict[str, str], said: str) -> None:
    """Be `python SCRIPT ARGUMENTS` in a forked process."""
    with open(said, "ab") as file:
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    os.environ.update(environment)
    multiprocessing.set_start_method(None, force=True)  # the system's own, as in a new process
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()


def start(script: Path, *arguments: object, **environment: str) -> Script:
    """Start a Python script."""
    return Script(script, [*map(str, arguments)], environment)


def start_two(script: Path, *arguments: object) -> list[Script]:
    """Start a script as ranks 0 and 1 of a gloo group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(script, *arguments, **shared, RANK=r, LOCAL_RANK=r) for r in ("0", "1")]


def wait_until(done: Callable[[], bool], process: Script) -> None:
    """Wait for something that a running process brings about."""
    last = time.monotonic() + LONGEST_WAIT
    while not done():
        assert process.returncode is None, process.communicate()
        assert time.monotonic() < last, f"nothing came of it in {LONGEST_WAIT:g} s"
        time.sleep(0.01)
