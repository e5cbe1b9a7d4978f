"""Writing a checkpoint, whole or not at all."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxtyping import UInt8
from torch import Tensor, nn

from pacofr.engine.checkpoint.folder import (
    VERSION,
    checkpoints,
    delete,
    point_to,
    to_json,
    write_failure_as_user_error,
)
from pacofr.engine.checkpoint.state import Json, Progress, TrainingState, optimizer_tensors
from pacofr.engine.tensor_files import save_tensors

Export = Callable[[Path, nn.Module], None]
"""Writes the publishable unit of a model to a folder. Without an EMA the weights that it writes are
those that the run resumes from: it must keep them as they are."""


class CheckpointContent(NamedTuple):
    """All tensors and numbers of a checkpoint."""

    progress: Progress
    exported: nn.Module
    """The model to publish: the moving average where there is one."""
    tensors: Mapping[str, Mapping[str, Tensor]]
    """By the file's name in training/, without suffix."""
    ema_updates: int | None


def checkpoint_content(
    state: TrainingState, rng_states: UInt8[Tensor, "ranks n"]
) -> CheckpointContent:
    """What is to be saved of a run; its tensors are the run's own, no copies.

    Args:
        state: of the run.
        rng_states: a row of `rng_state` per rank.
    """
    model, ema = state.model, state.ema
    tensors: dict[str, Mapping[str, Tensor]] = {
        "optimizer": optimizer_tensors(model, state.optimizer),
        "rng": {"generators": rng_states},
    }
    if ema is not None:
        tensors |= {"weights": model.state_dict(), "ema": ema.model.state_dict()}
    if state.loss_scale is not None:
        tensors["loss_scale"] = state.loss_scale.tensors()
    return CheckpointContent(
        progress=state.progress,
        exported=model if ema is None else ema.model,
        tensors=tensors,
        ema_updates=None if ema is None else ema.updates,
    )


def save_checkpoint(
    run: Path, content: CheckpointContent, *, export: Export, run_config: Json, keep: int
) -> Path:
    """Write `RUN/checkpoints/step_N`, point `last` at it and delete all but the newest `keep`.

    Call on rank 0 only.

    Args:
        run: the run's folder.
        content: what to save.
        export: writes the publishable unit.
        run_config: the run's configuration, compared when it is resumed.
        keep: number of checkpoints to leave.

    Raises:
        UserError: the disk is full or may not be written; names the last good checkpoint, which is
            still there.
    """
    folder = run / "checkpoints" / f"step_{content.progress.step:08d}"
    writing = folder.with_name(f".writing_{folder.name}")
    training = writing / "training"
    about = {"version": VERSION, **content.progress._asdict(), "config": run_config}
    if content.ema_updates is not None:
        about["ema_updates"] = content.ema_updates
    with write_failure_as_user_error(run, writing):
        for left in folder.parent.glob(".*_step_*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        training.mkdir(parents=True)
        export(writing / "model", content.exported)
        for name, tensors in content.tensors.items():
            save_tensors(tensors, training / f"{name}.safetensors")
        _write_json(training / "state.json", about)
        if folder.exists():
            delete(folder)
        os.replace(writing, folder)
    point_to(run / "last", folder)
    for old in checkpoints(run)[keep:]:
        delete(old)
    return folder


def write_model(folder: Path, model: nn.Module, config: Json) -> None:
    """Write the publishable unit: `config.json` and `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(model.state_dict(), folder / "model.safetensors")
    _write_json(folder / "config.json", config)


def _write_json(file: Path, content: Json) -> None:
    with open(file, "w", encoding="utf-8") as out:
        out.write(to_json(content))
        out.flush()
        os.fsync(out.fileno())
