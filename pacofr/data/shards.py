"""Crops of a folder of tar shards, read at random (the layout: `shard_index`)."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any, SupportsIndex

import cv2
import numpy as np
from jaxtyping import UInt8

from pacofr.data.remote.location import Location, Url, parse_location
from pacofr.data.remote.stores import read_range
from pacofr.data.shard_cache import ShardCache, cached_index
from pacofr.data.shard_index import TAR_BLOCK, read_index
from pacofr.errors import UserError
from pacofr.utils.budgets import CROP_JSON_BYTES, CROP_TENSOR_BYTES
from pacofr.utils.config_json import parse_json


def _open_files() -> int:
    """Shards that a process keeps open: half of what the system lets it."""
    try:
        import resource
    except ImportError:  # Windows
        return 128
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 4096 if allowed < 0 else min(4096, max(16, allowed // 2))


def _member_size(header: bytes) -> int:
    """Size field of a tar header; 0 for anything else."""
    digits = header[124:135]
    octal = bool(digits) and not digits.strip(b"01234567")
    return int(digits, 8) if header[257:262] == b"ustar" and octal else 0


class _LocalShard:
    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}; copy it again") from error

    def read(self, size: int, at: int) -> bytes:
        return os.pread(self._descriptor, size, at)

    def close(self) -> None:
        os.close(self._descriptor)


class _RemoteShard:
    def __init__(self, url: Url) -> None:
        self._url = url

    def read(self, size: int, at: int) -> bytes:
        return read_range(self._url, at, at + size)

    def close(self) -> None:
        """Nothing is open."""


_ShardFile = _LocalShard | _RemoteShard


class ShardDataset:
    """Crops by number: `dataset[i]` is RGB. May be used in forked and spawned workers.

    Args:
        folder: of the shards, or its URL.
        cache: a folder that shards are copied to before they are read (`shard_cache`); remote ones
            need one, and are read piece by piece where it has no room.

    Raises:
        UserError: the shards cannot be read; remote ones without a cache.
    """

    def __init__(self, folder: Location | str, cache: Path | None = None) -> None:
        self.folder = parse_location(folder) if isinstance(folder, str) else folder
        self.cache = cache
        if isinstance(self.folder, Path):
            self.index = read_index(self.folder)
        elif cache is None or self.folder.is_pipe:
            raise UserError(
                f"{self.folder}: expected --data.cache FOLDER on a local disk with the URL of a"
                " folder of shards, which are copied there when they are first read"
            )
        else:
            self.index = read_index(cached_index(self.folder, cache), shards_here=False)
        self._cache = None if cache is None else ShardCache(cache, self.index)
        self.open_files = _open_files()
        self._files: OrderedDict[int, _ShardFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index.locations)

    def __getitem__(self, number: SupportsIndex) -> UInt8[np.ndarray, "canvas canvas 3"]:
        return cv2.cvtColor(self.decode(int(number)), cv2.COLOR_BGR2RGB)

    def decode(self, number: int, *, reduction: int = 1) -> UInt8[np.ndarray, "side side 3"]:
        """Crop as BGR, its side divided by `reduction` (1, 2, 4), which makes decoding faster."""
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
        shard, size, offset = (int(field) for field in self.index.locations[number])
        file = self._open(shard)
        try:
            data = file.read(size + TAR_BLOCK, offset - TAR_BLOCK)
        except (OSError, OverflowError) as error:
            raise self._damaged(number, f"it cannot be read ({error})") from error
        if len(data) != size + TAR_BLOCK:
            raise self._damaged(number, "the shard is cut short")
        if _member_size(data[:TAR_BLOCK]) != size:
            raise self._damaged(number, "the index points elsewhere")
        return data[TAR_BLOCK:]

    def about(self, number: int) -> dict[str, Any]:
        """The JSON that was written for a crop."""
        data = self._content(number, self._json_at(number), CROP_JSON_BYTES)
        about = parse_json(data, f"crop {number} of {self.folder}", "its JSON")
        if not isinstance(about, dict):
            raise self._damaged(number, "its JSON is no object")
        return about

    def has_tensors(self, number: int) -> bool:
        """Whether a crop is labelled."""
        at = self._json_at(number)
        size = _member_size(self._header(number, at))
        name = self._header(number, at + TAR_BLOCK + size + -size % TAR_BLOCK)[:100]
        return name.rstrip(b"\0").endswith(b".safetensors")

    def tensors(self, number: int) -> bytes:
        """The safetensors behind a labelled crop's JSON."""
        at = self._json_at(number)
        size = _member_size(self._header(number, at))
        at += TAR_BLOCK + size + -size % TAR_BLOCK
        if not self._header(number, at)[:100].rstrip(b"\0").endswith(b".safetensors"):
            raise self._damaged(number, "it has no labels")
        return self._content(number, at, CROP_TENSOR_BYTES)

    def _json_at(self, number: int) -> int:
        """Where the header of a crop's JSON lies."""
        _, size, offset = (int(field) for field in self.index.locations[number])
        return offset + size + -size % TAR_BLOCK

    def _header(self, number: int, at: int) -> bytes:
        shard = int(self.index.locations[number]["shard"])
        return self._open(shard).read(TAR_BLOCK, at)

    def _content(self, number: int, at: int, limit: int) -> bytes:
        """The member whose header lies at `at`, or its first `limit` bytes."""
        size = min(_member_size(self._header(number, at)), limit)
        shard = int(self.index.locations[number]["shard"])
        return self._open(shard).read(size, at + TAR_BLOCK)

    def _open(self, shard: int) -> _ShardFile:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        if len(self._files) >= self.open_files:
            self._files.popitem(last=False)[1].close()
        location = self._location(shard)
        if self._cache is not None:
            location = self._cache.location(location, self.index.shards[shard])
        self._files[shard] = (
            _LocalShard(location) if isinstance(location, Path) else _RemoteShard(location)
        )
        return self._files[shard]

    def _location(self, shard: int) -> Location:
        name = self.index.shards[shard].name
        return self.folder / name if isinstance(self.folder, Path) else self.folder.child(name)

    def _damaged(self, number: int, reason: str) -> UserError:
        shard = self._location(int(self.index.locations[number]["shard"]))
        return UserError(
            f"crop {number} in {shard}: {reason}; copy the shard again, or delete "
            "it and run pacofr curate again"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "cache": self.cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], state["cache"])

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            file.close()
