"""A task model: encoder, necks and decoder; its folder with config.json and model.safetensors."""

import dataclasses
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pacofr.engine.checkpoint import write_model
from pacofr.engine.tensor_files import load_weights
from pacofr.errors import UserError
from pacofr.models.encoders import FaceEncoder, face_encoder
from pacofr.models.vit import VisionTransformer
from pacofr.tasks.config import (
    MODEL_FORMAT,
    MODEL_VERSION,
    TaskModelConfig,
    TrainedWith,
    default_width,
)
from pacofr.tasks.network import LevelNecks, UPerHead
from pacofr.utils.budgets import CONFIG_BYTES
from pacofr.utils.config_json import from_json, read_json


class TaskModel(nn.Module):
    """Frames to logits on a grid four times as fine as the encoder's patches."""

    def __init__(self, encoder: FaceEncoder, config: TaskModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.head.width or default_width(config.encoder)
        self.encoder = encoder
        blocks = sorted(set(encoder.layers))
        self.level_maps = [blocks.index(layer) for layer in encoder.layers]
        """Which of the encoder's maps each level is; a shallow encoder gives one map to several."""
        self.necks = LevelNecks(config.encoder.width, width)
        self.decoder = UPerHead(
            self.necks.channels,
            width,
            config.outputs,
            pool_scales=config.head.pool_scales,
            dropout=config.head.dropout,
        )
        unread = encoder.vit.blocks[blocks[-1] :]
        for module in (*unread, encoder.vit.norm):
            module.requires_grad_(False)

    def forward(self, frames: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B K h w"]:
        """Frames in [0, 1] to logits of classes or heat maps."""
        maps = self.encoder.maps(frames)
        levels = [maps[i] for i in self.level_maps]
        pyramid = self.necks(levels)
        return self.decoder(pyramid)

    def freeze_encoder(self) -> None:
        """Train necks and decoder alone."""
        self.encoder.requires_grad_(False)


def new_task_model(encoder: FaceEncoder, config: TaskModelConfig) -> TaskModel:
    """A model whose necks and decoder are new; the encoder's blocks are those of `config.head`."""
    return TaskModel(face_encoder(encoder.vit, config.head.layers), config)


def save_task_model(
    folder: Path, model: nn.Module, config: TaskModelConfig, trained: TrainedWith
) -> None:
    """Write config.json and model.safetensors."""
    content = {
        "format": MODEL_FORMAT,
        "version": MODEL_VERSION,
        "model": dataclasses.asdict(config),
        "training": dataclasses.asdict(trained),
    }
    write_model(folder, model, content)


def load_task_model(run: Path) -> tuple[TaskModel, TrainedWith]:
    """Load a model from `run`, `run/model` or `run/last/model`, and how it was trained.

    Raises:
        UserError: a file is missing, damaged or does not fit the other.
    """
    folder = task_model_folder(run)
    file = folder / "config.json"
    content = read_json(file, "the config.json of a task model", max_bytes=CONFIG_BYTES)
    if not isinstance(content, dict) or content.get("format") != MODEL_FORMAT:
        raise UserError(
            f"{file}: expected a model that `pacofr task train` wrote, got another JSON file"
        )
    if content.get("version") != MODEL_VERSION:
        raise UserError(f"{file}: expected version {MODEL_VERSION}, got {content.get('version')!r}")
    settings = content.get("model")
    if isinstance(settings, dict):
        settings = {"heatmaps": "sigmoid", **settings}  # the only ones of earlier versions
    config = from_json(TaskModelConfig, settings, f"{file}, model")
    trained = from_json(TrainedWith, content.get("training"), f"{file}, training")
    with torch.device("meta"):
        vit = VisionTransformer(config.encoder)
        model = TaskModel(face_encoder(vit, config.head.layers), config)
    model = model.to_empty(device="cpu")
    model.encoder = face_encoder(model.encoder.vit, config.head.layers)  # its constants
    load_weights(model, folder / "model.safetensors")
    return model.eval(), trained


def task_model_folder(run: Path) -> Path:
    """`run`, `run/model` or `run/last/model`, whichever holds a config.json.

    Raises:
        UserError: none does.
    """
    for folder in (run, run / "model", run / "last" / "model"):
        if (folder / "config.json").is_file():
            return folder
    raise UserError(
        f"{run}: expected a run of `pacofr task train` or its model/ folder, found no config.json"
    )
