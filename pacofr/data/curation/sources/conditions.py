"""Conditions on the JSON that img2dataset writes beside each photo of a tar: NSFW, similarity."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pacofr.errors import UserError

_FORM = re.compile(r"(\w{1,64})\s*(>=|<=|!=|=|>|<)\s*(.{1,200})", re.DOTALL)
_ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Condition(NamedTuple):
    """`field` compared with some values."""

    field: str
    comparison: str
    """= (one of the values), != (none of them), or an order of numbers."""
    values: tuple[str, ...]

    def holds(self, about: Mapping[str, Any]) -> bool:
        """Whether it holds of a photo's JSON; without the field it does not."""
        value = about.get(self.field)
        if value is None or isinstance(value, (list, dict)):
            return False
        if self.comparison in ("=", "!="):
            return (str(value) in self.values) == (self.comparison == "=")
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return False
        return _ORDERS[self.comparison](number, float(self.values[0]))


def parse_condition(text: str) -> Condition:
    """A condition as the command line gives it: NSFW=UNLIKELY,UNSURE or similarity>=0.3.

    Raises:
        UserError: it has another form, or orders something that is no number.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"--where {text!r}: expected FIELD=VALUE,VALUE, FIELD!=VALUE or FIELD>=NUMBER"
        )
    field, comparison, right = match.groups()
    if comparison in ("=", "!="):
        return Condition(field, comparison, tuple(right.split(",")))
    try:
        number = float(right)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"--where {text!r}: expected a number after {comparison}, got {right!r}")
    return Condition(field, comparison, (right,))
