"""Splits by person: nobody is in two of them."""

import hashlib
from collections.abc import Iterable
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def split_people(people: Iterable[str], val: float, test: float) -> dict[str, Split]:
    """Split of every person; depends on the set of names only, never on their order.

    Where a fraction is above 0 and there are people enough, its split has at least one.
    """
    names = sorted(set(people), key=lambda name: hashlib.sha256(name.encode()).digest())
    splits: dict[str, Split] = dict.fromkeys(names, "train")
    start = 0
    wanted: tuple[tuple[Split, float], ...] = (("test", test), ("val", val))
    for split, fraction in wanted:
        count = round(fraction * len(names))
        if fraction > 0 and len(names) > start + 1:
            count = max(count, 1)
        for name in names[start : start + count]:
            splits[name] = split
        start += count
    return splits
