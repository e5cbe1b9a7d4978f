"""ONNX graphs of other people, run within bounds of memory and time."""

import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mica_ext.errors import UserError

RUN_BYTES = 1 << 30
"""Memory of a graph's tensors; SCRFD at 224 pixels takes 50 MB."""
RUN_SECONDS = 60.0


class BoundedSession:
    """An `onnxruntime.InferenceSession` on one thread whose runs have bounds.

    Args:
        data: the graph, without external data.

    Raises:
        UserError: it cannot be read.
        ImportError: onnxruntime is missing.
    """

    def __init__(self, data: bytes) -> None:
        import onnxruntime  # pyright: ignore[reportMissingImports]

        _bound_memory()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has many types of its own
            raise UserError(f"the graph cannot be read ({_first_line(error)})") from error

    def run(
        self, names: Sequence[str] | None, feeds: Mapping[str, Shaped[np.ndarray, "..."]]
    ) -> list[Any]:
        """Outputs of those names, or all.

        Raises:
            UserError: the graph fails, or needs more memory or time than it may.
        """
        import onnxruntime  # pyright: ignore[reportMissingImports]

        options = onnxruntime.RunOptions()
        timer = threading.Timer(RUN_SECONDS, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return list(self._session.run(names, feeds, options))
        except Exception as error:
            raise UserError(f"the graph cannot be run ({_first_line(error)})") from error
        finally:
            timer.cancel()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@functools.cache
def _bound_memory() -> None:
    """Give this process's sessions one allocator of limited size."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    kinds = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
    place = onnxruntime.OrtMemoryInfo("Cpu", kinds[0].ORT_ARENA_ALLOCATOR, 0, kinds[1].DEFAULT)
    limits = onnxruntime.OrtArenaCfg({"max_mem": RUN_BYTES})
    onnxruntime.create_and_register_allocator(place, limits)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no reason given")[:200]
