"""The files of a run: `result.json` and the distances of each protocol."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Float

from eval_now.errors import UserError
from eval_now.io.files import open_atomic, write_bytes_atomic
from eval_now.io.typed_json import decode, read_json
from eval_now.scoring.result import RunResult
from eval_now.scoring.score import Protocol, ScoredImage
from flame_assets.inert.files import ReadError
from flame_assets.inert.npy import read_npz

FORMAT = "eval-now result"
VERSION = 1
RESULT_FILE = "result.json"


def folder_id(folder: Path) -> str:
    """Identifies a folder of this machine without telling its path."""
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]


def distances_file(folder: Path, protocol: Protocol) -> Path:
    """Path of the distances of one protocol: per image float32 [P] mm, in scan vertex order."""
    return folder / f"distances_{protocol}.npz"


def save_distances(folder: Path, protocol: Protocol, scored: list[ScoredImage]) -> None:
    """Write the distances of one protocol."""
    with open_atomic(distances_file(folder, protocol)) as file:
        np.savez(file, **{image.score.image: image.distances for image in scored})  # pyright: ignore[reportArgumentType]


def load_distances(folder: Path, protocol: Protocol) -> dict[str, Float[np.ndarray, " P"]]:
    """Read the distances of one protocol, by image name.

    Raises:
        UserError: missing, damaged, or not an array of finite numbers per image.
    """
    path = distances_file(folder, protocol)
    again = "run `eval-now` for this folder again"
    try:
        content = read_npz(path)
    except ReadError as error:
        raise UserError(f"{error}; {again}") from None
    for name, values in content.items():
        if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind != "f":
            raise UserError(f"{path}: expected a list of distances for {name}; {again}")
        if not np.isfinite(values).all():
            raise UserError(f"{path}: the distances of {name} are not finite; {again}")
    if not sum(map(len, content.values())):
        raise UserError(f"{path}: holds no distances; {again}")
    return content


def clear_results(folder: Path) -> None:
    """Delete the result, distances and heat maps of an earlier run in this folder."""
    earlier = [folder / RESULT_FILE, *folder.glob("distances_*.npz")]
    for rank in ("worst", "median", "best"):
        earlier += folder.glob(f"heatmaps/*/{rank}_*.png")
    for path in earlier:
        path.unlink(missing_ok=True)


def save_result(folder: Path, result: RunResult) -> None:
    """Write result.json."""
    content = {"format": FORMAT, "version": VERSION, "unit": "mm", **asdict(result)}
    content["warnings"] = [warning._asdict() for warning in result.warnings]
    write_bytes_atomic(folder / RESULT_FILE, (json.dumps(content, indent=1) + "\n").encode())


def load_result(folder: Path) -> RunResult:
    """Read the result.json of a run's folder.

    Raises:
        UserError: missing, malformed, of another version, or without any figures.
    """
    path = folder / RESULT_FILE
    try:
        content = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; expected a folder of `eval-now`") from None
    head = {"format": FORMAT, "version": VERSION, "unit": "mm"}
    if not isinstance(content, dict) or any(content.get(key) != head[key] for key in head):
        raise UserError(f"{path}: expected '{FORMAT}' version {VERSION}; run `eval-now` again")
    result = decode(RunResult, {k: v for k, v in content.items() if k not in head}, path)
    if not result.protocols or any(not entry.images for entry in result.protocols):
        raise UserError(f"{path}: holds no figures; run `eval-now` again")
    return result
