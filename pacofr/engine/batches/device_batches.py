"""Batches on the device, copied there while the step before is computed."""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor

Batch = TypeVar("Batch", bound=tuple[Tensor, ...])


class DeviceBatches(Generic[Batch]):
    """Iterator over batches on `device`.

    On CUDA a stream of its own copies the batch that `prefetch` reads ahead; page-locked batches
    then cost the computing stream no time.

    Args:
        batches: named tuples of tensors on the CPU.
        device: where to.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self._batches, self._device = batches, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._next: Batch | None = None

    def __iter__(self) -> "DeviceBatches[Batch]":
        return self

    def __next__(self) -> Batch:
        batch = self._copied() if self._next is None else self._next
        self._next = None
        if self._stream is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_stream(self._stream)
            for tensor in batch:
                tensor.record_stream(computing)
        return batch

    def prefetch(self) -> None:
        """Begin to copy the next batch, if there is one; call it when a step has been launched."""
        if self._stream is not None and self._next is None:
            try:
                self._next = self._copied()
            except StopIteration:
                self._next = None

    def _copied(self) -> Batch:
        batch: Any = next(self._batches)
        with torch.cuda.stream(self._stream):  # of None: the current one
            tensors = (tensor.to(self._device, non_blocking=True) for tensor in batch)
            return cast(Batch, type(batch)(*tensors))
