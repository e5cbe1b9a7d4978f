"""The index of a folder of tar shards: where every crop lies.

    SHARDS/
        shard-000000.tar      KEY.jpg (the crop) and KEY.json (where it came from), KEY.jpg, ...;
                              labelled crops have a KEY.safetensors behind each KEY.json
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
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pacofr.errors import UserError
from pacofr.utils.bounded import open_regular
from pacofr.utils.budgets import CROP_BYTES, INDEX_BYTES
from pacofr.utils.config_json import from_json, read_json
from pacofr.utils.files import write_atomic, write_json

FORMAT, VERSION = "pacofr-shards", 1
ENTRY = np.dtype([("shard", "<u4"), ("size", "<u4"), ("offset", "<u8")])
TAR_BLOCK = 512


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
    locations: np.ndarray
    """[crops] of ENTRY: where each crop's JPEG lies."""

    @property
    def fingerprint(self) -> str:
        """Changes with any crop or their order."""
        text = "\n".join(shard.sha256 for shard in self.shards)
        return hashlib.sha256(text.encode()).hexdigest()


def write_index(
    folder: Path,
    shards: Sequence[ShardEntry],
    locations: Sequence[Sequence[tuple[int, int]]],
    *,
    canvas: int,
    face: int,
) -> None:
    """Write index.npy and index.json.

    Args:
        folder: of the shards.
        shards: in order.
        locations: for each shard, (offset, size) of every crop's JPEG.
        canvas: side of the crops [px].
        face: side of the aligned face in the middle of a crop [px].
    """
    table = np.empty(sum(len(rows) for rows in locations), ENTRY)
    at = 0
    for number, pairs in enumerate(locations):
        rows = table[at : at + len(pairs)]
        rows["shard"] = number
        if pairs:
            rows["offset"], rows["size"] = np.asarray(pairs, np.int64).T
        at += len(pairs)
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


class _IndexFile(NamedTuple):
    format: str
    version: int
    canvas: int
    face: int
    crops: int
    shards: tuple[ShardEntry, ...]


INDEX_FILES = ("index.json", "index.npy")


def read_index(folder: Path | str, *, shards_here: bool = True) -> ShardIndex:
    """Read the index of a folder of shards and check it against the shards' sizes.

    Args:
        folder: holds index.json and index.npy.
        shards_here: whether the shards lie there, too; sizes of others are not checked.

    Raises:
        UserError: a file is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    remedy = f"run: pacofr curate SOURCE --out {folder}"
    for name in INDEX_FILES:
        if not (folder / name).exists():
            raise UserError(f"{folder} holds no finished shards ({name} is missing); {remedy}")
    try:
        about = read_json(folder / "index.json", "an index of crops")
        locations = _map_locations(folder / "index.npy")
    except (OSError, UserError) as error:
        raise UserError(f"the index of {folder} is damaged ({error}); {remedy}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError(f"{folder}/index.json is no index of crops ({FORMAT}); {remedy}")
    if about.get("version") != VERSION:
        raise UserError(
            f"{folder} is of version {about.get('version')!r}, expected {VERSION}; {remedy}"
        )
    try:
        file = from_json(_IndexFile, about, f"{folder}/index.json")
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from error
    index = ShardIndex(canvas=file.canvas, face=file.face, shards=file.shards, locations=locations)
    _check_json(folder, index, remedy)
    _check_locations(folder, index, remedy)
    if shards_here:
        _check_sizes(folder, index, remedy)
    return index


_NPY_HEADER = re.compile(
    rb"\{'descr': \[\('shard', '<u4'\), \('size', '<u4'\), \('offset', '<u8'\)\], "
    rb"'fortran_order': False, 'shape': \((\d{1,12}),\), \} *\n"
)


def _map_locations(file: Path) -> np.ndarray:
    """index.npy, mapped into memory; it must be exactly what NumPy writes for an array of ENTRY."""
    with open_regular(file, INDEX_BYTES) as stream:
        start = stream.read(10)
        length = int.from_bytes(start[8:10], "little")
        header = _NPY_HEADER.fullmatch(stream.read(min(length, 1024)))
        if start[:8] != b"\x93NUMPY\x01\0" or header is None:
            raise UserError(f"{file} holds no table of crops")
        count, begin = int(header[1]), stream.tell()
        stream.seek(0, 2)
        if stream.tell() - begin != count * ENTRY.itemsize:
            raise UserError(f"{file} is cut short or too long")
    if not count:
        return np.zeros(0, ENTRY)
    return np.memmap(file, ENTRY, "r", begin, (count,))


def _check_json(folder: Path, index: ShardIndex, remedy: str) -> None:
    if not 0 < index.face <= index.canvas <= 4096:
        raise UserError(
            f"{folder}/index.json: expected crops of at most 4096 px around their faces, got"
            f" {index.canvas} px around {index.face} px; {remedy}"
        )
    for shard in index.shards:
        name = shard.name
        if not name.isprintable() or len(name) > 200 or Path(name).name != name or name == "..":
            raise UserError(
                f"{folder}/index.json: expected file names of shards, got {name[:200]!r}; {remedy}"
            )
        if not (0 <= shard.bytes < 1 << 50 and 0 <= shard.crops < 1 << 40):
            raise UserError(
                f"{folder}/index.json: expected sizes of files and numbers of crops, got others for"
                f" {name}; {remedy}"
            )


def _check_locations(folder: Path, index: ShardIndex, remedy: str) -> None:
    shard, size, offset = (index.locations[name] for name in ("shard", "size", "offset"))
    together = f"index.npy and index.json of {folder} do not belong together; {remedy}"
    if len(shard) != sum(entry.crops for entry in index.shards):
        raise UserError(together)
    if len(shard) and int(shard.max()) >= len(index.shards):
        raise UserError(
            f"{folder}/index.npy: expected numbers of {len(index.shards)} shards, got"
            f" {int(shard.max())}; {remedy}"
        )
    counts = np.bincount(shard, minlength=len(index.shards))
    if counts.tolist() != [entry.crops for entry in index.shards]:
        raise UserError(together)
    ends = np.array([entry.bytes for entry in index.shards], np.uint64)[shard]
    wrong = (offset < TAR_BLOCK) | (offset > ends) | (size > ends - np.minimum(offset, ends))
    wrong |= size > CROP_BYTES
    if wrong.any():
        number = int(wrong.argmax())
        name = index.shards[int(shard[number])].name
        raise UserError(
            f"crop {number} in {folder / name}: the index points outside of the shard; copy"
            f" {folder}/index.npy again, or {remedy}"
        )


def _check_sizes(folder: Path, index: ShardIndex, remedy: str) -> None:
    for shard in index.shards:
        path = folder / shard.name
        found = path.stat().st_size if path.is_file() else None
        if found is None:
            raise UserError(f"{path} is missing, the index lists it; copy it again or {remedy}")
        if found != shard.bytes:
            kind = "cut short" if found < shard.bytes else "not the file the index describes"
            raise UserError(
                f"{path} is {kind}: {found} bytes, expected {shard.bytes}; copy it again, or "
                f"delete it and {remedy}"
            )
