"""The program `eval-now`: score predictions, compare runs, say how to get the data.

Importing this module costs milliseconds. All further imports, option parsing and `--help` happen
under `run_command`, so that Ctrl-C and closed streams end alike at any moment.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from eval_now.errors import one_line, one_line_usage, require_local_outputs, run_command


class Command(NamedTuple):
    """One row of the table."""

    config: str
    """`module:class` of the options; its docstring is the help. Loads neither NumPy nor numba."""
    function: str
    """`module:function` that takes the options."""


DEFAULT = "score"
COMMANDS = {
    DEFAULT: Command("eval_now.config:EvalConfig", "eval_now.run:score_command"),
    "compare": Command("eval_now.config:CompareConfig", "eval_now.report.curves:compare_command"),
    "data": Command("eval_now.config:DataConfig", "eval_now.data.layout:print_instructions"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The program `eval-now` with `arguments` (None: sys.argv); its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _dispatch(given))


def _dispatch(arguments: list[str]) -> None:
    name, program = DEFAULT, "eval-now"
    if arguments and arguments[0] in COMMANDS:
        name, arguments = arguments[0], arguments[1:]
        program = f"eval-now {name}"
    if arguments == ["--version"]:
        print(f"eval-now {_import('importlib.metadata:version')('pacofr')}")
        return
    import tyro

    require_local_outputs(arguments)
    with one_line_usage(program):
        config = tyro.cli(_import(COMMANDS[name].config), prog=program, args=arguments)
    _log_lines()
    _limit_threads()
    _import(COMMANDS[name].function)(config)


def _log_lines() -> None:
    """Log warnings to standard error, one line each whatever names they hold."""
    import logging

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return one_line(super().format(record))

    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler])


def _limit_threads() -> None:
    """One thread per process in BLAS, OpenMP and OpenCV, before a predictor loads them.

    The matrices are small: further threads would only spin. Runs scale by `--jobs` processes.
    """
    import os

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(name, "1")


def _import(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
