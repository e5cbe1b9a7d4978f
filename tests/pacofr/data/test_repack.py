"""Larger shards, crops of another size, and copies of shards on a faster disk."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pacofr.cli import main
from pacofr.data.shard_cache import RESERVE_BYTES, ShardCache
from pacofr.data.shard_index import ShardEntry, write_index
from pacofr.data.shard_writer import TarWriter
from pacofr.data.shards import ShardDataset
from pacofr.errors import UserError
from pacofr.pretraining.config import DataConfig
from pacofr.pretraining.data import ShardCrops

CROPS, SHARDS = 12, 4


@pytest.fixture
def shards(tmp_path):
    """Four small shards of noise, so that a JPEG has about 60 kB; every third crop is labelled."""
    folder, rng = tmp_path / "shards", np.random.default_rng(0)
    folder.mkdir()
    entries, places = [], []
    for shard in range(SHARDS):
        writer = TarWriter(folder / f"shard-{shard:06d}.tar")
        for number in range(shard * 3, shard * 3 + 3):
            coarse = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            done, jpeg = cv2.imencode(".jpg", cv2.resize(coarse, (256, 256)), [1, 95])
            assert done
            labels = b"labels of it" if number % 3 == 0 else None
            writer.add(f"{number:06d}", jpeg.tobytes(), {"number": number}, labels)
        entries.append(writer.close())
        places.append(writer.locations)
    write_index(folder, entries, places, canvas=256, face=200)
    return folder


def test_repacked_crops_are_the_same_bytes_in_fewer_shards(shards, tmp_path, capsys):
    out = tmp_path / "large"
    assert main(["repack", str(shards), "--out", str(out)]) == 0
    assert "12 crops in 1 shards" in capsys.readouterr().out
    before, after = ShardDataset(shards), ShardDataset(out)
    assert (len(before.index.shards), len(after.index.shards)) == (SHARDS, 1)
    for number in range(CROPS):
        assert after.jpeg(number) == before.jpeg(number)
        assert after.about(number) == {"number": number}
        assert after.has_tensors(number) == (number % 3 == 0)
    assert after.tensors(3) == b"labels of it"
    assert main(["repack", str(shards), "--out", str(out)]) == 2  # never over something
    assert "exists" in capsys.readouterr().err


def test_crops_stored_as_they_are_trained_on_are_what_the_loader_made_of_them(shards, tmp_path):
    out = tmp_path / "sized"
    assert main(["repack", str(shards), "--out", str(out), "--side", "224"]) == 0
    index = ShardDataset(out).index
    assert (index.canvas, index.face) == (224, 175)
    everything = np.arange(CROPS)
    large, sized = (
        ShardCrops(folder, side=224, config=DataConfig(), seed=0).read(1, everything).astype(float)
        for folder in (shards, out)
    )
    assert np.sqrt(np.square(large - sized).mean()) < 8.0  # bilinear against area, JPEG once more
    assert out.stat().st_ino != shards.stat().st_ino
    small, big = (sum(f.stat().st_size for f in x.glob("*.tar")) for x in (out, shards))
    assert small < big


def test_a_side_that_enlarges_is_refused(shards, tmp_path, capsys):
    command = ["repack", str(shards), "--out", str(tmp_path / "x"), "--side", "448"]
    assert main(command) == 2
    assert "enlarging them adds nothing" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_cache_is_read_instead_of_the_shards(shards, tmp_path):
    config = DataConfig(cache=tmp_path / "cache")
    crops = ShardCrops(shards, side=64, config=config, seed=0)
    expected = ShardCrops(shards, side=64, config=DataConfig(), seed=0).read(0, np.arange(CROPS))
    assert np.array_equal(crops.read(0, np.arange(CROPS)), expected)
    copies = sorted((tmp_path / "cache").glob("*/*.tar"))
    assert [file.read_bytes() for file in copies] == [
        file.read_bytes() for file in sorted(shards.glob("*.tar"))
    ]
    again = ShardCrops(shards, side=64, config=config, seed=0)
    for file in shards.glob("*.tar"):
        file.unlink()  # the disk with the shards has gone
    assert np.array_equal(again.read(0, np.arange(CROPS)), expected)


def test_a_cache_that_is_full_is_one_line_and_the_shards_are_read(shards, tmp_path, caplog):
    """As on a disk of which less is free than the shard and the reserve."""
    index = ShardDataset(shards).index
    cache = ShardCache(tmp_path / "cache", index)
    files = [shards / entry.name for entry in index.shards]
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    huge = ShardEntry(files[0].name, free + RESERVE_BYTES, 3, "")
    assert cache.location(files[0], huge) == files[0]
    assert [
        cache.location(file, entry) for file, entry in zip(files, index.shards, strict=True)
    ] == files
    assert len([r for r in caplog.records if "is full" in r.getMessage()]) == 1
    assert not list((tmp_path / "cache").rglob("*.tar"))


def test_a_shard_that_vanishes_is_one_line(shards):
    crops = ShardDataset(shards)
    (shards / "shard-000001.tar").unlink()
    with pytest.raises(UserError, match=r"shard-000001\.tar cannot be read: No such file"):
        crops.decode(4)


def test_two_processes_fill_a_cache(shards, tmp_path):
    read = (
        "import sys, pathlib; from pacofr.data.shards import ShardDataset;"
        "d = ShardDataset(sys.argv[1], pathlib.Path(sys.argv[2]));"
        "print(sum(len(d.jpeg(i)) for i in range(len(d))))"
    )
    command = [sys.executable, "-c", read, str(shards), str(tmp_path / "cache")]
    root = str(Path(__file__).parents[3])
    both = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
        )
        for _ in range(2)
    ]
    said = {process.communicate()[0] for process in both}
    crops = ShardDataset(shards)
    assert said == {f"{sum(len(crops.jpeg(i)) for i in range(CROPS))}\n"}
