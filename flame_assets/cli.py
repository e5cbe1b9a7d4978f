"""The program `flame-assets`: the heads and public files on this machine.

Importing this module costs milliseconds. All further imports, option parsing and `--help` happen
under `run_command`, so that Ctrl-C and closed streams end alike at any moment.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from flame_assets.errors import one_line_usage, require_local_outputs, run_command


class Command(NamedTuple):
    """One row of the table."""

    config: str
    """`module:class` of the options; its docstring is the help. Loads neither NumPy nor torch."""
    function: str
    """`module:function` that takes the options."""


COMMANDS = {
    "status": Command("flame_assets.config:StatusConfig", "flame_assets.commands:status"),
    "show": Command("flame_assets.config:ShowConfig", "flame_assets.commands:show"),
    "get": Command("flame_assets.config:GetConfig", "flame_assets.commands:get"),
    "convert": Command("flame_assets.config:ConvertConfig", "flame_assets.commands:convert"),
    "download": Command("flame_assets.config:DownloadConfig", "flame_assets.commands:download"),
    "export-smplx": Command(
        "flame_assets.config:ExportSmplxConfig", "flame_assets.commands:export_smplx"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The program `flame-assets COMMAND ...` with `arguments` (None: sys.argv); its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _dispatch(given))


def _dispatch(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"flame-assets {_import('importlib.metadata:version')('pacofr')}")
        return 0
    import tyro

    if arguments and arguments[0] in COMMANDS:
        import logging

        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
        name, *options = arguments
        command = COMMANDS[name]
        program = f"flame-assets {name}"
        require_local_outputs(options)
        with one_line_usage(program):
            config = tyro.cli(_import(command.config), prog=program, args=options)
        _import(command.function)(config)
        return 0
    # No command: help, shell completion or a mistake. Tyro answers them and leaves by SystemExit.
    with one_line_usage("flame-assets"):
        tyro.extras.subcommand_cli_from_dict(
            {name: _import(command.config) for name, command in COMMANDS.items()},
            prog="flame-assets",
            description="Head models for 3D faces: FLAME's licensed files and Anthro.",
            args=arguments,
        )
    return 2


def _import(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
