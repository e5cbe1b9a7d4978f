"""Settings of `pacofr repack`; imports neither torch nor OpenCV."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from pacofr.data.remote.location import LocationArgument
from pacofr.errors import UserError
from pacofr.utils.config_checks import at_least, at_most

DEFAULT_NEAR_BITS = 18


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepackConfig:
    """Copy all or some crops of a folder of shards to larger shards, in the same order.

    Disks that many processes read at random serve a few large files better than thousands of small
    ones. The crops' JSON goes along. The paper's set: pacofr curate all of LAION-Face-20M, then
    pacofr repack with --keep 2000000.
    """

    shards: tyro.conf.Positional[LocationArgument]
    """Folder that `pacofr curate` wrote, or its URL: copies of such shards lie beside --out while
    they are read."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the new shards; must not exist."""
    side: int | None = None
    """Store the crops at this size [px], e.g. 224 for the presets of that size, so that the loader
    need not resize them; default: their bytes as they are."""
    shard_bytes: int = 1 << 30
    """Size from which on a shard is closed."""

    exclude: tuple[Path, ...] = ()
    """Folders of shards, e.g. of test sets that `pacofr curate` cut the faces of: crops that are
    nearly the same as one of theirs are left out."""
    near_duplicates: bool = False
    """Leave out crops that are nearly the same as one before them."""
    near_bits: int = DEFAULT_NEAR_BITS
    """Bits of 143 in which the perceptual hashes of nearly the same crops differ at most."""
    keep: int | None = None
    """Keep so many of the crops that are left, drawn by `seed`; default: all."""
    seed: int = 0
    """Decides which."""

    def __post_init__(self) -> None:
        at_least(0, self, "near_bits", "seed")
        at_most(64, self, "near_bits")
        if self.keep is not None:
            at_least(1, self, "keep")
        at_least(1 << 20, self, "shard_bytes")
        if self.side is not None:
            at_least(16, self, "side")
            at_most(1024, self, "side")
        if isinstance(self.shards, Path) and self.out.resolve() == self.shards.resolve():
            raise UserError(f"--out {self.out}: expected another folder than that of the shards")
