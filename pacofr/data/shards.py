"""Folders of tar shards that are read at random: the form of all training data.

    SHARDS/
        shard-000000.tar      KEY.jpg (the crop) and KEY.json (where it came from), KEY.jpg, ...
        shard-000001.tar      any webdataset reader can stream them
        index.npy             per crop: shard, offset and size of its JPEG
        index.json            format, version, canvas, the shards with size, crops and sha256
        stats.json            what curation counted

The index makes every crop reachable by its number, so that order is the reader's choice. The JPEG
of a crop is `size` bytes at `offset`, right behind its 512-byte tar header.
"""

import dataclasses
import hashlib
import io
import json
import os
import secrets
import tarfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import cv2
import numpy as np
from jaxtyping import UInt8

from pacofr.errors import UserError
from pacofr.utils.files import write_atomic, write_json

FORMAT, VERSION = "pacofr-shards", 1
ENTRY = np.dtype([("shard", "<u4"), ("size", "<u4"), ("offset", "<u8")])
TAR_BLOCK = 512
OPEN_FILES = 128


class ShardEntry(NamedTuple):
    """One shard as index.json lists it."""

    name: str
    bytes: int
    """Size of the tar file."""
    crops: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """What a folder of shards holds."""

    canvas: int
    """Side of the stored images [px]."""
    face: int
    """Side of the aligned face in the middle of it [px]."""
    shards: tuple[ShardEntry, ...]
    places: np.ndarray
    """[crops] of ENTRY: where each crop's JPEG lies."""

    @property
    def fingerprint(self) -> str:
        """Changes with any crop or their order."""
        text = "\n".join(shard.sha256 for shard in self.shards)
        return hashlib.sha256(text.encode()).hexdigest()


