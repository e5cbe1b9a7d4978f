"""PyTorch checkpoints of other people: the structure at once, each tensor when it is asked for.

Reads what `torch.save` writes, the zip format (since PyTorch 1.6) and the older one, without
PyTorch. What tensors a file holds is known from its pickle; their bytes are read from their place
in the file, so that optimizer states cost neither time nor memory.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from flame_assets.inert.arrays import Unread, strided
from flame_assets.inert.budgets import PICKLE_BYTES, TORCH_TENSOR, TORCH_UNPACKED
from flame_assets.inert.files import ReadError, disguise, errors_of, is_text, open_regular, shown
from flame_assets.inert.pickle_graph.machine import PickleMachine
from flame_assets.inert.pickle_graph.opcodes import read_graph, read_pairs
from flame_assets.inert.pickle_graph.tensors import (
    StorageRef,
    TensorRef,
    is_older_format,
    numbers,
    storage,
)
from flame_assets.inert.pickle_graph.values import Resolver
from flame_assets.inert.zips import ZipReader


class _Layout(NamedTuple):
    """Where a checkpoint's pickle lies."""

    data: bytes | mmap
    start: int
    end: int


class TorchFile:
    """A checkpoint that is open for reading; close it or use it in a `with` statement.

    Raises:
        ReadError: the file is none, is damaged, or goes beyond a limit of `budgets`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._left = TORCH_UNPACKED
        self._cached: tuple[StorageRef, np.ndarray] | None = None
        self._storages: dict[str, StorageRef] = {}
        self._file = open_regular(path)
        with contextlib.ExitStack() as on_error, errors_of(path):
            on_error.callback(self.close)
            head = self._file.read(512)
            self._zip = self._open_zip() if head.startswith(b"PK\x03\x04") else None
            if self._zip is None and not is_older_format(head):
                raise ReadError(_other_file(head))
            on_error.pop_all()

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was read stays."""
        self._file.close()

    @cached_property
    def content(self) -> Any:
        """What was saved: values as `inert.values` says, with a `TensorRef` for each tensor."""
        with errors_of(self.path), self._pickle(PICKLE_BYTES) as layout:
            return Resolver(self._refer).resolve(
                read_graph(PickleMachine(layout.data, layout.start, layout.end))
            )

    def entries(self) -> Iterator[tuple[str | int, Any]]:
        """Key and value of each entry of the one dictionary that was saved.

        The memory needed does not grow with the number of entries; keys may come twice.
        """
        with errors_of(self.path), self._pickle(None) as layout:
            for pairs in read_pairs(PickleMachine(layout.data, layout.start, layout.end)):
                yield from Resolver(self._refer).resolve_pairs(pairs)

    def read(self, tensor: TensorRef) -> Shaped[np.ndarray, "..."]:
        """The numbers of a tensor of this file; bfloat16 as float32, which holds the same ones."""
        with errors_of(self.path):
            if self._cached is None or self._cached[0] != tensor.storage:
                self._cached = None
                self._cached = tensor.storage, self._read_storage(tensor.storage)
            return strided(self._cached[1], tensor.offset, tensor.shape, tensor.stride)

    def _open_zip(self) -> ZipReader:
        archive = ZipReader(self._file, TORCH_UNPACKED)
        pickles = [name for name in archive.members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ReadError("is a zip archive, but no PyTorch checkpoint: it lacks data.pkl")
        self._root = pickles[0].removesuffix("data.pkl")
        if f"{self._root}constants.pkl" in archive.members:
            raise ReadError("is a TorchScript program, not a checkpoint: save its state_dict")
        return archive

    @contextlib.contextmanager
    def _pickle(self, limit: int | None) -> Iterator[_Layout]:
        """The pickle of the whole structure; over `limit` bytes it is refused."""
        if self._zip is not None:
            name = f"{self._root}data.pkl"
            size = self._zip.members[name].file_size
            if limit is not None and size > limit:
                raise ReadError(f"holds a structure of {size >> 20} MiB without its tensors")
            start = self._zip.stored_at(name)
            if start is None or not size:
                data = self._zip.read(name, PICKLE_BYTES)
                yield _Layout(data, 0, len(data))
                return
        else:
            start, size = 0, os.fstat(self._file.fileno()).st_size
            size = size if limit is None else min(size, limit)
        with mmap(self._file.fileno(), 0, access=ACCESS_READ) as data:
            machine = PickleMachine(data, start, start + size)
            if self._zip is None:
                for _ in range(3):  # magic number, protocol, sizes of the writer's machine
                    read_graph(machine, 1000)
            yield _Layout(data, machine.position, machine.end)

    def _refer(self, id_: Any) -> StorageRef | Unread:
        found = storage(id_)
        if isinstance(found, StorageRef):
            self._storages.setdefault(found.key, found)
        return found

    def _read_storage(self, wanted: StorageRef) -> np.ndarray:
        size = wanted.bytes
        if size > TORCH_TENSOR or size > self._left:
            raise ReadError(f"holds tensors of {size >> 20} MiB, more than are read")
        self._left -= size
        if self._zip is None:
            place = self._places[wanted.key]
            if place + size > os.fstat(self._file.fileno()).st_size:
                raise ReadError("is cut: not all its tensors are whole")
            data = bytearray(size)
            self._file.seek(place)
            self._file.readinto(data)
        else:
            name = f"{self._root}data/{wanted.key}"
            member = self._zip.members.get(name)
            if member is not None and member.file_size != size:
                raise ReadError(
                    f"holds {member.file_size} bytes for a tensor of {wanted.count} {wanted.dtype}"
                )
            data = bytearray(size if member is not None else 0)
            self._zip.read_into(name, data)
        return numbers(data, wanted.dtype, big_endian=self._big_endian)

    @cached_property
    def _big_endian(self) -> bool:
        if self._zip is None or f"{self._root}byteorder" not in self._zip.members:
            return False
        return self._zip.read(f"{self._root}byteorder", 100).strip() == b"big"

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where the bytes of each storage of the older format lie in the file."""
        _ = self.content  # finds all storages
        with self._pickle(PICKLE_BYTES) as layout:
            machine = PickleMachine(layout.data, layout.start, layout.end)
            read_graph(machine)
            keys = Resolver().resolve(read_graph(machine))
            at = machine.position
        places = {}
        for key in keys if isinstance(keys, list) else []:
            known = self._storages.get(key) if isinstance(key, str) else None
            if known is None:
                raise ReadError(f"lists data {shown(key)} that nothing refers to")
            places[key] = at + 8  # behind the count of elements
            at = places[key] + known.bytes
        if set(places) != set(self._storages):
            raise ReadError("is damaged: its list of data is not whole")
        return places


def _other_file(head: bytes) -> str:
    if other := disguise(head):
        return other
    if is_text(head):
        return "is a text file, no PyTorch checkpoint"
    if head.startswith(b"\x80"):
        return "is a plain pickle, no PyTorch checkpoint"
    return "is no PyTorch checkpoint"
