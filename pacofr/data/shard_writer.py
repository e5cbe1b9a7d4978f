"""Writing tar shards of crops (the layout: `shard_index`)."""

import contextlib
import hashlib
import json
import os
import secrets
import tarfile
from pathlib import Path
from typing import Any

from pacofr.data.shard_index import TAR_BLOCK, ShardEntry


class TarWriter:
    """Writes a tar shard under a temporary name; `close` renames it, `abandon` deletes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        self._file = self._temporary.open("wb")
        self._sha = hashlib.sha256()
        self._bytes = 0
        self.locations: list[tuple[int, int]] = []
        """(offset, size) of each crop's JPEG."""

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._bytes

    def add(
        self, key: str, jpeg: bytes, about: dict[str, Any], tensors: bytes | None = None
    ) -> None:
        """Append a crop, the JSON that says where it came from, and safetensors that go with it."""
        self.locations.append((self._bytes + TAR_BLOCK, len(jpeg)))
        self._member(f"{key}.jpg", jpeg)
        self._member(f"{key}.json", json.dumps(about, separators=(",", ":")).encode())
        if tensors is not None:
            self._member(f"{key}.safetensors", tensors)

    def close(self) -> ShardEntry:
        """Finish the file, flush it to the disk and rename it; its entry for the index."""
        self._write(bytes(2 * TAR_BLOCK))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self.path)
        name = self.path.name
        return ShardEntry(name, self._bytes, len(self.locations), self._sha.hexdigest())

    def abandon(self) -> None:
        """Drop what was written."""
        with contextlib.suppress(OSError):  # on a full disk what is buffered cannot be written
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
