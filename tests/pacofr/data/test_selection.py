"""Near duplicates, test sets and a number of crops: what `pacofr repack` leaves out."""

import cv2
import numpy as np
import pytest

from pacofr.cli import main
from pacofr.data.selection.near_duplicates import first_of_each, near_any
from pacofr.data.selection.perceptual_hash import hash_crops
from pacofr.data.shard_index import write_index
from pacofr.data.shard_writer import TarWriter
from pacofr.data.shards import ShardDataset

FACES = 6


def face(number):
    """A crop with structure of all sizes, as photos have (1/f noise), within its border."""
    rng = np.random.default_rng(number)
    spectrum = np.fft.rfft2(rng.normal(size=(200, 200)))
    y, x = np.meshgrid(np.fft.fftfreq(200), np.fft.rfftfreq(200), indexing="ij")
    grey = np.fft.irfft2(spectrum / np.maximum(np.hypot(x, y), 1 / 200), (200, 200))
    crop = np.full((256, 256), 110.0)
    crop[28:228, 28:228] = 128 + 40 * grey / grey.std()
    return np.repeat(np.clip(crop, 0, 255)[..., None], 3, axis=2).astype(np.uint8)


def copies(crop):
    """What copies on the web went through: JPEG twice, half the size, brighter."""
    squeezed = cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1)
    small = cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA)
    return squeezed, cv2.resize(small, (256, 256)), np.clip(crop * 1.1 + 8, 0, 255).astype(np.uint8)


def write_shards(folder, crops):
    folder.mkdir()
    writer = TarWriter(folder / "shard-000000.tar")
    for number, crop in enumerate(crops):
        jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        writer.add(f"{number:06d}", jpeg, {"number": number})
    write_index(folder, [writer.close()], [writer.locations], canvas=256, face=200)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Six faces, then three copies of the first two."""
    faces = [face(number) for number in range(FACES)]
    again = [copy for each in faces[:2] for copy in copies(each)]
    return write_shards(tmp_path_factory.mktemp("selection") / "shards", faces + again)


def numbers(folder):
    crops = ShardDataset(folder)
    return [crops.about(number)["number"] for number in range(len(crops))]


def test_copies_are_left_out_and_other_faces_stay(shards, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["repack", str(shards), "--out", str(out), "--near-duplicates"]) == 0
    assert numbers(out) == list(range(FACES))
    assert "6 near duplicates left out" in capsys.readouterr().out


def test_faces_of_a_test_set_are_left_out(shards, tmp_path, capsys):
    tested = write_shards(tmp_path / "tested", [copies(face(0))[0], face(99)])
    out = tmp_path / "out"
    assert main(["repack", str(shards), "--out", str(out), "--exclude", str(tested)]) == 0
    assert numbers(out) == [1, 2, 3, 4, 5, 9, 10, 11]
    assert "4 crops left out that a set to exclude has, too" in capsys.readouterr().out


def test_exactly_as_many_are_kept_as_asked_for(shards, tmp_path, capsys):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        command = ["repack", str(shards), "--out", str(tmp_path / name), "--near-duplicates"]
        assert main([*command, "--keep", "3", "--seed", seed]) == 0
    kept = {name: numbers(tmp_path / name) for name in "abc"}
    assert kept["a"] == kept["b"] != kept["c"]
    assert all(each == sorted(set(each)) and len(each) == 3 for each in kept.values())
    command = ["repack", str(shards), "--out", str(tmp_path / "d"), "--near-duplicates"]
    assert main([*command, "--keep", "7"]) == 2
    assert "--keep 7: 6 crops are left of 12" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_hash_does_not_depend_on_the_size_that_crops_are_stored_at(shards, tmp_path):
    out = tmp_path / "small"
    assert main(["repack", str(shards), "--out", str(out), "--side", "128"]) == 0
    both = [np.stack(list(hash_crops(ShardDataset(folder)))) for folder in (shards, out)]
    assert np.bitwise_count(both[0] ^ both[1]).sum(axis=1).max() <= 10


def flipped(row, bits):
    """The hash with some bits changed."""
    unpacked = np.unpackbits(row.view(np.uint8))
    unpacked[list(bits)] ^= 1
    return np.packbits(unpacked).view(np.uint64)


@pytest.mark.parametrize(("bits", "found"), [(0, 1.0), (4, 0.97), (12, 0.5)])
def test_near_hashes_against_all_pairs_compared(bits, found):
    """Only pairs that are near; all equal ones, nearly all that differ in a few of 143 bits."""
    rng = np.random.default_rng(0)
    hashes = np.zeros((600, 24), np.uint8)
    hashes[:, :17] = rng.integers(0, 256, (600, 17), np.uint8)
    hashes = hashes.view(np.uint64)
    for row in range(300, 600):
        hashes[row] = flipped(hashes[row - 300], rng.choice(np.arange(1, 136), bits, replace=False))
    distance = np.bitwise_count(hashes[300:, None] ^ hashes[None, :300]).sum(axis=2)
    expected = (distance <= bits).any(axis=1)
    assert expected.all()
    near = near_any(hashes[300:], hashes[:300], bits)
    assert near.mean() >= found
    kept = first_of_each(hashes, bits)
    assert np.array_equal(~kept[300:], near)
    assert kept[:300].all()
    assert not near_any(hashes[300:], hashes[:300], bits - 1).any() or bits == 0
