"""CPU threads of numerical libraries: idle ones sleep instead of spinning; imports no torch."""

import os

_SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # GNU's and LLVM's OpenMP
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "4",  # 2^4 cycles, its least
}


def let_idle_threads_sleep() -> None:
    """Set what OpenMP and OpenBLAS read when they are loaded; call before NumPy and PyTorch are.

    By default their threads spin while they wait for work, which costs other processes (and this
    one's own readers) the core. Settings that the user has made stay.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def set_threads(threads: int | None) -> None:
    """Limit this process's CPU threads; None leaves PyTorch's default, one per core."""
    if threads is not None:
        import cv2
        import torch

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
