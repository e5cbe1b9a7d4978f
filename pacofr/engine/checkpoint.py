"""Checkpoints on disk: whole or not there at all, and exact to resume from.

    RUN/
      checkpoints/step_00001200/
        model/config.json            what the network is           } the publishable unit, loaded
        model/model.safetensors      its weights, clean names      } strictly
        training/state.json          step, images seen, world size, seconds, the run's configuration
        training/optimizer.safetensors   "PARAMETER|exp_avg" ...
        training/rng.safetensors     one row of generator bytes per rank
      last -> checkpoints/step_00001200    relative, so the folder can be moved
      model/                         the final model/, copied there when training is done

A checkpoint is written into a hidden folder beside its place, flushed to the disk, then renamed:
any `step_*` folder is complete, whatever killed the run; a deleted one is hidden first.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pacofr.errors import UserError

LOGGER = logging.getLogger(__name__)

VERSION = 1
Json = Mapping[str, object]


class Progress(NamedTuple):
    """How far a run is."""

    step: int  # optimiser steps done
    images: int  # images seen, over all ranks
    seconds: float  # spent in training steps, over all the run's lives
    world_size: int  # processes that wrote it


class Resumed(NamedTuple):
    """What a checkpoint gave back besides weights and optimiser."""

    progress: Progress
    generators: UInt8[Tensor, "ranks n"]


def save_checkpoint(
    run: Path,
    *,
    model: nn.Module,
    model_config: Json,
    run_config: Json,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    generators: UInt8[Tensor, "ranks n"],
    keep: int,
) -> Path:
    """Write `RUN/checkpoints/step_N`, point `last` at it and delete all but the newest `keep`.

    Call on rank 0 only. A disk that is full or may not be written ends in a `UserError` that names
    the last good checkpoint, which is still there.
    """
    place = run / "checkpoints" / f"step_{progress.step:08d}"
    writing = place.with_name(f".writing_{place.name}")
    training = writing / "training"
    state = {"version": VERSION, **progress._asdict(), "config": run_config}
    with _write_failures_named(run, writing):
        for left in place.parent.glob(".*_step_*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        training.mkdir(parents=True)
        write_model(writing / "model", model, model_config)
        _save_tensors(_optimizer_tensors(model, optimizer), training / "optimizer.safetensors")
        _save_tensors({"generators": generators}, training / "rng.safetensors")
        _write_json(training / "state.json", state)
        if place.exists():
            _delete(place)
        os.replace(writing, place)
    _point(run / "last", place)
    for old in checkpoints(run)[keep:]:
        _delete(old)
    return place


def write_model(folder: Path, model: nn.Module, config: Json) -> None:
    """Write the publishable unit: `config.json` and `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    _save_tensors(model.state_dict(), folder / "model.safetensors")
    _write_json(folder / "config.json", config)


def publish(run: Path, checkpoint: Path) -> Path:
    """Copy a checkpoint's `model/` to `RUN/model`, whole or not at all."""
    target, writing = run / "model", run / ".writing_model"
    with _write_failures_named(run, writing):
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
    state = _read_state(checkpoint)
    return Progress(state["step"], state["images"], state["seconds"], state["world_size"])


def refuse_other_config(checkpoint: Path, run_config: Json, may_differ: frozenset[str]) -> None:
    """Raise a `UserError` naming the fields in which a checkpoint's configuration is another one.

    `may_differ` are dotted names that do not change what is computed (workers, how often to save).
    """
    theirs, ours = _flat(_read_state(checkpoint)["config"]), _flat(_normal(run_config))
    other = [
        f"{name}: {theirs.get(name, 'absent')} there, {ours.get(name, 'absent')} here"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name) and name not in may_differ
    ]
    if other:
        raise UserError(
            f"{checkpoint} is of another configuration ({'; '.join(other)});"
            " give those values to go on with it, or another --out to start anew"
        )


def resume(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Resumed:
    """Load weights and optimiser state of a checkpoint, strictly; call on every rank."""
    load_weights(model, checkpoint / "model/model.safetensors")
    _load_optimizer(model, optimizer, checkpoint / "training/optimizer.safetensors")
    generators = _load_tensors(checkpoint / "training/rng.safetensors")["generators"]
    return Resumed(read_progress(checkpoint), generators)


def load_weights(model: nn.Module, file: Path) -> None:
    """Load a state file whose names and shapes must be exactly the model's."""
    tensors = _load_tensors(file)
    expected = model.state_dict()
    _refuse_other_names(file, expected.keys(), tensors.keys())
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise UserError(
                f"{file}: expected {name} of shape {tuple(expected[name].shape)}, got"
                f" {tuple(tensor.shape)}; it belongs to another model size"
            )
    model.load_state_dict(tensors, strict=True)


def generator_bytes(device: torch.device) -> UInt8[Tensor, " n"]:
    """State of this process's random generators, as bytes."""
    parts = [torch.get_rng_state()]
    if device.type == "cuda":
        parts.append(torch.cuda.get_rng_state(device))
    return torch.cat(parts)


def set_generators(row: UInt8[Tensor, " n"], device: torch.device) -> None:
    """Put `generator_bytes` back (a state of another kind of device is left alone)."""
    split = torch.get_rng_state().numel()
    torch.set_rng_state(row[:split])
    if device.type == "cuda" and row.numel() > split:
        torch.cuda.set_rng_state(row[split:], device)


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}|{key}"] = value
    return tensors


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, file: Path) -> None:
    by_name: dict[str, dict[str, Tensor]] = {}
    for full_name, tensor in _load_tensors(file).items():
        name, _, key = full_name.rpartition("|")
        by_name.setdefault(name, {})[key] = tensor
    names = {parameter: name for name, parameter in model.named_parameters()}
    unknown = by_name.keys() - set(names.values())
    if unknown:
        raise UserError(
            f"{file}: optimiser state of parameters this model lacks: {sorted(unknown)[:3]}"
        )
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    state = {index: by_name[name] for index, name in enumerate(order) if name in by_name}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _refuse_other_names(file: Path, expected: Iterable[str], found: Iterable[str]) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise UserError(
            f"{file}: expected exactly the model's tensors; missing {len(missing)} {missing[:3]},"
            f" unknown {len(extra)} {extra[:3]}"
        )


def _save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, file)
    with open(file, "rb") as written:
        os.fsync(written.fileno())


def _load_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file}: cannot be read ({error}); delete that checkpoint to go on from the one before"
        ) from error


def _write_json(file: Path, content: Json) -> None:
    with open(file, "w", encoding="utf-8") as out:
        json.dump(content, out, indent=1, default=str)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())


def _read_state(checkpoint: Path) -> dict:
    file = checkpoint / "training/state.json"
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: expected a checkpoint's state, got: {error}") from error
    if not isinstance(state, dict) or not {*Progress._fields, "config"} <= state.keys():
        raise UserError(f"{file}: expected a checkpoint's state, got another JSON file")
    if state.get("version") != VERSION:
        raise UserError(f"{file}: expected version {VERSION}, got {state.get('version')}")
    return state


def _normal(config: Json) -> dict:
    return json.loads(json.dumps(config, default=str))


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
def _write_failures_named(run: Path, half_written: Path) -> Iterator[None]:
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
