"""The programs `reconstruct` and `mica-ext`: a table of commands, each imported when it is run.

Importing this module costs milliseconds. All further imports, option parsing and `--help` happen
under `run_command`, so that Ctrl-C and closed streams end alike at any moment.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import zip_longest
from typing import Any, NamedTuple

from mica_ext.errors import (
    exit_on_interrupt,
    one_line_usage,
    require_local_outputs,
    run_command,
)


class Command(NamedTuple):
    """One row of the table."""

    config: str
    """`module:class` of the options; its docstring is the help. Loads neither NumPy nor torch."""
    function: str
    """`module:function` that takes the options; an int it returns is the exit code, else 0."""
    log_level: str = "WARNING"
    optional_values: dict[str, tuple[str, ...]] = {}
    """Options that may stand without a value: their values, the one that is meant first."""
    presets: str = ""
    """`module:table` of further classes of options, by the names of --preset."""


COMMANDS = {
    "reconstruct": Command(
        "mica_ext.commands.config:ReconstructConfig",
        "mica_ext.commands.reconstruct:reconstruct",
        optional_values={"--view": ("page", "window")},
    ),
    "rebuild": Command(
        "mica_ext.commands.config:RebuildConfig",
        "mica_ext.commands.saved_face.rebuild:rebuild",
    ),
    "sheet": Command(
        "mica_ext.commands.config:SheetConfig",
        "mica_ext.commands.saved_face.sheet:sheet",
    ),
    "view": Command(
        "mica_ext.commands.config:ViewConfig",
        "mica_ext.commands.saved_face.view:view",
    ),
    "import": Command(
        "mica_ext.commands.config:ImportConfig",
        "mica_ext.commands.packs:import_mica",
    ),
    "pack": Command(
        "mica_ext.commands.config:PackConfig",
        "mica_ext.commands.packs:pack",
    ),
    "export-encoder": Command(
        "mica_ext.commands.config:ExportEncoderConfig",
        "mica_ext.commands.packs:export_encoder",
    ),
    "export-onnx": Command(
        "mica_ext.commands.config:ExportOnnxConfig",
        "mica_ext.commands.export_onnx:export_onnx",
    ),
    "train": Command(
        "mica_ext.expression.config:ExpressionTrainingConfig",
        "mica_ext.commands.training.expression:train_expression",
        log_level="INFO",
        presets="mica_ext.expression.config:PRESETS",
    ),
    "evaluate-expression": Command(
        "mica_ext.evaluation.config:ExpressionEvaluationConfig",
        "mica_ext.evaluation.held_out:evaluate_expression",
    ),
    "compare-encoders": Command(
        "mica_ext.evaluation.config:CompareEncodersConfig",
        "mica_ext.evaluation.encoders:compare_encoders",
    ),
    "train-identity": Command(
        "mica_ext.identity.config:IdentityTrainingConfig",
        "mica_ext.commands.training.identity:train_identity",
        log_level="INFO",
    ),
    "convert-expression": Command(
        "mica_ext.commands.config:ConvertExpressionConfig",
        "mica_ext.commands.convert_expression:convert_expression",
    ),
    "train-landmarks": Command(
        "mica_ext.landmarks.config:LandmarkTrainingConfig",
        "mica_ext.landmarks.distillation.train:train",
        log_level="INFO",
    ),
    "calibrate-points": Command(
        "mica_ext.landmarks.config:PointCalibrationConfig",
        "mica_ext.landmarks.calibration.calibrate:calibrate",
        log_level="INFO",
    ),
    "evaluate-landmarks": Command(
        "mica_ext.landmarks.config:LandmarkEvaluationConfig",
        "mica_ext.landmarks.evaluate:evaluate",
    ),
    "figure": Command(
        "mica_ext.figure.config:FigureConfig",
        "mica_ext.figure.run:figure",
    ),
    "table8": Command(
        "mica_ext.table8.config:Table8Config",
        "mica_ext.table8.run:table8",
    ),
    "fit": Command(
        "mica_ext.data.registrations.config:FitMeshesConfig",
        "mica_ext.data.registrations.fit:fit",
        log_level="INFO",
    ),
    "samples": Command(
        "mica_ext.data.branch.config:SamplesConfig",
        "mica_ext.commands.branch_samples.make:make_samples",
        log_level="INFO",
    ),
    "synth-now": Command(
        "mica_ext.data.synthetic.config:SynthNowConfig",
        "mica_ext.data.synthetic.now:synth_now",
    ),
    "synth-parsing": Command(
        "mica_ext.data.synthetic.config:SynthParsingConfig",
        "mica_ext.data.synthetic.parsing:synth_parsing",
    ),
    "synth-video": Command(
        "mica_ext.data.synthetic.config:SynthVideoConfig",
        "mica_ext.commands.synth_video:synth_video",
    ),
}


def reconstruct(arguments: Sequence[str] | None = None) -> int:
    """The program `reconstruct`: run it with `arguments` (None: sys.argv); its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _run(COMMANDS["reconstruct"], "reconstruct", given))


def main(arguments: Sequence[str] | None = None) -> int:
    """The program `mica-ext COMMAND ...`; its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _dispatch(given))


def _dispatch(arguments: list[str]) -> int:
    if arguments and arguments[0] in COMMANDS:
        name = arguments[0]
        return _run(COMMANDS[name], f"mica-ext {name}", arguments[1:])
    if "--version" in arguments:
        return _print_version("mica-ext")
    import tyro

    # No command: help, shell completion or a mistake. Tyro answers them and leaves by SystemExit.
    with one_line_usage("mica-ext"):
        tyro.extras.subcommand_cli_from_dict(
            {name: _import(command.config) for name, command in COMMANDS.items()},
            prog="mica-ext",
            description="One photo in, an expressive metrical 3D face out.",
            args=arguments,
        )
    return 2


def _run(command: Command, program: str, arguments: list[str]) -> int:
    if "--version" in arguments:
        return _print_version(program)
    import logging

    import tyro

    from pacofr.utils.threads import use_one_thread_per_operation

    arguments = _with_values(arguments, command.optional_values)
    logging.basicConfig(level=command.log_level, format="%(levelname)s: %(message)s")
    require_local_outputs(arguments)
    with one_line_usage(program):
        config = tyro.cli(_config_class(command, arguments), prog=program, args=arguments)
    use_one_thread_per_operation()
    with exit_on_interrupt():
        function = _import(command.function)
    result = function(config)
    return result if isinstance(result, int) else 0


def _config_class(command: Command, arguments: list[str]) -> Any:
    """The class of the options: that of the --preset that is asked for, if there is one."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    asked = [value for flag, value in zip(words, words[1:], strict=False) if flag == "--preset"]
    presets = _import(command.presets) if command.presets and asked else {}
    return presets.get(asked[-1]) if asked and asked[-1] in presets else _import(command.config)


def _with_values(arguments: list[str], optional: dict[str, tuple[str, ...]]) -> list[str]:
    """The arguments with the first of its values behind each option that stands without one."""
    complete: list[str] = []
    for argument, following in zip_longest(arguments, arguments[1:]):
        complete.append(argument)
        if argument in optional and following not in optional[argument]:
            complete.append(optional[argument][0])
    return complete


def _print_version(program: str) -> int:
    from importlib.metadata import version

    print(f"{program} {version('pacofr')}")
    return 0


def _import(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
