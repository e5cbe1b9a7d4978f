"""Counts of what a data set's reader leaves out."""

from pathlib import Path
from typing import NamedTuple


class Skipped(NamedTuple):
    """How many items were left out for one reason, and the first of them."""

    count: int
    example: str


class SkipCounter:
    """Counts by reason; a reason is a few words, the rest of a message belongs to the example."""

    def __init__(self) -> None:
        self.counts: dict[str, Skipped] = {}

    def add(self, reason: str, example: str | Path, count: int = 1) -> None:
        """Count an item."""
        before = self.counts.get(reason)
        text = str(example).encode("utf-8", "backslashreplace").decode()
        total, first = before or Skipped(0, text)
        self.counts[reason] = Skipped(total + count, first)

    def merge(self, other: "SkipCounter") -> None:
        """Add the counts of another."""
        for reason, each in other.counts.items():
            self.add(reason, each.example, each.count)

    def lines(self) -> list[str]:
        """One line per reason, for people."""
        return [
            f"left out: {each.count} x {reason}, first {each.example}"
            for reason, each in self.counts.items()
        ]
