"""torch.compile of parts of a model, where it works: it needs a C++ compiler, on a GPU Triton."""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from pacofr.errors import UserError

_COMPILERS = ("torch._dynamo", "torch._inductor", "torch._functorch", "triton")


def compile_parts(parts: Iterable[nn.Module]) -> None:
    """Compile each part in place, when it is first called. Parts of one class share what is
    compiled, so that a deep transformer compiled block by block starts in seconds instead of
    minutes."""
    for part in parts:
        part.compile()


def uncompile_parts(parts: Iterable[nn.Module]) -> None:
    """Undo `compile_parts`."""
    for part in parts:
        part._compiled_call_impl = None
    torch._dynamo.reset()


@contextlib.contextmanager
def compiler_errors_as_user_error(remedy: str) -> Iterator[None]:
    """Turn what torch.compile raises, however it is wrapped, into one line."""
    try:
        yield
    except Exception as error:
        kinds = [kind.__module__ for kind in type(error).__mro__]
        if not any(module.startswith(_COMPILERS) for module in kinds):
            raise
        raise UserError(
            f"torch.compile failed in the middle of the training ({first_line(error)}); {remedy}"
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says first; compilers' are pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else repr(error)
