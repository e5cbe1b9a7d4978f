"""LAION-Face's detections: sample2detect_N.pth, {SAMPLE_ID: [(box, 5 landmarks, score), ...]}."""

import math
import os
import secrets
from array import array
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from flame_assets.inert.arrays import as_array
from flame_assets.inert.checkpoints import TorchFile
from flame_assets.inert.files import ReadError, errors_of, open_regular
from flame_assets.inert.npy import parse_npy_header
from flame_assets.inert.pickle_graph.tensors import TensorRef
from pacofr.data.remote.location import Location
from pacofr.errors import UserError
from pacofr.utils.budgets import DETECTIONS

ROW = 15
"""Numbers of a face: box x0 y0 x1 y1, five points x y, score."""


class _Column(NamedTuple):
    """The type of a `DetectionTable`'s array and the shape behind its first axis."""

    dtype: str
    shape: tuple[int, ...]


COLUMNS = {"ids": _Column("<i8", ()), "starts": _Column("<i8", ()), "rows": _Column("<f4", (ROW,))}
HEADER_BYTES = 4096
"""Read of a file of them, whose header has 128."""


class DetectionTable:
    """The detections of one file, as arrays on disk that all processes share.

    The file is a dictionary of gigabytes; `convert_detections` turns it once into `ids.npy`
    (sorted), `starts.npy` and `rows.npy`.
    """

    def __init__(self, folder: Path) -> None:
        """Map the arrays into memory.

        Raises:
            UserError: they are missing, or not what `convert_detections` writes.
        """
        try:
            ids, starts, rows = (
                _mapped(folder / f"{name}.npy", column) for name, column in COLUMNS.items()
            )
        except (ReadError, OSError) as error:
            raise UserError(f"{error}; delete {folder}, the same command makes it again") from error
        if len(starts) != len(ids) + 1 or (np.diff(starts) < 0).any() or starts[-1] > len(rows):
            raise UserError(f"{folder} is damaged: delete it, the same command makes it again")
        self.ids: Int64[np.ndarray, " m"] = ids
        self.starts: Int64[np.ndarray, " m1"] = starts
        self.rows: Float32[np.ndarray, "k 15"] = rows

    def rows_of(self, sample_id: int | None) -> Float32[np.ndarray, "n 15"] | None:
        """Detections of a sample; None if the file has no entry for it."""
        if sample_id is None:
            return None
        at = int(np.searchsorted(self.ids, sample_id))
        if at == len(self.ids) or self.ids[at] != sample_id:
            return None
        return np.array(self.rows[self.starts[at] : self.starts[at + 1]])


def detection_file(tar: Location, detections: Path) -> Path:
    """The sample2detect file that belongs to a tar."""
    if detections.is_file():
        return detections
    digits = "".join(c for c in tar.parent.name if c.isdecimal() and c.isascii())
    path = detections / f"sample2detect_{int(digits) if digits else 0}.pth"
    if not path.is_file():
        raise UserError(
            f"{path} is missing: expected LAION-Face's detections for {tar}, whose folder is "
            "named like split_00003 for sample2detect_3.pth"
        )
    return path


def convert_detections(path: Path, folder: Path) -> None:
    """Turn a sample2detect file into the folder of a `DetectionTable`, unless it is there."""
    if (folder / "rows.npy").is_file():
        return
    try:
        ids, starts, rows = _read(path)
    except (ReadError, OSError, ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{path} is no file of LAION-Face detections ({error}): expected "
            "{SAMPLE_ID: [(box, 5 landmarks, score), ...]}; download it again"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    for name, column in (("ids", ids), ("starts", starts), ("rows", rows)):  # rows last: done
        temporary = folder / f".{name}.{secrets.token_hex(4)}.npy"
        np.save(temporary, column, allow_pickle=False)
        temporary.replace(folder / f"{name}.npy")


def _read(
    path: Path,
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m1"], Float32[np.ndarray, "k 15"]]:
    """Sorted ids, first row of each, and the rows of all faces."""
    ids, counts, rows = [], [], array("f")
    with TorchFile(path) as file:
        for key, faces in file.entries():
            if type(key) is not int or not isinstance(faces, (list, tuple)):
                raise ValueError("an entry is no list of faces under a number")
            ids.append(key)
            counts.append(len(faces))
            if len(ids) > DETECTIONS or len(rows) // ROW + len(faces) > DETECTIONS:
                raise ValueError(f"it holds more than {DETECTIONS} photos or faces")
            for face in faces:
                rows.frombytes(_row(file, face).tobytes())
    if not ids:
        raise ValueError("it holds none")
    keys = np.array(ids, np.int64)
    order = np.argsort(keys, kind="stable")
    if (np.diff(keys[order]) == 0).any():
        raise ValueError("a SAMPLE_ID stands there twice")
    flat = np.frombuffer(rows, np.float32).reshape(-1, ROW)
    lengths = np.array(counts, np.int64)
    first = np.cumsum(lengths) - lengths  # of each entry, in the file's order
    starts = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
    within = np.arange(len(flat)) - np.repeat(starts[:-1], lengths[order])
    return keys[order], starts, flat[np.repeat(first[order], lengths[order]) + within]


def _mapped(path: Path, column: _Column) -> Shaped[np.ndarray, "n ..."]:
    """The array of a file of `convert_detections`, on disk."""
    with errors_of(path), open_regular(path) as file:
        header = parse_npy_header(file.read(HEADER_BYTES))
        size = file.seek(0, os.SEEK_END) - header.body
    shape = header.shape
    other = header.dtype != np.dtype(column.dtype) or header.fortran
    if other or not shape or shape[1:] != column.shape:
        raise ReadError("is no column of a table of detections", path)
    if math.prod(shape) * header.dtype.itemsize != size:
        raise ReadError("is cut or damaged", path)
    if not shape[0]:
        return np.zeros(shape, header.dtype)
    return np.memmap(path, header.dtype, "r", header.body, shape)


def _row(file: TorchFile, face: Any) -> Float32[np.ndarray, "15"]:
    if not isinstance(face, (list, tuple)) or len(face) < 3:
        raise ValueError("a face has no box, landmarks and score")
    parts = [_numbers(file, part)[:size] for part, size in zip(face, (4, 10, 1), strict=False)]
    row = np.concatenate(parts)
    if row.shape != (ROW,):
        raise ValueError(f"a face has {len(row)} numbers instead of {ROW}")
    return row


def _numbers(file: TorchFile, value: Any) -> Float32[np.ndarray, " n"]:
    array = file.read(value) if isinstance(value, TensorRef) else as_array(value)
    if array.dtype.kind == "c":
        raise ValueError("a face has complex numbers")
    with np.errstate(over="ignore"):  # too large for float32: infinite, as no face is
        return array.astype(np.float32).ravel()
