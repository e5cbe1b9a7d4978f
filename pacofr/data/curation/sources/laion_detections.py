"""LAION-Face's detections: sample2detect_N.pth, {SAMPLE_ID: [(box, 5 landmarks, score), ...]}."""

import secrets
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from flame_assets.inert.arrays import as_array
from flame_assets.inert.checkpoints import TorchFile
from flame_assets.inert.files import ReadError
from flame_assets.inert.pickle_graph.tensors import TensorRef
from pacofr.errors import UserError
from pacofr.utils.budgets import DETECTIONS

ROW = 15
"""Numbers of a face: box x0 y0 x1 y1, five points x y, score."""


class DetectionTable:
    """The detections of one file, as arrays on disk that all processes share.

    The file is a dictionary of gigabytes; `convert_detections` turns it once into `ids.npy`
    (sorted), `starts.npy` and `rows.npy`.
    """

    def __init__(self, folder: Path) -> None:
        self.ids: Int64[np.ndarray, " m"] = np.load(folder / "ids.npy", mmap_mode="r")
        self.starts: Int64[np.ndarray, " m1"] = np.load(folder / "starts.npy", mmap_mode="r")
        self.rows: Float32[np.ndarray, "k 15"] = np.load(folder / "rows.npy", mmap_mode="r")

    def rows_of(self, sample_id: int | None) -> Float32[np.ndarray, "n 15"] | None:
        """Detections of a sample; None if the file has no entry for it."""
        if sample_id is None:
            return None
        at = int(np.searchsorted(self.ids, sample_id))
        if at == len(self.ids) or self.ids[at] != sample_id:
            return None
        return np.array(self.rows[self.starts[at] : self.starts[at + 1]])


def detection_file(tar: Path, detections: Path) -> Path:
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
