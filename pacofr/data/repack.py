"""Shards of another size: fewer and larger files, and crops stored as they are trained on."""

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
from rich.progress import Progress

from pacofr.data.repack_config import RepackConfig
from pacofr.data.selection.select import Selection, select
from pacofr.data.shard_index import ShardEntry, write_index
from pacofr.data.shard_writer import TarWriter
from pacofr.data.shards import ShardDataset
from pacofr.errors import UserError

JPEG_QUALITY = 95


class Repacked(NamedTuple):
    """What was written."""

    shards: tuple[ShardEntry, ...]
    selection: Selection


def repack(config: RepackConfig) -> Repacked:
    """Copy crops to larger shards, those that `select` leaves.

    The folder appears when it is complete.

    Raises:
        UserError: the shards cannot be read, or the folder exists or cannot be written.
    """
    out = config.out
    if out.exists():
        raise UserError(f"{out} exists; give a new folder for the new shards")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            remote = not isinstance(config.shards, Path)
            crops = ShardDataset(config.shards, Path(scratch) / "copies" if remote else None)
            return _repack(config, crops, Path(scratch) / "shards")
    except OSError as error:
        raise UserError(f"cannot write {out} ({error}); give another --out") from error


def _repack(config: RepackConfig, crops: ShardDataset, folder: Path) -> Repacked:
    """Write the shards to `folder` and rename it."""
    canvas = crops.index.canvas
    side = canvas if config.side is None else config.side
    if side > canvas:
        raise UserError(f"--side {side}: the crops have {canvas} px, enlarging them adds nothing")
    chosen = select(crops, config)
    if not len(chosen.numbers):
        raise UserError(f"{config.shards}: no crop is left of {len(crops)}")
    face = round(crops.index.face * side / canvas)
    folder.mkdir()
    entries, locations = _write_shards(crops, chosen.numbers.tolist(), folder, config, side)
    write_index(folder, entries, locations, canvas=side, face=face)
    if isinstance(config.shards, Path) and (stats := config.shards / "stats.json").is_file():
        shutil.copyfile(stats, folder / "stats.json")
    folder.rename(config.out)
    return Repacked(tuple(entries), chosen)


def _write_shards(
    crops: ShardDataset, numbers: list[int], folder: Path, config: RepackConfig, side: int
) -> tuple[list[ShardEntry], list[list[tuple[int, int]]]]:
    entries: list[ShardEntry] = []
    locations: list[list[tuple[int, int]]] = []
    writer: TarWriter | None = None
    with Progress(transient=True) as bar:
        task = bar.add_task("repacking", total=len(numbers))
        for done, number in enumerate(numbers, start=1):
            if writer is None:
                writer = TarWriter(folder / f"shard-{len(entries):06d}.tar")
            jpeg = crops.jpeg(number)
            if side != crops.index.canvas:
                jpeg = _resized(crops, number, side)
            labels = crops.tensors(number) if crops.has_tensors(number) else None
            key = f"{len(entries):06d}_{len(writer.locations):06d}"
            writer.add(key, jpeg, crops.about(number), labels)
            if writer.size >= config.shard_bytes or done == len(numbers):
                entries.append(writer.close())
                locations.append(writer.locations)
                writer = None
            bar.update(task, completed=done)
    return entries, locations


def _resized(crops: ShardDataset, number: int, side: int) -> bytes:
    """The crop as the loader would resize it, as JPEG."""
    small = cv2.resize(crops.decode(number), (side, side), interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return jpeg.tobytes()
