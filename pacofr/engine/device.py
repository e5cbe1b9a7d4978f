"""The device a process computes on, its number format, and its random generators."""

from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from pacofr.errors import UserError


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """This process's device by its name: cpu, cuda, cuda:N, mps or auto.

    "auto" is cuda if this build of PyTorch can compute on it, else cpu; "cuda" is the GPU of this
    process's `local_rank` on its node.

    Raises:
        UserError: another name, no such CUDA device, or fewer than processes on this node.
    """
    if name == "auto":
        name = "cuda" if _can_compute("cuda") else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise UserError(f"--device: expected cpu, cuda, cuda:N, mps or auto, got {name!r}")
    if kind != "cuda":
        return torch.device(name)
    present, index = torch.cuda.device_count(), int(number) if number else local_rank
    if not present:
        raise UserError("expected a CUDA device, found none; run with --device cpu")
    if index >= present and not number:
        raise UserError(
            f"expected one process per GPU, got process {local_rank + 1} on a node of {present}"
            f" GPUs; start with torchrun --nproc-per-node {present}"
        )
    if index >= present:
        raise UserError(f"--device {name}: expected a number below {present}, the CUDA devices")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _can_compute(device: str) -> bool:
    """Whether this build of PyTorch can use the device: a present one may be too old for it."""
    if not torch.cuda.is_available():
        return False
    try:
        ones = torch.ones(1, 1, 3, 3, device=device)
        return float(torch.nn.functional.conv2d(ones, ones)) == 9.0
    except RuntimeError:
        return False


def resolve_precision(name: str, device: torch.device) -> Literal["bf16", "fp32"]:
    """Resolve "auto" to bf16 where `device` multiplies it natively, else to fp32.

    Native: CUDA from Ampere on (a V100 only emulates it) and x86 processors with AMX. Elsewhere
    bf16 is emulated and several times slower than fp32.
    """
    if name != "auto":
        return "bf16" if name == "bf16" else "fp32"
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bf16" if native else "fp32"


def rng_state(device: torch.device) -> UInt8[Tensor, " n"]:
    """State of this process's random generators (CPU, and CUDA if it computes there), as bytes."""
    parts = [torch.get_rng_state()]
    if device.type == "cuda":
        parts.append(torch.cuda.get_rng_state(device))
    return torch.cat(parts)


def set_rng_state(row: UInt8[Tensor, " n"], device: torch.device) -> None:
    """Restore `rng_state`'s bytes (a state of another kind of device is left alone).

    Raises:
        UserError: the bytes are no state of a generator.
    """
    split = torch.get_rng_state().numel()
    try:
        torch.set_rng_state(row[:split])
        if device.type == "cuda" and row.numel() > split:
            torch.cuda.set_rng_state(row[split:], device)
    except RuntimeError as error:
        raise UserError(
            "the checkpoint's random generators are damaged; delete it to go on from the one before"
        ) from error
