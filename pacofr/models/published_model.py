"""The folder that `pacofr pretrain` publishes: config.json and model.safetensors; no torch."""

from pathlib import Path
from typing import NamedTuple

from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.utils.budgets import CONFIG_BYTES
from pacofr.utils.config_json import from_json, read_json

MODEL_FORMAT = "pacofr-pretrained"
MODEL_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1 lacks the settings of the codebook and the predictor that version 2 brought; it is read
with what they did then (`pretraining.config.model_from_json`)."""


def model_folder(run: Path) -> Path:
    """The folder with config.json and model.safetensors: `run`, `run/model` or `run/last/model`.

    Raises:
        UserError: none of them has a config.json.
    """
    for folder in (run, run / "model", run / "last" / "model"):
        if (folder / "config.json").is_file():
            return folder
    raise UserError(
        f"{run}: expected a run of `pacofr pretrain` or its model/ folder, found no config.json"
    )


class ModelEntry(NamedTuple):
    """What a published model's config.json says."""

    version: int
    settings: object
    """The entry "model", not decoded yet."""


def read_model_config(folder: Path) -> ModelEntry:
    """The entry "model" of `folder/config.json`, whose format and version are checked.

    Raises:
        UserError: it is no config of a pre-trained model, or one of another version.
    """
    file = folder / "config.json"
    content = read_json(file, "the config.json of a pre-trained model", max_bytes=CONFIG_BYTES)
    if not isinstance(content, dict) or content.get("format") != MODEL_FORMAT:
        raise UserError(
            f"{file}: expected a model that `pacofr pretrain` wrote, got another JSON file"
        )
    version = content.get("version")
    if type(version) is not int or version not in READABLE_VERSIONS:
        raise UserError(f"{file}: expected version 1 or 2, got {version!r}")
    return ModelEntry(version, content.get("model"))


def read_encoder_config(folder: Path) -> VitConfig:
    """The encoder's settings in `folder/config.json`, strictly.

    Raises:
        UserError: as `read_model_config`; or the encoder's fields are not those of a `VitConfig`.
    """
    where = f"{folder / 'config.json'}, model"
    model = read_model_config(folder).settings
    if not isinstance(model, dict) or "encoder" not in model:
        raise UserError(f"{where}: expected the settings of a model, without an encoder")
    return from_json(VitConfig, model["encoder"], f"{where}, encoder")
