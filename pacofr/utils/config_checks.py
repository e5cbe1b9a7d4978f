"""Checks of settings, for the `__post_init__` of configs.

They raise `UserError`, which the parser of flags lets through, unlike a `ValueError`.
"""

import math

from pacofr.errors import UserError


def at_least(least: int, config: object, *names: str) -> None:
    """Refuse fields of `config` that are smaller, infinite or no number."""
    for name in names:
        value = getattr(config, name)
        if not least <= value < math.inf:
            raise UserError(f"{name.replace('_', ' ')} must be at least {least}, not {value}")


def splits(width: int, heads: int) -> None:
    """Refuse a width that heads or the table of positions cannot share out."""
    if width % heads or width % 4:
        raise UserError(f"width {width} must be a multiple of 4 and of the {heads} heads")
