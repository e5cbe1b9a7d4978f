"""Damaged variants of files for tests that try every reader with many of them."""

import json
import random
from collections.abc import Iterator
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "../x", "/", "\0", "\ud800", "x" * 10**5, "1e5", [], {}, [[]], {"a": {}}),
    json.loads("[" * 30 + "]" * 30),
)


def damaged_bytes(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Flipped, cut, repeated, inserted and overwritten bytes; the start is hit most often."""
    rng = random.Random(seed)
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            end = max(1, min(len(changed), rng.choice((16, 128, 1024, len(changed)))))
            at = rng.randrange(end)
            kind = rng.randrange(6)
            if kind == 0:
                changed[at] = rng.randrange(256)
            elif kind == 1:
                changed[at : at + 4] = rng.choice((b"\xff", b"\0", b"\x7f")) * 4
            elif kind == 2:
                del changed[at : at + rng.choice((1, 8, 100))]
            elif kind == 3:
                changed[at:at] = changed[at : at + rng.choice((1, 8, 100))]
            elif kind == 4:
                changed[at:at] = rng.choice((b"9" * 12, b"[" * 200, b"{", b'"', b"-", b"\n", b"e9"))
            else:
                del changed[at:]
            if not changed:
                break
        yield bytes(changed)


def damaged_json(content: Any, seed: int, count: int) -> Iterator[str]:
    """Values replaced by odd ones, keys removed, added or renamed, at any depth."""
    rng = random.Random(seed)
    for _ in range(count):
        changed = json.loads(json.dumps(content))
        parents = list(_containers(changed))
        parent = rng.choice(parents)
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        kind = rng.randrange(4)
        if not keys or kind == 0:
            if isinstance(parent, dict):
                parent[rng.choice(("", "x", "__class__"))] = rng.choice(ODD_VALUES)
            else:
                parent.append(rng.choice(ODD_VALUES))
        elif kind == 1:
            del parent[rng.choice(keys)]
        else:
            parent[rng.choice(keys)] = rng.choice(ODD_VALUES)
        yield json.dumps(changed)


def _containers(content: Any) -> Iterator[Any]:
    if isinstance(content, (dict, list)):
        yield content
        for child in content.values() if isinstance(content, dict) else content:
            yield from _containers(child)
