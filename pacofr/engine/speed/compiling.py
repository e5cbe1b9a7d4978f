"""Whether torch.compile works here: it needs a C++ compiler, and Triton on a GPU."""

import functools
import logging

import torch

LOGGER = logging.getLogger(__name__)


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
