"""Where curation gets photos from: folders, tar shards, and LAION-Face's detection files.

A `Unit` is the piece of work that becomes one output shard: a source tar or a thousand files.
"""

import dataclasses
import hashlib
import json
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from pacofr.data.curation.config import Reason
from pacofr.errors import UserError
from pacofr.images import SUFFIXES, list_images

FILES_PER_UNIT = 1000
MEMBER_BYTES_MAX = 256 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
    """Photos that become one shard."""

    number: int
    name: str
    """Tells the unit from others wherever the source lies: part of each photo's draw."""
    files: tuple[Path, ...]
    """One tar, or image files."""
    root: Path
    """Folder the files' keys are relative to."""

    @property
    def tar(self) -> Path | None:
        """The source tar, if it is one."""
        return self.files[0] if self.files[0].suffix == ".tar" else None

    @property
    def digest(self) -> str:
        """Changes when the source's files are others, by name and size."""
        lines = [f"{self._relative(file)} {file.stat().st_size}" for file in self.files]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()


class Photo(NamedTuple):
    """One photo's bytes, or why there are none."""

    key: str
    data: bytes
    sample_id: int | None = None
    problem: Reason | None = None


def find_units(sources: tuple[Path, ...]) -> list[Unit]:
    """All units of the sources, in an order that depends on names only."""
    units: list[Unit] = []

    def add(name: str, files: tuple[Path, ...], root: Path) -> None:
        units.append(Unit(number=len(units), name=name, files=files, root=root))

    for source in sources:
        if source.is_file() and source.suffix == ".tar":
            add(source.name, (source,), source.parent)
            continue
        if not source.is_dir():
            raise UserError(f"{source} is neither a folder nor a .tar file: expected photos")
        tars = sorted(tar for tar in source.rglob("*.tar") if tar.is_file())
        for tar in tars:
            add(tar.relative_to(source).as_posix(), (tar,), source)
        if tars and not any(p.suffix.lower() in SUFFIXES for p in source.iterdir()):
            continue
        images = list_images(source, recursive=True)
        for start in range(0, len(images), FILES_PER_UNIT):
            part = tuple(images[start : start + FILES_PER_UNIT])
            add(f"{source.name}/{start // FILES_PER_UNIT:06d}", part, source)
    return units


def count_photos(unit: Unit) -> int:
    """Number of photos `photos` yields, without reading them."""
    if unit.tar is None:
        return len(unit.files)
    return sum(1 for _ in _tar_groups(unit.tar, want_json=False, read=False))


def photos(
    unit: Unit, wanted: Int64[np.ndarray, " n"] | None, *, want_ids: bool
) -> Iterator[Photo]:
    """The unit's photos, or those at the sorted positions `wanted`; none of them raises."""
    chosen = None if wanted is None else frozenset(wanted.tolist())
    if unit.tar is not None:
        for position, photo in enumerate(_tar_groups(unit.tar, want_json=want_ids, read=True)):
            if chosen is None or position in chosen or photo.problem is Reason.CUT_SHARD:
                yield photo
        return
    for position, file in enumerate(unit.files):
        if chosen is None or position in chosen:
            key = file.relative_to(unit.root).as_posix()
            try:
                yield Photo(key, file.read_bytes())
            except OSError:
                yield Photo(key, b"", problem=Reason.UNREADABLE)


def _tar_groups(path: Path, *, want_json: bool, read: bool) -> Iterator[Photo]:
    """Photos of a tar in the webdataset convention: members of one sample stand together."""
    key, photo, sample_id = "", None, None
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, _, base = member.name.rpartition("/")
                stem, _, suffix = base.partition(".")
                new_key = f"{folder}/{stem}" if folder else stem
                if new_key != key:
                    if photo is not None:
                        yield photo._replace(sample_id=sample_id)
                    key, photo, sample_id = new_key, None, None
                if member.isreg() and f".{suffix.lower()}" in SUFFIXES:
                    problem = Reason.UNREADABLE if member.size > MEMBER_BYTES_MAX else None
                    data = _member(tar, member) if read and problem is None else b""
                    photo = Photo(key, data, problem=problem)
                elif want_json and suffix == "json" and member.isreg() and member.size < 2**20:
                    sample_id = _sample_id(_member(tar, member))
                tar.members = []  # type: ignore[attr-defined]  # keep memory flat
    except (tarfile.TarError, EOFError, OSError, ValueError, RecursionError):
        if read:
            yield Photo(path.name, b"", problem=Reason.CUT_SHARD)
        return
    if photo is not None:
        yield photo._replace(sample_id=sample_id)


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise EOFError
    return data


def _sample_id(data: bytes) -> int | None:
    try:
        value = json.loads(data).get("SAMPLE_ID")
        return None if value is None else int(value)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


class DetectionTable:
    """LAION-Face's detections of one file, as arrays on disk that all processes share.

    The .pth file is a dictionary of gigabytes; it is turned once into `ids.npy` (sorted),
    `starts.npy` and `rows.npy` (box x0 y0 x1 y1, five points x y, score).
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


def detection_file(unit: Unit, detections: Path) -> Path:
    """The sample2detect file that belongs to a unit's tar."""
    if detections.is_file():
        return detections
    digits = "".join(c for c in unit.files[0].parent.name if c.isdigit())
    path = detections / f"sample2detect_{int(digits) if digits else 0}.pth"
    if not path.is_file():
        raise UserError(
            f"{path} is missing: expected LAION-Face's detections for {unit.files[0]}, whose "
            "folder is named like split_00003 for sample2detect_3.pth"
        )
    return path


def convert_detections(path: Path, folder: Path) -> None:
    """Turn {SAMPLE_ID: [(box, landmarks, score), ...]} into a `DetectionTable` folder, once."""
    if (folder / "rows.npy").is_file():
        return
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            table = torch.load(path, map_location="cpu", weights_only=True)
        ids = np.array(sorted(table), np.int64)
        rows = [[_row(*face[:3]) for face in table[int(i)]] for i in ids]
    except UserError:
        raise
    except Exception as error:  # a foreign file fails in many ways
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"{path} is no file of LAION-Face detections ({reason}): expected "
            "{SAMPLE_ID: [(box, 5 landmarks, score), ...]}; download it again"
        ) from error
    starts = np.concatenate([[0], np.cumsum([len(faces) for faces in rows])]).astype(np.int64)
    flat = np.array([row for faces in rows for row in faces], np.float32).reshape(-1, 15)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("ids", ids), ("starts", starts), ("rows", flat)):  # rows last: done
        temporary = folder / f".{name}.{secrets.token_hex(4)}.npy"
        np.save(temporary, array, allow_pickle=False)
        os.replace(temporary, folder / f"{name}.npy")


def _row(box: Any, landmarks: Any, score: Any) -> np.ndarray:
    numbers = (np.asarray(part, np.float32).ravel() for part in (box, landmarks, score))
    row = np.concatenate([part[:size] for part, size in zip(numbers, (4, 10, 1), strict=True)])
    if row.shape != (15,):
        raise ValueError(f"a face of {len(row)} numbers instead of 15")
    return row


def _numpy_globals() -> list[Any]:
    """What NumPy arrays in a checkpoint need, under NumPy 1's and 2's names; harmless."""
    reconstruct: Any = np.zeros(1).__reduce__()[0]
    scalar: Any = np.float32(0).__reduce__()[0]
    named = [
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (reconstruct, scalar)
        for core in ("core", "_core")
    ]
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")]
    return [*named, np.ndarray, np.dtype, *kinds]
