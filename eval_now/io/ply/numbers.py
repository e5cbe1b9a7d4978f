"""The numbers in the body of an ascii PLY file."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval_now.io.budgets import MAX_PLY_NUMBERS

_CHUNK_BYTES = 2**22
_BLANKS = (b" ", b"\n", b"\r", b"\t", b"\v", b"\f")


class Numbers(NamedTuple):
    """The numbers up to the end of the file or the first other word.

    fault: what that word is, as the end of an error message; "" at the end of the file.
    """

    values: Float[np.ndarray, " N"]
    fault: str


def parse_numbers(data: bytes, begin: int) -> Numbers:
    """Parse a stream of numbers, however it is broken into lines."""
    chunks = [np.zeros(0)]
    count, fault, at = 0, "", begin
    while at < len(data) and not fault:
        chunk = data[at : at + _CHUNK_BYTES]
        if at + len(chunk) < len(data):
            chunk = chunk[: 1 + max(chunk.rfind(blank) for blank in _BLANKS)] or chunk
        words = chunk.split()
        values = _leading_numbers(words)
        chunks.append(values)
        count += len(values)
        if len(values) < len(words):
            word = words[len(values)]
            before = len(chunk) - len(chunk.split(None, len(values))[-1])
            line = 1 + data.count(b"\n", 0, at + before)
            fault = f" line {line}: expected a number, found {word[:40].decode('latin-1')!r}"
        elif count > MAX_PLY_NUMBERS:
            fault = f": expected at most {MAX_PLY_NUMBERS} numbers"
        at += len(chunk)
    return Numbers(np.concatenate(chunks), fault)


def _leading_numbers(words: list[bytes]) -> Float[np.ndarray, " n"]:
    """The words as numbers, up to the first that is none."""
    try:
        values = np.array(list(map(float, words)), np.float64)
    except ValueError:
        values = None
    if values is None or any(b"_" in word for word in words):  # float() accepts 1_000
        parsed: list[float] = []
        for word in words:
            try:
                parsed.append(float(word.replace(b"_", b"?")))
            except ValueError:
                break
        values = np.array(parsed, np.float64)
    return values
