"""Shards read at random, the loader's draws, and what is said when files do not fit."""

import copy
import io
import json
import os
import tarfile

import cv2
import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from pacofr.data.shard_index import read_index, write_index
from pacofr.data.shard_writer import TarWriter
from pacofr.data.shards import ShardDataset
from pacofr.errors import UserError
from pacofr.pretraining.config import DataConfig
from pacofr.pretraining.data import ShardCrops

COUNTS = (5, 0, 8)


def picture(number: int) -> np.ndarray:
    """Smooth, different left and right, told apart by its mean colour."""
    ramp = np.linspace(0, 60, 256)[None, :, None]
    colour = np.array([40 + 10 * number, 120, 180 - 8 * number])
    return np.broadcast_to(ramp + colour, (256, 256, 3)).astype(np.uint8).copy()


@pytest.fixture
def folder(tmp_path):
    number, entries, places = 0, [], []
    for shard, count in enumerate(COUNTS):
        writer = TarWriter(tmp_path / f"shard-{shard:06d}.tar")
        for _ in range(count):
            ok, jpeg = cv2.imencode(".jpg", picture(number)[..., ::-1], [1, 95])
            assert ok
            writer.add(f"{number:06d}", jpeg.tobytes(), {"number": number, "name": "ä" * number})
            number += 1
        entries.append(writer.close())
        places.append(writer.locations)
    write_index(tmp_path, entries, places, canvas=256, face=200)
    return tmp_path


def near(one: np.ndarray, other: np.ndarray) -> bool:
    return np.abs(one.astype(int) - other.astype(int)).max() < 9


def test_every_crop_by_number(folder):
    dataset = ShardDataset(folder)
    assert len(dataset) == sum(COUNTS)
    for number in np.random.default_rng(0).permutation(len(dataset)).tolist():
        assert near(dataset[number], picture(number))
        assert dataset.about(number)["number"] == number
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_shards_are_plain_webdataset_tars(folder):
    with tarfile.open(folder / "shard-000002.tar") as tar:
        names = tar.getnames()
        assert names[:3] == ["000005.jpg", "000005.json", "000006.jpg"]
        image = np.asarray(Image.open(io.BytesIO(tar.extractfile("000006.jpg").read())))
        assert near(image, picture(6))
        assert json.loads(tar.extractfile("000006.json").read())["name"] == "ä" * 6


def test_workers_see_what_one_process_sees(folder):
    dataset = ShardDataset(folder)
    alone = np.stack([dataset[i] for i in range(len(dataset))])
    loader = DataLoader(dataset, batch_size=4, num_workers=2)
    assert np.array_equal(np.concatenate([batch.numpy() for batch in loader]), alone)
    assert np.array_equal(copy.copy(dataset)[3], alone[3])  # as a spawned worker gets it


def test_many_shards_need_few_open_files(folder):
    dataset = ShardDataset(folder)
    dataset.open_files = 1
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for number in (0, 5, 1, 6, 2):
        assert near(dataset[number], picture(number))
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 1


def crops(folder, side=224, **config) -> ShardCrops:
    return ShardCrops(folder, side=side, config=DataConfig(**config), seed=3)


def test_flips_follow_seed_epoch_and_position_only(folder):
    data = crops(folder)
    everything = np.arange(len(data))
    one, two = data.read(0, everything), data.read(1, everything)
    assert np.array_equal(one, data.read(0, everything))
    assert np.array_equal(one[[4, 2]], crops(folder).read(0, np.array([4, 2])))
    leftward = [(images[:, 0, 0, 0] > images[:, 0, 0, -1]) for images in (one, two)]
    assert 0 < leftward[0].sum() < len(data)
    assert (leftward[0] != leftward[1]).any()
    for number in everything:
        want = cv2.resize(picture(number), (224, 224), interpolation=cv2.INTER_AREA)
        if leftward[0][number]:
            want = want[:, ::-1]
        assert near(one[number].transpose(1, 2, 0), want)
    plain = crops(folder, flip=False).read(0, everything)
    assert (plain[:, 0, 0, 0] < plain[:, 0, 0, -1]).all()


def test_small_inputs_and_windows(folder):
    positions = np.arange(13)
    small = crops(folder, side=112, flip=False).read(0, positions)
    assert small.shape == (13, 3, 112, 112)
    want = cv2.resize(picture(7), (112, 112), interpolation=cv2.INTER_AREA)
    assert near(small[7].transpose(1, 2, 0), want)
    cut = crops(folder, flip=False, resize="random_crop")
    window = cut.read(0, positions)
    assert window.shape == (13, 3, 224, 224)
    starts = window[:, 1, 0, 0].astype(int)
    assert len(set(starts.tolist())) > 3  # the ramp starts elsewhere in each
    assert not np.array_equal(window, cut.read(1, positions))


def test_fingerprints_tell_contents_apart(folder, tmp_path):
    first = crops(folder).fingerprint
    assert first == crops(folder).fingerprint
    entries = list(read_index(folder).shards)
    entries[0] = entries[0]._replace(sha256="0" * 64)
    table = read_index(folder).locations
    places = [
        [(int(r["offset"]), int(r["size"])) for r in table if r["shard"] == shard]
        for shard in range(3)
    ]
    write_index(folder, entries, places, canvas=256, face=200)
    assert crops(folder).fingerprint != first


