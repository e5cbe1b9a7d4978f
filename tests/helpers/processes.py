"""Starting training scripts in processes of their own: alone, or as two ranks on this machine."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(script: Path, *arguments: object, **environment: str) -> subprocess.Popen:
    """Start a Python script; its standard error is captured."""
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        env=ENVIRONMENT | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(script: Path, *arguments: object) -> list[subprocess.Popen]:
    """Start a script as ranks 0 and 1 of a gloo group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(script, *arguments, **shared, RANK=r, LOCAL_RANK=r) for r in ("0", "1")]


def wait_until(done: Callable[[], bool], process: subprocess.Popen) -> None:
    """Wait for something that a running process brings about."""
    while not done():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
