"""Fits on disk: one pair of files per subject.

OUT/fits.json               format, version, source, head, settings
OUT/SUBJECT.safetensors     shape [S]; expression [F,E], global_pose, neck_pose, jaw_pose,
                            translation [F,3] (rad, m), mean_distance_mm, max_distance_mm [F]
OUT/SUBJECT.json            the frames in order, residuals, what was left out; written last
OUT/residuals.json          residuals of all subjects by expression
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.numpy import load, save

from flame_assets.fitting.registered_mesh import MeshFits
from flame_assets.inert.files import ReadError, read_regular
from flame_assets.model.head import HeadModel
from mica_ext.data.skipped import Skipped
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import from_json, read_json

FORMAT, VERSION = "mica-ext fits", 1
FITS_BYTES = 1 << 30
RUN_FILE, RESIDUALS = "fits.json", "residuals.json"
AGAIN = "delete it, `mica-ext fit` makes it again"


class RunFile(NamedTuple):
    """Contents of fits.json."""

    format: str
    version: int
    source: str
    root: str
    head: str
    head_version: str
    settings: Mapping[str, str | float]


class Residual(NamedTuple):
    """Distances between fitted and given meshes of several frames [mm]."""

    frames: int
    mean: float
    """Of the frames' mean distances."""
    worst: float
    """Largest mean distance of a frame."""
    largest: float
    """Largest distance of a vertex."""


class SubjectFile(NamedTuple):
    """Contents of SUBJECT.json."""

    format: str
    version: int
    subject: str
    frames: tuple[tuple[str, str], ...]
    """Sequence and frame of every row of the tensors."""
    residuals: Mapping[str, Residual]
    """By sequence (expression)."""
    skipped: Mapping[str, Skipped]


class SubjectFit(NamedTuple):
    """One person: frames that were fitted with one shape."""

    about: SubjectFile
    shape: Float32[np.ndarray, " S"]
    fits: MeshFits


def start_run(folder: Path, run: RunFile) -> None:
    """Make the folder of a run, or check that it goes on with the same settings.

    Raises:
        UserError: the folder holds another run.
    """
    path = folder / RUN_FILE
    if path.exists():
        before = read_run(folder)
        same = (*before[:3], *before[4:]) == (*run[:3], *run[4:])
        if not same:
            raise UserError(
                f"{folder} holds fits of {before.source} with other settings "
                f"({_difference(before, run)}); give another --out"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be made ({error.strerror})") from error
    write_bytes_atomic(path, _encoded(run._asdict()))


def read_run(folder: Path) -> RunFile:
    """What a folder of fits was made with.

    Raises:
        UserError: the folder holds no fits.
    """
    return _read(RunFile, folder / RUN_FILE, "a folder of `mica-ext fit`")


def save_subject(folder: Path, fit: SubjectFit) -> None:
    """Write a subject's files, the JSON last: it says that the subject is done."""
    tensors = {"shape": fit.shape, **fit.fits._asdict()}
    data = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    tensor_file, json_file = subject_files(folder, fit.about.subject)
    write_bytes_atomic(tensor_file, data)
    content = fit.about._asdict()
    content["residuals"] = {name: each._asdict() for name, each in fit.about.residuals.items()}
    content["skipped"] = {name: each._asdict() for name, each in fit.about.skipped.items()}
    write_bytes_atomic(json_file, _encoded(content))


def load_subject(folder: Path, subject: str, head: HeadModel) -> SubjectFit:
    """Read a subject's fit.

    Raises:
        UserError: it is missing, damaged or of another head.
    """
    tensor_file, json_file = subject_files(folder, subject)
    about = _read(SubjectFile, json_file, "a fit of `mica-ext fit`")
    try:
        tensors = load(read_regular(tensor_file, FITS_BYTES))
        shape = tensors.pop("shape")
        fit = SubjectFit(about, shape, MeshFits(**tensors))
    except (ReadError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{tensor_file}: expected a subject's fits ({error}); {AGAIN}") from error
    count = len(about.frames)
    widths = (head.expression_count, 3, 3, 3, 3)
    wanted = [(head.shape_count,), *((count, width) for width in widths), (count,), (count,)]
    if [part.shape for part in (shape, *fit.fits)] != wanted:
        raise UserError(f"{tensor_file}: expected coefficients of {head.name}; {AGAIN}")
    if any(part.dtype != np.float32 or not np.isfinite(part).all() for part in (shape, *fit.fits)):
        raise UserError(f"{tensor_file}: expected finite numbers of 32 bits; {AGAIN}")
    return fit


def subject_files(folder: Path, subject: str) -> tuple[Path, Path]:
    """Names of a subject's tensors and JSON; odd characters are escaped."""
    name = quote(subject, safe=" +,=@")
    name = re.sub(r"^\.", "%2E", name)
    if name in ("fits", "residuals"):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return folder / f"{name}.safetensors", folder / f"{name}.json"


def finished_subjects(folder: Path) -> list[str]:
    """Names of the subjects that are done, sorted."""
    names = (RUN_FILE, RESIDUALS)
    files = [path for path in folder.glob("[!.]*.json") if path.name not in names]
    expected = "a fit of `mica-ext fit`"
    return sorted(_read(SubjectFile, path, expected).subject for path in files)


def _read(kind: type, path: Path, expected: str):  # noqa: ANN202
    try:
        content = from_json(kind, read_json(path, expected), str(path))
    except ContentError as error:
        raise UserError(str(error)) from error
    if content.format != FORMAT or content.version != VERSION:
        raise UserError(f"{path}: expected {FORMAT} {VERSION}, got {content.format}")
    return content


def _difference(before: RunFile, now: RunFile) -> str:
    old = {**before.settings, "head": f"{before.head} {before.head_version}"}
    new = {**now.settings, "head": f"{now.head} {now.head_version}"}
    changed = [f"{name} {old[name]}, now {new[name]}" for name in new if old.get(name) != new[name]]
    return "; ".join(changed) or "another format"


def _encoded(content: object) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
