"""Which number format a run computes in."""

from typing import Literal

import torch


def resolve_precision(name: str, device: torch.device) -> Literal["bf16", "fp32"]:
    """Turn "auto" into bf16 where `device` multiplies it natively, else fp32.

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
