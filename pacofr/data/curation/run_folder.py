"""The folder of a curation: made with one set of settings, one process at work in each part."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.unit_result import parts_folder
from pacofr.errors import UserError
from pacofr.utils.budgets import CONFIG_BYTES
from pacofr.utils.config_json import read_json
from pacofr.utils.files import write_json
from pacofr.utils.locks import file_lock

RULES_VERSION = 2
"""Counted up when the same settings give other crops."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CropSettings:
    """Settings that decide which crops are made of a source."""

    sample: int | None
    seed: int
    min_face: float
    min_score: float
    min_sharpness: float
    detections: bool
    """Whether LAION-Face's detections are taken."""
    where: tuple[str, ...]
    rules: int
    """RULES_VERSION."""


def settings_of(config: CurateConfig) -> CropSettings:
    """The settings that all calls for one folder must share."""
    return CropSettings(
        sample=config.sample,
        seed=config.seed,
        min_face=config.min_face,
        min_score=config.min_score,
        min_sharpness=config.min_sharpness,
        detections=config.detections is not None,
        where=config.where,
        rules=RULES_VERSION,
    )


def settings_json(config: CurateConfig) -> dict[str, object]:
    """`settings_of` as JSON; without conditions it is what earlier versions wrote."""
    settings = dataclasses.asdict(settings_of(config))
    conditions = list(settings.pop("where"))
    return {**settings, "where": conditions} if conditions else settings


def copies_folder(config: CurateConfig) -> Path:
    """Where this part's copies of remote files lie while they are read."""
    return parts_folder(config.out) / f"copies-{config.part}-of-{config.parts}"


def prepare_out(config: CurateConfig) -> None:
    """Make the folder, or see that it was made with the same settings.

    Raises:
        UserError: it lies in a source, was begun with other settings, or cannot be written.
    """
    for source in config.sources:
        if isinstance(source, Path) and config.out.resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"{config.out} lies in {source}, so its crops would count as photos the next time:"
                " give an --out outside"
            )
    settings = settings_json(config)
    path = parts_folder(config.out) / "settings.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_json(path, settings)
            return
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write into {config.out}: {reason}; choose another --out"
        ) from error
    before = read_json(path, "settings of pacofr curate", max_bytes=CONFIG_BYTES)
    before = before if isinstance(before, dict) else {}
    other = sorted(name for name in settings | before if settings.get(name) != before.get(name))
    if "rules" in other:
        raise UserError(
            f"{config.out} was begun by another version of this program, whose crops differ: "
            "choose another --out, or delete that folder"
        )
    if other:
        raise UserError(
            f"{config.out} was begun with other settings ({', '.join(other)}): give them again, "
            "choose another --out, or delete that folder"
        )


@contextmanager
def exclusive_part(config: CurateConfig) -> Iterator[None]:
    """Lock this part of the folder for this process, with an empty folder for copies.

    Raises:
        UserError: another process is at work in the part, or divides the folder otherwise.
    """
    busy = UserError(
        f"another process is at work in {config.out}; wait for its end or give another --out"
    )
    folder = parts_folder(config.out)
    own = folder / f"part-{config.part}-of-{config.parts}"
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(file_lock(own)):
            raise busy
        for lock in folder.glob("part-*-of-*.lock"):
            if not lock.stem.endswith(f"-of-{config.parts}"):
                with file_lock(lock.with_suffix("")) as free:
                    if not free:
                        raise busy
        copies = copies_folder(config)
        shutil.rmtree(copies, ignore_errors=True)  # of a killed process
        copies.mkdir()
        stack.callback(shutil.rmtree, copies, ignore_errors=True)
        yield
