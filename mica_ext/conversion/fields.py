"""Numbers by name out of JSON and .npz files of other programs: bounded, finite, in frames."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from flame_assets.inert.files import ReadError, shown
from flame_assets.inert.npy import read_npz
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import read_json

MAX_JSON_BYTES = 64 << 20
MAX_FRAMES, MAX_NUMBER = 1_000_000, 1e3
NESTED = ("parameters", "flame", "flame_params", "params", "weights", "blendshapes")
"""Keys under which programs put what is looked for."""
Fields = Mapping[str, Any]


def read_fields(path: Path) -> Fields:
    """The named values of a .json or .npz file; of a list of frames, one list a name.

    Raises:
        UserError: the file cannot be read or is of another kind.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npz":
            return _unnested(read_npz(path, text=True), path)
        if suffix == ".json":
            expected = "a JSON file of expressions"
            return _unnested(read_json(path, expected, max_bytes=MAX_JSON_BYTES), path)
    except (ContentError, ReadError) as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    hint = ""
    if suffix in (".pkl", ".pt", ".pth", ".frame", ".npy"):
        hint = "; save its arrays as .npz: np.savez('clip.npz', expr=..., jaw_pose=...)"
    raise UserError(f"{path}: expected .npz, .json, .csv or a folder of .npz or .json{hint}")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes_atomic(path, buffer.getvalue())


def numbers(fields: Fields, names: Iterable[str], path: Path) -> Float64[np.ndarray, "N D"] | None:
    """The rows [frames, width] of the first of `names` that is there.

    Raises:
        UserError: they are no finite numbers of at most two dimensions.
    """
    name = next((name for name in names if name in fields), None)
    if name is None:
        return None
    expected = f"{path}, {shown(name)}: expected rows of numbers of one length"
    try:
        if np.iscomplexobj(fields[name]):
            raise UserError(expected)
        rows = np.asarray(fields[name], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(expected) from error
    if not rows.size or (rows.ndim and len(rows) > MAX_FRAMES):
        raise UserError(
            f"{path}, {shown(name)}: expected 1 to {MAX_FRAMES} frames, got {rows.shape}"
        )
    rows = rows.reshape(len(rows), -1) if rows.ndim > 2 else np.atleast_2d(rows)
    if not np.isfinite(rows).all() or np.abs(rows).max() > MAX_NUMBER:
        raise UserError(f"{path}, {shown(name)}: expected finite numbers below {MAX_NUMBER:.0f}")
    return rows


def _unnested(content: Any, path: Path) -> Fields:
    if isinstance(content, dict):
        for key in ("frames", "categories"):
            if isinstance(content.get(key), list):
                return _unnested(content[key], path)
        for key in NESTED:
            if isinstance(content.get(key), dict):
                return _unnested(content[key], path)
        return content
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        if all({"categoryName", "score"} <= row.keys() for row in content):  # MediaPipe's
            return {str(row["categoryName"]): [row["score"]] for row in content}
        frames = [_unnested(frame, path) for frame in content]
        if any(frame.keys() != frames[0].keys() for frame in frames):
            raise UserError(f"{path}: expected frames that all hold the same names")
        return {key: [frame[key] for frame in frames] for key in frames[0]}
    raise UserError(f"{path}: expected named values, or a list of frames that hold some")