def cut(path):
    path.write_bytes(path.read_bytes()[:-700])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"more")


def rubbish(path):
    path.write_bytes(b"rubbish")


def older(path):
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "version": 0}))


def other_format(path):
    path.write_text('{"format": "else"}')


def fewer(path):
    table = np.load(path)
    np.save(path, table[:-1])


def moved(path):
    table = np.load(path)
    table["shard"] = 0
    np.save(path, table)


def foreign_shard(path):
    """bincount would count up to it: 32 GiB."""
    table = np.load(path)
    table["shard"][0] = 2**32 - 2
    np.save(path, table)


def other_array(path):
    np.save(path, np.zeros(13))


def forged_header(path):
    data = path.read_bytes()
    path.write_bytes(data.replace(b"(13,)", b"(10**9,)"))


def deep(path):
    path.write_text("[" * 100_000 + "]" * 100_000)


def changed(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def other_types(path):
    changed(path, crops="13")


def huge_canvas(path):
    changed(path, canvas=10**9, face=10**8)


def elsewhere(path):
    shards = json.loads(path.read_text())["shards"]
    shards[0]["name"] = "../shard-000000.tar"
    changed(path, shards=shards)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("shard-000002.tar", cut, "shard-000002.tar is cut short"),
        ("shard-000000.tar", lengthen, "not the file the index describes"),
        ("shard-000000.tar", os.remove, "is missing"),
        ("index.json", os.remove, "no finished shards"),
        ("index.npy", os.remove, "no finished shards"),
        ("index.json", rubbish, "damaged"),
        ("index.npy", rubbish, "damaged"),
        ("index.json", older, "version 0, expected 1"),
        ("index.json", other_format, "no index of crops"),
        ("index.npy", fewer, "do not belong together"),
        ("index.npy", moved, "do not belong together"),
        ("index.npy", foreign_shard, "expected numbers of 3 shards, got 4294967294"),
        ("index.npy", other_array, "damaged"),
        ("index.npy", forged_header, "damaged"),
        ("index.json", deep, "damaged .*nested too deeply"),
        ("index.json", other_types, "crops must be a whole number, not '13'"),
        ("index.json", elsewhere, "expected file names of shards, got '../shard-000000.tar'"),
        ("index.json", huge_canvas, "crops of at most 4096 px"),
    ],
)
def test_files_that_do_not_fit_are_named(folder, name, damage, words):
    damage(folder / name)
    with pytest.raises(UserError, match=words) as caught:
        ShardDataset(folder)
    assert "pacofr curate" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_index_that_points_elsewhere_is_noticed(folder):
    table = np.load(folder / "index.npy")
    table["offset"][3] += 512
    np.save(folder / "index.npy", table)
    dataset = ShardDataset(folder)
    assert near(dataset[2], picture(2))
    with pytest.raises(UserError, match=r"crop 3 in .*shard-000000.tar.*points elsewhere"):
        dataset[3]
    for nowhere in (0, 2**63 - 1, 2**64 - 1):  # offsets that no read takes
        table["offset"][3] = nowhere
        np.save(folder / "index.npy", table)
        with pytest.raises(UserError, match=r"crop 3 in .*shard-000000.tar"):
            ShardDataset(folder)[3]


@pytest.mark.parametrize("size", [b"99999999999", b"-0000000001", b"\0" * 11])
def test_a_damaged_header_is_named(folder, size):
    dataset = ShardDataset(folder)
    with (folder / "shard-000000.tar").open("r+b") as file:
        file.seek(int(dataset.index.locations["offset"][0]) - 512 + 124)
        file.write(size)
    with pytest.raises(UserError, match=r"crop 0 in .*points elsewhere"):
        dataset[0]


def test_a_damaged_crop_is_named(folder):
    dataset = ShardDataset(folder)
    place = dataset.index.locations[6]
    with (folder / "shard-000002.tar").open("r+b") as file:
        file.seek(int(place["offset"]))
        file.write(b"\0" * 200)
    with pytest.raises(UserError, match=r"crop 6 in .*shard-000002.tar"):
        dataset[6]


def test_a_crops_json_is_bounded_and_checked(folder):
    dataset = ShardDataset(folder)
    first = dataset.index.locations[0]
    at = int(first["offset"]) + int(first["size"]) + -int(first["size"]) % 512
    for size, content, words in (
        (b"77777777777", b"", "its JSON"),  # 8 GiB
        (None, b"[" * 11, "its JSON"),
        (None, b"[1,2,3,4,5]", "its JSON is no object"),
    ):
        with (folder / "shard-000000.tar").open("r+b") as file:
            file.seek(at + 124)
            file.write(size or b"00000000013")
            file.seek(at + 512)
            file.write(content)
        with pytest.raises(UserError, match=words):
            dataset.about(0)


def test_an_abandoned_shard_leaves_nothing(tmp_path):
    writer = TarWriter(tmp_path / "shard-000000.tar")
    writer.add("a", b"jpeg", {})
    writer.abandon()
    assert list(tmp_path.iterdir()) == []
