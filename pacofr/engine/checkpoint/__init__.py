"""Checkpoints on disk: complete or absent, and exact to resume from.

    RUN/
      checkpoints/step_00001200/
        model/config.json            what the network is           } the publishable unit, loaded
        model/model.safetensors      its weights                   } strictly
        training/state.json          step, images seen, world size, seconds, the run's configuration
        training/optimizer.safetensors   "PARAMETER|exp_avg" ...
        training/rng.safetensors     one row of generator bytes per rank
        training/loss_scale.safetensors  of a run in float16
        training/weights.safetensors   } of a run that keeps a moving average (EMA) of the weights:
        training/ema.safetensors       } both; model/ is then exported from the average
      last -> checkpoints/step_00001200    relative, so the folder can be moved
      model/                         the final model/, copied there when training is done

A checkpoint is written into a hidden folder beside its own, flushed to the disk, then renamed:
any `step_*` folder is complete, whatever killed the run; one to be deleted is hidden first. Tasks
that allow it have their state copied to host memory and written by a thread while they go on.
"""

from pacofr.engine.checkpoint.folder import (
    checkpoints,
    publish_model,
    read_progress,
    recorded_setting,
    require_same_config,
)
from pacofr.engine.checkpoint.loading import load_checkpoint
from pacofr.engine.checkpoint.state import Json, Progress, TrainingState
from pacofr.engine.checkpoint.writer import CheckpointWriter
from pacofr.engine.checkpoint.writing import checkpoint_content, save_checkpoint, write_model

__all__ = [
    "CheckpointWriter",
    "Json",
    "Progress",
    "TrainingState",
    "checkpoint_content",
    "checkpoints",
    "load_checkpoint",
    "publish_model",
    "read_progress",
    "recorded_setting",
    "require_same_config",
    "save_checkpoint",
    "write_model",
]
