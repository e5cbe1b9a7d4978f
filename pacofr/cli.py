"""The `pacofr` command line; whatever a command needs is imported when that command is given."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from pacofr.errors import UserError, one_line_usage, require_local_outputs, run_command
from pacofr.utils.threads import let_idle_threads_sleep


class Command(NamedTuple):
    """A command by the names of what it consists of."""

    summary: str
    """One line of the overview."""
    config: str
    """"module:class" of what its flags become."""
    function: str
    """"module:function" that takes that and returns an exit code (None is 0)."""
    leading: str | None = None
    """The flag whose values may stand before the first flag, without it."""


COMMANDS = {
    "curate": Command(
        "cut aligned face crops from photos",
        "pacofr.data.curation.config:CurateConfig",
        "pacofr.commands:curate",
        leading="--sources",
    ),
    "repack": Command(
        "copy crops to larger shards, or at another size",
        "pacofr.data.repack_config:RepackConfig",
        "pacofr.commands:repack",
    ),
    "pretrain": Command(
        "pre-train an encoder on crops",
        "pacofr.pretraining.command:AnyPreset",
        "pacofr.commands:pretrain",
    ),
    "show": Command(
        "draw what some runs have learnt",
        "pacofr.analysis.config:ShowConfig",
        "pacofr.commands:show",
    ),
    "probe": Command(
        "score frozen encoders by their landmarks",
        "pacofr.analysis.config:ProbeCommand",
        "pacofr.commands:probe",
    ),
    "task": Command(
        "face parsing and face alignment with an encoder",
        "pacofr.tasks.command:AnyTask",
        "pacofr.commands:task",
    ),
    "evidence": Command(
        "the paper's Table 7 on real faces",
        "pacofr.analysis.table7_config:EvidenceConfig",
        "pacofr.commands:evidence",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _dispatch(given))


def _dispatch(arguments: list[str]) -> int | None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    name, *rest = arguments
    if name == "--version":
        from importlib.metadata import version

        print(f"pacofr {version('pacofr')}")
        return 0
    if name.startswith("--tyro-"):  # shell completion
        import tyro

        configs = {name: _import(command.config) for name, command in COMMANDS.items()}
        tyro.extras.subcommand_cli_from_dict(configs, prog="pacofr", args=arguments)
    if name not in COMMANDS:
        raise UserError(f"no command {name!r}; use one of {', '.join(COMMANDS)}")
    let_idle_threads_sleep()
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int | None:
    import logging
    import os

    import tyro

    command = COMMANDS[name]
    main_process = os.environ.get("RANK", "0") == "0"
    level = logging.INFO if main_process else logging.WARNING
    logging.basicConfig(format="%(message)s")
    logging.getLogger("pacofr").setLevel(level)  # not those of the libraries
    if command.leading and arguments and not arguments[0].startswith("-"):
        arguments = [command.leading, *arguments]
    program = f"pacofr {name}"
    require_local_outputs(arguments)
    with one_line_usage(program):
        config = tyro.cli(_import(command.config), prog=program, args=arguments)
    return _import(command.function)(config)


def _import(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def _overview() -> str:
    lines = [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: pacofr COMMAND ...", "", *lines, "", "pacofr COMMAND --help says more"]
    )
