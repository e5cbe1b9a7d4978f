"""Checks of settings, for the `__post_init__` of configs; imports no torch.

They raise `UserError`, which the parser of flags lets through, unlike a `ValueError`.
"""

import math
from typing import Literal

from pacofr.errors import UserError

Device = Literal["auto", "cpu", "cuda", "mps"]
"""Where to compute; auto is CUDA where there is one."""


def at_least(least: int, config: object, *names: str) -> None:
    """Refuse fields of `config` that are smaller, infinite or not a number."""
    for name in names:
        value = getattr(config, name)
        if not least <= value < math.inf:
            raise UserError(f"{name.replace('_', ' ')} must be at least {least}, not {value}")


def at_most(most: int, config: object, *names: str) -> None:
    """Refuse fields of `config` that are larger than any sensible network's."""
    for name in names:
        value = getattr(config, name)
        if value > most:
            raise UserError(f"{name.replace('_', ' ')} must be at most {most}, not {value}")


def divisible_by_heads(width: int, heads: int) -> None:
    """Refuse a width that attention heads or the sine-cosine position table cannot divide."""
    if width % heads or width % 4:
        raise UserError(f"width {width} must be a multiple of 4 and of the {heads} heads")
