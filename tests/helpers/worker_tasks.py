"""Tasks of spawned processes.

A spawned process imports its task by name, which it cannot from a test file: pytest's importlib
mode puts none of them on the path.
"""

import os
import signal
import time
from pathlib import Path

from helpers.flame_tiny import tiny_head

from eval_now.errors import UserError
from flame_assets.model.head_io import save_head


def die(seconds: float) -> None:
    """Sleep, then leave as if killed by the system for its memory."""
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(text: str) -> None:
    raise UserError(f"{text} told apart")


def save_ten_versions(folder: str) -> None:
    for version in range(10):
        save_head(tiny_head(version=str(version)), Path(folder))
