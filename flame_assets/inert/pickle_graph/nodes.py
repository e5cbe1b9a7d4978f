"""What a pickle is read as before values are made of it: a graph of plain nodes.

Besides None, numbers, text, bytes, lists and tuples of nodes there are the classes below.
"""

from typing import Any


class GlobalRef:
    """A function or class that a pickle names, by its present-day dotted name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class PickledCall:
    """An object a pickle wants built: `function(*args)`, then given a state, items and pairs."""

    __slots__ = ("args", "function", "items", "pairs", "state")

    def __init__(self, function: str, args: tuple[Any, ...]) -> None:
        self.function, self.args = function, args
        self.state: Any = None
        self.items: list[Any] = []
        self.pairs: list[Any] = []


class PersistentId:
    """Something that lies outside the pickle, by the id that the pickle gives it."""

    __slots__ = ("id",)

    def __init__(self, id: Any) -> None:  # noqa: A002 - the word of pickle's documentation
        self.id = id


class PairList(list[Any]):
    """A dictionary: its keys and values in turn, nothing hashed."""


class SetList(list[Any]):
    """The items of a set, nothing hashed."""


class OldString(bytes):
    """An 8-bit string of Python 2: text or bytes, the pickle does not say."""
