"""A copy of a run's state in host memory, so that training goes on while it is written."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pacofr.engine.checkpoint.writing import CheckpointContent


class Snapshot:
    """Buffers for a run's state, made at the first `take` and used again by the others.

    They take as much host memory as a checkpoint has bytes, page-locked where the run is on a GPU.
    """

    def __init__(self) -> None:
        self._tensors: dict[str, dict[str, Tensor]] = {}
        self._exported: nn.Module | None = None
        self._copied: torch.cuda.Event | None = None

    def take(self, content: CheckpointContent) -> CheckpointContent:
        """Copy all tensors and the exported model; on a GPU the copies are ready after `wait`."""
        tensors = {name: self._copy_all(name, group) for name, group in content.tensors.items()}
        if self._exported is None:
            self._exported = _host_copy(content.exported)
        own = self._exported.state_dict()
        for name, tensor in content.exported.state_dict().items():
            own[name].copy_(tensor, non_blocking=True)
        devices = {tensor.device for tensor in content.exported.state_dict().values()}
        self._copied = None
        for device in devices:
            if device.type == "cuda":
                self._copied = torch.cuda.Event()
                self._copied.record(torch.cuda.current_stream(device))
        return content._replace(tensors=tensors, exported=self._exported)

    def wait(self) -> None:
        """Wait until a GPU has made the copies of the last `take`."""
        if self._copied is not None:
            self._copied.synchronize()

    def _copy_all(self, group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = self._tensors.get(group, {})
        kept = {}
        for name, tensor in tensors.items():
            buffer = own.get(name)
            if buffer is None or (buffer.shape, buffer.dtype) != (tensor.shape, tensor.dtype):
                buffer = _host_buffer(tensor)
            kept[name] = buffer.copy_(tensor.detach(), non_blocking=True)
        self._tensors[group] = kept
        return kept


def _host_buffer(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda")


def _host_copy(model: nn.Module) -> nn.Module:
    """The same module with buffers of its own for every tensor, in host memory."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        buffer = _host_buffer(parameter).copy_(parameter.detach())
        memo[id(parameter)] = nn.Parameter(buffer, requires_grad=parameter.requires_grad)
    for tensor in model.buffers():
        memo[id(tensor)] = _host_buffer(tensor).copy_(tensor)
    return copy.deepcopy(model, memo)
