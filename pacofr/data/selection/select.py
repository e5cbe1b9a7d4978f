"""The crops that stay: none twice, none of a test set, as many as asked for."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from rich.progress import track

from pacofr.data.repack_config import RepackConfig
from pacofr.data.selection.near_duplicates import first_of_each, near_any
from pacofr.data.selection.perceptual_hash import WORDS, Hashes, hash_crops
from pacofr.data.shards import ShardDataset
from pacofr.errors import UserError


class Selection(NamedTuple):
    """Which crops stay."""

    numbers: Int64[np.ndarray, " k"]
    """Sorted."""
    excluded: int
    """Left out as nearly the same as one of the sets to exclude."""
    repeated: int
    """Left out as nearly the same as one before."""


def select(crops: ShardDataset, config: RepackConfig) -> Selection:
    """The crops that stay, by `exclude`, then `near_duplicates`, then `keep`.

    Raises:
        UserError: fewer stay than are to be kept; shards cannot be read.
    """
    stays = np.ones(len(crops), bool)
    excluded = repeated = 0
    if config.exclude or config.near_duplicates:
        hashes, bits = _hashes(crops, "hashing"), config.near_bits
        for folder in config.exclude:
            stays &= ~near_any(hashes, _hashes(ShardDataset(folder), f"hashing {folder}"), bits)
        excluded = int((~stays).sum())
        if config.near_duplicates:
            left = np.flatnonzero(stays)
            stays[left] = first_of_each(hashes[left], bits)
            repeated = int((~stays).sum()) - excluded
    numbers = np.flatnonzero(stays)
    if config.keep is not None:
        if len(numbers) < config.keep:
            raise UserError(
                f"--keep {config.keep}: {len(numbers)} crops are left of {len(crops)}; give more"
                " photos to pacofr curate, or a smaller number"
            )
        drawn = np.random.default_rng(config.seed).choice(len(numbers), config.keep, replace=False)
        numbers = numbers[np.sort(drawn)]
    return Selection(numbers, excluded, repeated)


def _hashes(crops: ShardDataset, what: str) -> Hashes:
    found = np.empty((len(crops), WORDS), np.uint64)
    for number, row in enumerate(
        track(hash_crops(crops), description=what, total=len(crops), transient=True)
    ):
        found[number] = row
    return found
