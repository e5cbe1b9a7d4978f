"""Settings of `pacofr repack`; imports neither torch nor OpenCV."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from pacofr.errors import UserError
from pacofr.utils.config_checks import at_least, at_most


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepackConfig:
    """Copy a folder of shards to one with larger shards, in the same order.

    Disks that many processes read at random serve a few large files better than thousands of small
    ones. The crops' JSON goes along.
    """

    shards: tyro.conf.Positional[Path]
    """Folder that `pacofr curate` wrote."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the new shards; must not exist."""
    side: int | None = None
    """Store the crops at this size [px], e.g. 224 for the presets of that size, so that the loader
    need not resize them; default: their bytes as they are."""
    shard_bytes: int = 1 << 30
    """Size from which on a shard is closed."""

    def __post_init__(self) -> None:
        at_least(1 << 20, self, "shard_bytes")
        if self.side is not None:
            at_least(16, self, "side")
            at_most(1024, self, "side")
        if self.out.resolve() == self.shards.resolve():
            raise UserError(f"--out {self.out}: expected another folder than that of the shards")
