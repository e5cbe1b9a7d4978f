"""Model-flops utilisation (MFU): what a training computes over what the device can multiply."""

import time

import torch

from pacofr.engine.device import DTYPES, Precision


def matmul_rate(device: torch.device, precision: Precision, repeats: int = 10) -> float:
    """Rate of the fastest of some square matrix products [flop/s], by wall clock.

    The numbers are random: constant ones draw less power and let a GPU clock higher than any
    training does.
    """
    size = 8192 if device.type == "cuda" else 512
    generator = torch.Generator(device).manual_seed(0)  # leaves the run's own draws alone
    a = torch.randn(size, size, device=device, generator=generator).to(DTYPES[precision])
    fastest = float("inf")
    for _ in range(repeats + 1):
        began = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * size**3 / fastest
