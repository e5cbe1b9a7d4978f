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
any `step_*` folder is complete, whatever killed the run; one to be deleted is hidden first.
"""

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from safetensors import SafetensorError
from torch import Tensor, nn

from pacofr.engine.optimization.ema import Ema
from pacofr.engine.optimization.loss_scale import LossScale
from pacofr.engine.tensor_files import current_name, load_tensors, load_weights, save_tensors
from pacofr.errors import UserError
from pacofr.utils.config_json import from_json, read_json

LOGGER = logging.getLogger(__name__)

VERSION = 1
Json = Mapping[str, object]


class Progress(NamedTuple):
    """How far a run is."""

    step: int
    """Optimiser steps done."""
    images: int
    """Images seen, over all ranks."""
    seconds: float
    """Spent in training steps, over all processes that took the run on one after the other."""
    world_size: int
    """Processes that wrote it."""


@dataclasses.dataclass
class TrainingState:
    """What a run carries from step to step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    progress: Progress
    loss_scale: LossScale | None = None


def save_checkpoint(
    run: Path,
    state: TrainingState,
    *,
    export: Callable[[Path, nn.Module], None],
    run_config: Json,
    rng_states: UInt8[Tensor, "ranks n"],
    keep: int,
) -> Path:
    """Write `RUN/checkpoints/step_N`, point `last` at it and delete all but the newest `keep`.

    Call on rank 0 only.

    Args:
        run: the run's folder.
        state: what to save.
        export: writes the publishable unit of a model to a folder. Without an EMA the weights that
            it writes are those that the run resumes from: it must keep them as they are.
        run_config: the run's configuration, compared when it is resumed.
        rng_states: a row of `rng_state` per rank.
        keep: number of checkpoints to leave.

    Raises:
        UserError: the disk is full or may not be written; names the last good checkpoint, which is
            still there.
    """
    folder = run / "checkpoints" / f"step_{state.progress.step:08d}"
    writing = folder.with_name(f".writing_{folder.name}")
    training = writing / "training"
    model, ema = state.model, state.ema
    about = {"version": VERSION, **state.progress._asdict(), "config": run_config}
    with _write_failure_as_user_error(run, writing):
        for left in folder.parent.glob(".*_step_*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        training.mkdir(parents=True)
        export(writing / "model", model if ema is None else ema.model)
        if ema is not None:
            about["ema_updates"] = ema.updates
            save_tensors(model.state_dict(), training / "weights.safetensors")
            save_tensors(ema.model.state_dict(), training / "ema.safetensors")
        save_tensors(_optimizer_tensors(model, state.optimizer), training / "optimizer.safetensors")
        save_tensors({"generators": rng_states}, training / "rng.safetensors")
        if state.loss_scale is not None:
            save_tensors(state.loss_scale.tensors(), training / "loss_scale.safetensors")
        _write_json(training / "state.json", about)
        if folder.exists():
            _delete(folder)
        os.replace(writing, folder)
    _point(run / "last", folder)
    for old in checkpoints(run)[keep:]:
        _delete(old)
    return folder


def write_model(folder: Path, model: nn.Module, config: Json) -> None:
    """Write the publishable unit: `config.json` and `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(model.state_dict(), folder / "model.safetensors")
    _write_json(folder / "config.json", config)


def publish_model(run: Path, checkpoint: Path) -> Path:
    """Copy a checkpoint's `model/` to `RUN/model`, completely or not at all."""
    target, writing = run / "model", run / ".writing_model"
    with _write_failure_as_user_error(run, writing):
        shutil.rmtree(writing, ignore_errors=True)
        shutil.copytree(checkpoint / "model", writing)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(writing, target)
    return target


def checkpoints(run: Path) -> list[Path]:
    """All complete checkpoints of a run, newest first."""
    return sorted((run / "checkpoints").glob("step_*"), reverse=True)


def read_progress(checkpoint: Path) -> Progress:
    """How far the run was when it wrote `checkpoint`."""
    return _read_state(checkpoint).progress


def recorded_setting(run: Path, name: str) -> object | None:
    """A top-level setting of the newest checkpoint's configuration; None without checkpoints."""
    found = checkpoints(run)
    return _read_state(found[0]).config.get(name) if found else None


def require_same_config(
    checkpoint: Path,
    run_config: Json,
    may_differ: frozenset[str],
    implied: Json | None = None,
) -> None:
    """Refuse to resume from a checkpoint of another configuration.

    Args:
        checkpoint: its folder.
        run_config: the configuration of now.
        may_differ: dotted names of fields that do not affect results (workers, how often to save).
        implied: values, by dotted name, of fields that runs of earlier versions lack.

    Raises:
        UserError: names the fields that differ, with both values.
    """
    then = {**(implied or {}), **_flat(_read_state(checkpoint).config)}
    now = _flat(json.loads(_to_json(run_config)))
    other = [
        f"{name}: {then.get(name, 'absent')} there, {now.get(name, 'absent')} here"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and name not in may_differ
    ]
    if other:
        raise UserError(
            f"{checkpoint} is of another configuration ({'; '.join(other)});"
            " give those values to go on with it, or another --out to start anew"
        )


def load_checkpoint(checkpoint: Path, state: TrainingState) -> UInt8[Tensor, "ranks n"]:
    """Load weights, optimiser, EMA and progress into `state`, strictly; call on every rank.

    Returns:
        The saved generator states, a row per rank that wrote them.

    Raises:
        UserError: a file is damaged or of another model.
    """
    saved, training = _read_state(checkpoint), checkpoint / "training"
    if state.ema is None:
        load_weights(state.model, checkpoint / "model/model.safetensors")
    else:
        load_weights(state.model, training / "weights.safetensors")
        load_weights(state.ema.model, training / "ema.safetensors")
        state.ema.updates = saved.ema_updates
    _load_optimizer(state.model, state.optimizer, training / "optimizer.safetensors")
    if state.loss_scale is not None:
        state.loss_scale.load(training / "loss_scale.safetensors")
    state.progress = saved.progress
    rows = load_tensors(training / "rng.safetensors").get("generators")
    if rows is None or rows.dtype != torch.uint8 or rows.ndim != 2:
        raise UserError(f"{training / 'rng.safetensors'}: expected rows of generator bytes")
    return rows


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}|{key}"] = value
    return tensors


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, file: Path) -> None:
    parameters = dict(model.named_parameters())
    by_name: dict[str, dict[str, Tensor]] = {}
    for full_name, tensor in load_tensors(file).items():
        name, _, key = current_name(model, full_name).rpartition("|")
        by_name.setdefault(name, {})[key] = tensor
        if name not in parameters:
            raise UserError(f"{file}: optimiser state of a parameter this model lacks: {name}")
        if tensor.shape not in (torch.Size(), parameters[name].shape):
            raise UserError(f"{file}: optimiser state of {name} is of another shape")
    names = {parameter: name for name, parameter in parameters.items()}
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    state = {index: by_name[name] for index, name in enumerate(order) if name in by_name}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _to_json(content: Json) -> str:
    return json.dumps(content, indent=1, default=str) + "\n"