class TarWriter:
    """Writes a shard under a temporary name; `close` gives it its own, an error leaves nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        self._file = self._temporary.open("wb")
        self._sha = hashlib.sha256()
        self._bytes = 0
        self.places: list[tuple[int, int]] = []
        """(offset, size) of each crop's JPEG."""

    def add(self, key: str, jpeg: bytes, about: dict[str, Any]) -> None:
        """Append a crop and the JSON that says where it came from."""
        self.places.append((self._bytes + TAR_BLOCK, len(jpeg)))
        self._member(f"{key}.jpg", jpeg)
        self._member(f"{key}.json", json.dumps(about, separators=(",", ":")).encode())

    def close(self) -> ShardEntry:
        """Finish the file and put it in its place."""
        self._write(bytes(2 * TAR_BLOCK))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self.path)
        name = self.path.name
        return ShardEntry(name, self._bytes, len(self.places), self._sha.hexdigest())

    def abandon(self) -> None:
        """Drop what was written."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _member(self, name: str, data: bytes) -> None:
        header = tarfile.TarInfo(name)
        header.size = len(data)
        self._write(header.tobuf(tarfile.USTAR_FORMAT))
        self._write(data + bytes(-len(data) % TAR_BLOCK))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha.update(data)
        self._bytes += len(data)


def write_index(
    folder: Path,
    shards: Sequence[ShardEntry],
    places: Sequence[Sequence[tuple[int, int]]],
    *,
    canvas: int,
    face: int,
) -> None:
    """Write index.npy and index.json for shards whose JPEGs lie at (offset, size)."""
    table = np.empty(sum(len(part) for part in places), ENTRY)
    at = 0
    for number, part in enumerate(places):
        rows = table[at : at + len(part)]
        rows["shard"] = number
        if part:
            rows["offset"], rows["size"] = np.asarray(part, np.int64).T
        at += len(part)
    buffer = io.BytesIO()
    np.save(buffer, table, allow_pickle=False)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "canvas": canvas,
        "face": face,
        "crops": len(table),
        "shards": [shard._asdict() for shard in shards],
    }
    write_atomic(folder / "index.npy", buffer.getvalue())
    write_json(folder / "index.json", about)


def read_index(folder: Path | str) -> ShardIndex:
    """Read and check the index of a folder of shards; `UserError` when it does not fit them."""
    folder = Path(folder)
    mend = f"run: pacofr curate SOURCE --out {folder}"
    try:
        about = json.loads((folder / "index.json").read_text())
        places = np.load(folder / "index.npy", mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        name = Path(error.filename or "index.json").name
        raise UserError(f"{folder} holds no finished shards ({name} is missing); {mend}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"the index of {folder} is damaged ({error}); {mend}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError(f"{folder}/index.json is no index of crops ({FORMAT}); {mend}")
    if about.get("version") != VERSION:
        raise UserError(
            f"{folder} is of version {about.get('version')}, expected {VERSION}; {mend}"
        )
    try:
        shards = tuple(ShardEntry(**shard) for shard in about["shards"])
        index = ShardIndex(
            canvas=int(about["canvas"]), face=int(about["face"]), shards=shards, places=places
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}/index.json is incomplete ({error}); {mend}") from error
    _check(folder, index, mend)
    return index


def _check(folder: Path, index: ShardIndex, mend: str) -> None:
    if index.places.dtype != ENTRY or len(index.places) != sum(s.crops for s in index.shards):
        raise UserError(f"index.npy and index.json of {folder} do not belong together; {mend}")
    counts = np.bincount(index.places["shard"], minlength=len(index.shards))
    if counts.tolist() != [shard.crops for shard in index.shards]:
        raise UserError(f"index.npy and index.json of {folder} do not belong together; {mend}")
    for shard in index.shards:
        path = folder / shard.name
        found = path.stat().st_size if path.is_file() else None
        if found is None:
            raise UserError(f"{path} is missing, the index lists it; copy it again or {mend}")
        if found != shard.bytes:
            kind = "cut short" if found < shard.bytes else "not the file the index describes"
            raise UserError(
                f"{path} is {kind}: {found} bytes, expected {shard.bytes}; copy it again, or "
                f"delete it and {mend}"
            )


def _member_size(header: bytes) -> int:
    """Size field of a tar header; 0 for anything else."""
    digits = header[124:135]
    octal = bool(digits) and not digits.strip(b"01234567")
    return int(digits, 8) if header[257:262] == b"ustar" and octal else 0


class ShardDataset:
    """Crops by number, `dataset[i]` is RGB; safe in forked and spawned workers."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.index = read_index(folder)
        self._files: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index.places)

    def __getitem__(self, number: SupportsIndex) -> UInt8[np.ndarray, "canvas canvas 3"]:
        return cv2.cvtColor(self.decode(int(number)), cv2.COLOR_BGR2RGB)

    def decode(self, number: int, *, reduction: int = 1) -> UInt8[np.ndarray, "side side 3"]:
        """Crop as BGR, its side divided by `reduction` (1, 2, 4) for less than no cost (DCT)."""
        flag = {
            1: cv2.IMREAD_COLOR,
            2: cv2.IMREAD_REDUCED_COLOR_2,
            4: cv2.IMREAD_REDUCED_COLOR_4,
        }[reduction]
        image = cv2.imdecode(np.frombuffer(self.jpeg(number), np.uint8), flag)
        side = self.index.canvas // reduction
        if image is None or image.shape != (side, side, 3):
            raise self._damaged(number, "no crop of the expected size")
        return image

    def jpeg(self, number: int) -> bytes:
        """The stored JPEG of a crop."""
        shard, size, offset = (int(field) for field in self.index.places[number])
        descriptor = self._open(shard)
        try:
            data = os.pread(descriptor, size + TAR_BLOCK, offset - TAR_BLOCK)
        except (OSError, OverflowError) as error:
            raise self._damaged(number, f"it cannot be read ({error})") from error
        if len(data) != size + TAR_BLOCK:
            raise self._damaged(number, "the shard is cut short")
        if _member_size(data[:TAR_BLOCK]) != size:
            raise self._damaged(number, "the index points elsewhere")
        return data[TAR_BLOCK:]

    def about(self, number: int) -> dict[str, Any]:
        """The JSON that curation wrote for a crop."""
        shard, size, offset = (int(field) for field in self.index.places[number])
        at = offset + size + -size % TAR_BLOCK
        descriptor = self._open(shard)
        length = _member_size(os.pread(descriptor, TAR_BLOCK, at))
        try:
            return json.loads(os.pread(descriptor, length, at + TAR_BLOCK))
        except ValueError as error:
            raise self._damaged(number, "its JSON is damaged") from error

    def _open(self, shard: int) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        if len(self._files) >= OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        path = self.folder / self.index.shards[shard].name
        try:
            self._files[shard] = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}; copy it again") from error
        return self._files[shard]

    def _damaged(self, number: int, reason: str) -> UserError:
        shard = self.index.shards[int(self.index.places[number]["shard"])].name
        return UserError(
            f"crop {number} in {self.folder / shard}: {reason}; copy the shard again, or delete "
            "it and run pacofr curate again"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])

    def __del__(self) -> None:
        for descriptor in getattr(self, "_files", {}).values():
            os.close(descriptor)
