"""Command line of the benchmark: `eval-now`, `eval-now compare`, `eval-now data`."""

import logging
import os
import sys
from pathlib import Path

import tyro

from eval_now.config import CompareConfig, EvalConfig
from eval_now.errors import UserError, run_command


def main() -> None:
    """Entry point; exit code 2 for anything the user can mend."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    words = sys.argv[1:]
    command = {"compare": _compare, "data": _data}.get(words[0] if words else "", _score)
    sys.exit(run_command(lambda: command(words)))


def _score(words: list[str]) -> None:
    config = tyro.cli(EvalConfig, prog="eval-now", args=words)
    # Many small matrices: the threads of a BLAS would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from rich.console import Console

    from eval_now.run import run

    run(config, Console())


def _compare(words: list[str]) -> None:
    def compare(
        runs: tyro.conf.Positional[tuple[Path, ...]],
        config: tyro.conf.OmitArgPrefixes[CompareConfig],
    ) -> None:
        """Cumulative error curves (PNG, PDF) and one table of several runs.

        Args:
            runs: folders written by `eval-now --out`.
            config: where to write, and how far the curves reach.
        """
        if not runs:
            raise UserError("expected the folders of one or more runs: eval-now compare A B")
        from rich.console import Console

        from eval_now.report.curves import compare_runs

        compare_runs(list(runs), config, Console())

    tyro.cli(compare, prog="eval-now compare", args=words[1:])


def _data(words: list[str]) -> None:
    if words[1:] and words[1:] != ["--help"] and words[1:] != ["-h"]:
        raise UserError(f"eval-now data takes no arguments, found {' '.join(words[1:])}")
    from eval_now.data.layout import HOW_TO_GET

    print(HOW_TO_GET)
