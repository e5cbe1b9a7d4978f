"""torch.compile of parts of a model, where it works: it needs a C++ compiler, on a GPU Triton."""

import functools
import logging
from collections.abc import Iterable

import torch
from torch import nn

LOGGER = logging.getLogger(__name__)


def compile_parts(parts: Iterable[nn.Module], device: torch.device) -> None:
    """Compile each part in place, where that works. Parts of one class share what is compiled, so
    that a deep transformer compiled block by block starts in seconds instead of minutes."""
    if can_compile(device):
        for part in parts:
            part.compile()


@functools.cache
def can_compile(device: torch.device) -> bool:
    """Whether a small function compiles and runs on `device`; says in one line why it does not."""

    def small(x: torch.Tensor) -> torch.Tensor:
        return (2 * x + 1).relu().sum()

    try:
        found = float(torch.compile(small)(torch.ones(8, device=device)))
    except Exception as error:  # Dynamo, Inductor, Triton and compilers raise many kinds
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        LOGGER.warning("training without torch.compile, which fails here: %.200s", reason.strip())
        return False
    return found == 24.0
