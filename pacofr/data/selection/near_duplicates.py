"""Pairs of hashes that differ in a few bits, found without comparing all pairs."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64, UInt32, UInt64

from pacofr.data.selection.perceptual_hash import SIDE

KEYS, KEY_BITS, KEY_SIDE = 16, 24, 8
"""Random choices of bits among the signs of the KEY_SIDE lowest frequencies along each axis, which
change least. Where 4 of those 63 bits differ, one of the keys is the same in 91 % of cases."""
_LOW = [SIDE * row + column for row in range(KEY_SIDE) for column in range(KEY_SIDE)]
_LOW_BITS = np.array(_LOW[1:])  # without the constant one
CHUNK = 1 << 20
"""Hashes, or pairs, at once."""
LARGEST_BUCKET = 4096
"""Hashes of one key; more are pictures without content, compared with the first ones only."""


def first_of_each(hashes: UInt64[np.ndarray, "n words"], bits: int) -> Bool[np.ndarray, " n"]:
    """True at the crops to keep: those without a kept one before them that is nearly the same.

    Two hashes are compared when one of their keys is the same: equal ones always, those that differ
    in a few bits nearly always.

    Args:
        hashes: `perceptual_hash`.
        bits: Hamming distance up to which two count as the same.
    """
    keep = np.ones(len(hashes), bool)
    pairs = np.unique(np.concatenate([*_near_pairs(hashes, hashes, bits, within=True)]), axis=0)
    for first, second in pairs[np.argsort(pairs[:, 1], kind="stable")].tolist():
        if keep[first]:
            keep[second] = False
    return keep


def near_any(
    hashes: UInt64[np.ndarray, "n words"], others: UInt64[np.ndarray, "m words"], bits: int
) -> Bool[np.ndarray, " n"]:
    """True where one of `others` is at most `bits` away (found as `first_of_each` finds them)."""
    near = np.zeros(len(hashes), bool)
    for pairs in _near_pairs(hashes, others, bits, within=False):
        near[pairs[:, 0]] = True
    return near


def _near_pairs(
    hashes: UInt64[np.ndarray, "n words"],
    others: UInt64[np.ndarray, "m words"],
    bits: int,
    *,
    within: bool,
) -> Iterator[Int64[np.ndarray, "p 2"]]:
    """Positions (i, j) of near hashes, each pair once a key; i < j if `within` one set."""
    yield np.zeros((0, 2), np.int64)
    draw = np.random.default_rng(0)
    for _ in range(KEYS):
        bits_of_key = draw.choice(_LOW_BITS, KEY_BITS, replace=False)
        ours, theirs = _keys(hashes, bits_of_key), _keys(others, bits_of_key)
        order = np.argsort(theirs, kind="stable")
        values = theirs[order]
        low = np.searchsorted(values, ours, "left")
        high = np.minimum(np.searchsorted(values, ours, "right"), low + LARGEST_BUCKET)
        counts = high - low
        ends = np.cumsum(counts)
        begin = 0
        while begin < len(counts):
            done = ends[begin - 1] if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, done + CHUNK, "right")))
            some = counts[begin:end]
            first = np.repeat(np.arange(begin, end), some)
            within_bucket = np.arange(int(some.sum())) - np.repeat(np.cumsum(some) - some, some)
            second = order[np.repeat(low[begin:end], some) + within_bucket]
            if within:
                forward = first < second
                first, second = first[forward], second[forward]
            distance = np.bitwise_count(hashes[first] ^ others[second]).sum(axis=1)
            near = distance <= bits
            yield np.stack([first[near], second[near]], axis=1)
            begin = end


def _keys(
    hashes: UInt64[np.ndarray, "n words"], bits: Int64[np.ndarray, " b"]
) -> UInt32[np.ndarray, " n"]:
    """The chosen bits of every hash as one number."""
    keys = np.empty(len(hashes), np.uint32)
    weights = (1 << np.arange(len(bits))).astype(np.uint32)
    for begin in range(0, len(hashes), CHUNK):
        some = np.ascontiguousarray(hashes[begin : begin + CHUNK]).view(np.uint8)
        unpacked = np.unpackbits(some, axis=1)[:, bits]
        keys[begin : begin + CHUNK] = unpacked @ weights
    return keys
