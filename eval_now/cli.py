"""The program `eval-now`: score predictions, compare runs, say how to get the data.

Importing this module costs milliseconds. All further imports, option parsing and `--help` happen
under `run_command`, so that Ctrl-C and closed streams end alike at any moment.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from eval_now.errors import run_command


class Command(NamedTuple):
    """One row of the table."""

    summary: str
    config: str
    """`module:class` of the options; its docstring is the help. Loads neither NumPy nor numba."""
    function: str
    """`module:function` that takes the options."""


DEFAULT = "score"
COMMANDS = {
    DEFAULT: Command(
        "score predictions, or pack those of the test split; the default",
        "eval_now.config:EvalConfig",
        "eval_now.run:score_command",
    ),
    "compare": Command(
        "error curves and one table of several runs",
        "eval_now.config:CompareConfig",
        "eval_now.report.curves:compare_command",
    ),
    "data": Command(
        "how to get the NoW data",
        "eval_now.config:DataConfig",
        "eval_now.data.layout:print_instructions",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The program `eval-now` with `arguments` (None: sys.argv); its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _run(given))


def _run(arguments: list[str]) -> None:
    import logging

    if arguments == ["--version"]:
        print(f"eval-now {_import('importlib.metadata:version')('pacofr')}")
        return
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    if arguments and arguments[0] in COMMANDS:
        name, arguments = arguments[0], arguments[1:]
        program = f"eval-now {name}"
    else:
        name, program = DEFAULT, "eval-now"
    command = COMMANDS[name]
    config_class = _import(command.config)
    import tyro

    config = tyro.cli(config_class, prog=program, args=arguments)
    _limit_threads()
    _import(command.function)(config)


def _limit_threads() -> None:
    """One thread per process in BLAS and OpenMP, before anything loads them.

    The matrices are small: further threads would only spin. Runs scale by `--jobs` processes.
    """
    import os

    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def _import(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
