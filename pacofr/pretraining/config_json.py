"""Configs to JSON and back, strictly: no field is guessed, dropped or ignored. No torch."""

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

from pacofr.errors import UserError
from pacofr.pretraining.config import MODEL_FORMAT, MODEL_VERSION, PaCoFRConfig


def model_from_json(folder: Path) -> PaCoFRConfig:
    """Read `folder/config.json` strictly; unknown and missing fields are refused."""
    file = folder / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file}: expected the config.json of a pre-trained model, got: {error}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != MODEL_FORMAT:
        raise UserError(
            f"{file}: expected a model that `pacofr pretrain` wrote, got another JSON file"
        )
    if content.get("version") != MODEL_VERSION:
        raise UserError(f"{file}: expected version {MODEL_VERSION}, got {content.get('version')}")
    return from_json(PaCoFRConfig, content.get("model"), str(file))


def from_json(kind: type[Any], content: object, where: str) -> Any:
    """Rebuild a config class `kind` from `dataclasses.asdict` gone through JSON."""
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected the fields of {kind.__name__}, got {content!r}")
    fields = {field.name for field in dataclasses.fields(kind)}
    if fields != content.keys():
        missing, unknown = sorted(fields - content.keys()), sorted(content.keys() - fields)
        raise UserError(f"{where}: {kind.__name__} lacks {missing} and does not know {unknown}")
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in content.items():
        if dataclasses.is_dataclass(hints[name]):
            value = from_json(hints[name], value, f"{where}, {name}")
        elif isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, str) and Path in typing.get_args(hints[name]):
            value = Path(value)
        values[name] = value
    try:
        return kind(**values)
    except (UserError, TypeError) as error:  # a value that cannot be, or of another type
        raise UserError(f"{where}: {error}") from error