def _write_json(file: Path, content: Json) -> None:
    with open(file, "w", encoding="utf-8") as out:
        out.write(_to_json(content))
        out.flush()
        os.fsync(out.fileno())


class _SavedState(NamedTuple):
    progress: Progress
    config: dict[str, Any]
    ema_updates: int


def _read_state(checkpoint: Path) -> _SavedState:
    file = checkpoint / "training/state.json"
    state = read_json(file, "a checkpoint's state")
    if not isinstance(state, dict) or not {*Progress._fields, "config"} <= state.keys():
        raise UserError(f"{file}: expected a checkpoint's state, got another JSON file")
    if state.get("version") != VERSION:
        raise UserError(f"{file}: expected version {VERSION}, got {state.get('version')!r}")
    progress = from_json(Progress, {name: state[name] for name in Progress._fields}, str(file))
    config, updates = state["config"], state.get("ema_updates", 0)
    if not isinstance(config, dict) or type(updates) is not int:
        raise UserError(f"{file}: expected a checkpoint's state, got another JSON file")
    if not all(0 <= count < 1 << 50 for count in (*progress, updates)):
        raise UserError(f"{file}: expected counts of steps and images, got {progress}")
    return _SavedState(progress, config, updates)


def _flat(config: Mapping, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _point(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}")
    try:
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(target, link.parent))
        os.replace(fresh, link)
    except OSError as error:  # a disk without links; nothing here needs it
        LOGGER.warning("%s does not point to the newest checkpoint: %s", link, error)


def _delete(checkpoint: Path) -> None:
    hidden = checkpoint.with_name(f".deleted_{checkpoint.name}")
    with suppress(OSError):  # another one is one too many, not a reason to stop
        os.replace(checkpoint, hidden)
        shutil.rmtree(hidden)


@contextmanager
def _write_failure_as_user_error(run: Path, half_written: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(half_written, ignore_errors=True)
        good = checkpoints(run)
        kept = f"the last good checkpoint is {good[0]}" if good else "no checkpoint was written yet"
        raise UserError(
            f"cannot write to {run} ({error}); {kept}; make room or rights there and give the same"
            " command again"
        ) from error
