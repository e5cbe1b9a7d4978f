"""The device a process computes on, its number format, and its random generators."""

import functools
import time
from collections.abc import Mapping
from typing import Literal, cast

import torch
from jaxtyping import UInt8
from torch import Tensor

from pacofr.errors import UserError

Precision = Literal["bf16", "fp16", "fp32"]
"""Number format of matrix products under autocast; fp16 needs a scaled loss (`loss_scale`)."""
DTYPES: Mapping[Precision, torch.dtype] = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
}
LEAST_SPEEDUP = 1.3
"""Of bf16 over float32 products, from which on its further casts pay."""


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


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Resolve "auto" to bf16 where `device` is faster with it, else to fp32.

    That is CUDA from Ampere on (a V100 only emulates it) and processors that multiply it natively
    (AMX, AVX512-BF16), which a short measurement tells: elsewhere it is emulated and several times
    slower than fp32.
    """
    if name != "auto":
        return cast(Precision, name)
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and cpu_bf16_speedup() > LEAST_SPEEDUP
    return "bf16" if native else "fp32"


@functools.cache
def cpu_bf16_speedup(side: int = 256, repeats: int = 7) -> float:
    """How many times faster this processor multiplies bf16 matrices than float32 ones.

    CPU time of the fastest of some products, so that other processes do not decide it.
    """
    fastest = []
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(side, side, dtype=dtype)
        seconds = []
        for _ in range(repeats):
            began = time.process_time()
            for _ in range(4):  # longer than the clock's tick
                torch.mm(a, a)
            seconds.append(time.process_time() - began)
        fastest.append(max(min(seconds), 1e-9))
    return fastest[0] / fastest[1]


def mixed_precision(device: torch.device, precision: Precision) -> torch.autocast:
    """Context in which matrix products are computed in `precision`."""
    enabled = precision != "fp32"
    return torch.autocast(device.type, DTYPES[precision] if enabled else None, enabled=enabled)


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
        torch.set_rng_state(row[:split].clone())  # of a view torch reads the storage's beginning
        if device.type == "cuda" and row.numel() > split:
            torch.cuda.set_rng_state(row[split:].clone(), device)
    except RuntimeError as error:
        raise UserError(
            "the checkpoint's random generators are damaged; delete it to go on from the one before"
        ) from error
