"""CPU threads of numerical libraries: few, and idle ones sleep; imports no torch.

Two policies: operations large enough to be split (pre-training, probes) use all cores and let idle
threads sleep; small networks run every operation on one thread and are spread over the cores item
by item (`ordered_map`), which also makes results independent of the number of threads.
"""

import os

_SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # GNU's and LLVM's OpenMP
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "4",  # 2^4 cycles, its least
}
_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def let_idle_threads_sleep() -> None:
    """Set what OpenMP and OpenBLAS read when they are loaded; call before NumPy and PyTorch are.

    By default their threads spin while they wait for work, which costs other processes (and this
    one's own readers) the core. Settings that the user has made stay.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def use_one_thread_per_operation() -> None:
    """Run OpenMP, BLAS and OpenCV single-threaded; call before they are imported.

    Settings that the user has made stay.
    """
    let_idle_threads_sleep()
    for name in _THREAD_COUNTS:
        os.environ.setdefault(name, "1")


def available_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int | None) -> None:
    """Limit this process's CPU threads; None leaves PyTorch's default, one per core."""
    if threads is not None:
        import cv2
        import torch

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
