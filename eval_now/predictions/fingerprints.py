"""Comparison of texts that identify a model and hold sums of floating-point numbers."""

import re

_SUM = re.compile(r"-?\d{1,9}\.\d{5,9}(?!\d)", re.ASCII)


def same_fingerprint(first: str, second: str) -> bool:
    """Whether two texts are equal but for rounding.

    Numbers of five to nine decimals may differ by 1.5 units of the last decimal that both have: by
    the error of writing them and a small one of computing them.
    """
    if _SUM.sub("", first) != _SUM.sub("", second):
        return False
    return all(map(_close, _SUM.findall(first), _SUM.findall(second)))


def _close(first: str, second: str) -> bool:
    decimals = min(len(number.partition(".")[2]) for number in (first, second))
    return abs(float(first) - float(second)) < 1.5 * 10.0**-decimals
