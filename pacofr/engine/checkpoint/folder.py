"""The checkpoints of a run: which there are, what they are of, and their final model."""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError

from pacofr.engine.checkpoint.state import Json, Progress
from pacofr.errors import UserError
from pacofr.utils.config_json import from_json, read_json

LOGGER = logging.getLogger(__name__)

VERSION = 1


def checkpoints(run: Path) -> list[Path]:
    """All complete checkpoints of a run, newest first."""
    return sorted((run / "checkpoints").glob("step_*"), reverse=True)


def read_progress(checkpoint: Path) -> Progress:
    """How far the run was when it wrote `checkpoint`."""
    return read_state(checkpoint).progress


def recorded_setting(run: Path, name: str) -> object | None:
    """A top-level setting of the newest checkpoint's configuration; None without checkpoints."""
    found = checkpoints(run)
    return read_state(found[0]).config.get(name) if found else None


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
    then = {**(implied or {}), **_flat(read_state(checkpoint).config)}
    now = _flat(json.loads(to_json(run_config)))
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


def publish_model(run: Path, checkpoint: Path) -> Path:
    """Copy a checkpoint's `model/` to `RUN/model`, completely or not at all."""
    target, writing = run / "model", run / ".writing_model"
    with write_failure_as_user_error(run, writing):
        shutil.rmtree(writing, ignore_errors=True)
        shutil.copytree(checkpoint / "model", writing)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(writing, target)
    return target


class SavedState(NamedTuple):
    """The content of training/state.json."""

    progress: Progress
    config: dict[str, Any]
    ema_updates: int


def read_state(checkpoint: Path) -> SavedState:
    """Read a checkpoint's training/state.json, strictly."""
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
    return SavedState(progress, config, updates)


def to_json(content: Json) -> str:
    """As the files of a checkpoint have it."""
    return json.dumps(content, indent=1, default=str) + "\n"


def _flat(config: Mapping, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def point_to(link: Path, target: Path) -> None:
    """Make a relative link, where the disk has links."""
    fresh = link.with_name(f".{link.name}")
    try:
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(target, link.parent))
        os.replace(fresh, link)
    except OSError as error:  # a disk without links; nothing here needs it
        LOGGER.warning("%s does not point to the newest checkpoint: %s", link, error)


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint so that a killed process leaves no half of it."""
    hidden = checkpoint.with_name(f".deleted_{checkpoint.name}")
    with suppress(OSError):  # another one is one too many, not a reason to stop
        os.replace(checkpoint, hidden)
        shutil.rmtree(hidden)


@contextmanager
def write_failure_as_user_error(run: Path, half_written: Path) -> Iterator[None]:
    """Turn a failed write into one line that names the last good checkpoint."""
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
