"""Counter-based random numbers: every draw is a function of (seed, epoch, sample index, stream).

The numbers come from a hash of integer counters (the finaliser of SplitMix64: Steele, Lea and
Flood, OOPSLA 2014), so a sample gets the same draws whichever process, worker, batch or resumed run
meets it. NumPy only.
"""

import enum

import numpy as np
from jaxtyping import Float64, Int64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


class Stream(enum.IntEnum):
    """Independent sequences of one sample. They are part of every result: never reuse a number."""

    MASK = 0
    RANDOM_TOKEN = 1
    USE_RANDOM = 2
    REGION = 3
    FLIP = 4
    CROP = 5
    JUDGED = 6
    PROBE_TRAIN = 16
    PROBE_TEST = 17
    PROBE_FOLDS = 18
    PROBE_SUBSET = 19


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


def uniforms(
    seed: int, epoch: int, indices: Int64[np.ndarray, " B"], stream: int, count: int
) -> Float64[np.ndarray, "B count"]:
    """`count` numbers in [0, 1) for each sample of dataset position `indices`, in this epoch."""
    key = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for part in (seed, epoch, stream):
            key = _mix((key + np.uint64(part + 1)) * _GOLDEN)
        rows = _mix(key + (indices.astype(np.uint64)[:, None] + np.uint64(1)) * _GOLDEN)
        words = _mix(rows + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
