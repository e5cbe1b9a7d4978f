"""Where curation reads from: tars as img2dataset writes them, folders, LAION-Face detections."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.tars import header, tar_bytes, write_tar

from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.sources.tars import SourcePhoto
from pacofr.data.curation.sources.units import SourceUnit, count_photos, find_units, read_photos
from pacofr.data.curation.stats import Count, Counter, LeftOut, Reason
from pacofr.errors import UserError

JPEG = b"\xff\xd8\xff\xe0" + bytes(16)


def units_of(*sources: Path) -> list[SourceUnit]:
    return find_units(sources).units


def read(unit: SourceUnit, wanted, *, want_ids: bool) -> list[SourcePhoto]:
    return list(read_photos(unit, wanted, Counter(), with_ids=want_ids))


def left_out(unit: SourceUnit) -> dict[str, Count]:
    counter = Counter()
    list(read_photos(unit, None, counter, with_ids=False))
    return counter.counts


def about(sample_id) -> bytes:
    return json.dumps({"SAMPLE_ID": sample_id, "caption": "someone", "status": "success"}).encode()


IMG2DATASET = [
    ("000000001.jpg", b"one"),
    ("000000001.json", about(11)),
    ("000000001.txt", b"someone"),
    ("000000002.json", about(22.0)),  # pandas likes floats
    ("000000002.jpg", b"two"),
    ("000000003.txt", b"no picture came"),
    ("000000004.webp", b"four"),
    ("000000004.json", b"{not json"),
]


def test_img2dataset_tars(tmp_path):
    write_tar(tmp_path / "00000.tar", IMG2DATASET)
    (unit,) = units_of(tmp_path)
    found = read(unit, None, want_ids=True)
    assert [(p.key, p.data, p.sample_id) for p in found] == [
        ("000000001", b"one", 11),
        ("000000002", b"two", 22),
        ("000000004", b"four", None),
    ]
    assert count_photos(unit) == 3
    chosen = read(unit, np.array([0, 2]), want_ids=False)
    assert [p.key for p in chosen] == ["000000001", "000000004"]


def test_a_tar_cut_short_gives_what_stands_before(tmp_path):
    path = tmp_path / "00000.tar"
    write_tar(path, [(f"{i}.jpg", bytes(3000)) for i in range(5)])
    path.write_bytes(path.read_bytes()[:9000])
    (unit,) = units_of(path)
    for want_ids in (False, True):
        found = read(unit, None, want_ids=want_ids)
        assert [p.problem for p in found] == [None, None, Reason.CUT_SHARD]
    path.write_bytes(b"no tar at all" * 100)
    assert [p.problem for p in read(unit, None, want_ids=False)] == [Reason.CUT_SHARD]


@pytest.mark.parametrize("value", [b"Infinity", b"1e999", b"[" * 9**6, b"{", b"null"])
def test_an_id_that_is_no_number_is_none(tmp_path, value):
    write_tar(tmp_path / "a.tar", [("1.jpg", b"one"), ("1.json", b'{"SAMPLE_ID": ' + value + b"}")])
    (unit,) = units_of(tmp_path)
    assert [p.sample_id for p in read(unit, None, want_ids=True)] == [None]


def test_every_member_is_read_or_counted_with_an_example(tmp_path):
    members = [
        ("Photo 2021.05.01.jpg", b"one"),
        ("Photo 2021.05.02.jpg", b"two"),
        ("._Photo 2021.05.02.jpg", b"resource fork"),
        ("7.jpg", b"three"),
        ("7.mask.png", b"four"),
        ("7.txt", b"someone"),
        ("8.JPEG", b"five"),
        ("no suffix", JPEG),
        (".hidden/9.jpg", b"six"),
        ("more.zip", b"PK"),
        ("readme", b"hello"),
    ]
    link = header("link.jpg", 0, b"1")
    data = tar_bytes([("10.jpg", b"behind the end")])
    (tmp_path / "a.tar").write_bytes(tar_bytes(members) + link + data)
    (unit,) = units_of(tmp_path)
    found = read(unit, None, want_ids=False)
    assert [photo.key for photo in found] == [
        "Photo 2021.05.01",
        "Photo 2021.05.02",
        "7",
        "7.mask",
        "8",
        "no suffix",
        "10",
    ]
    assert count_photos(unit) == 7
    assert left_out(unit) == {
        LeftOut.HIDDEN: Count(2, "._Photo 2021.05.02.jpg"),
        LeftOut.NO_PICTURE: Count(2, "7.txt"),
        LeftOut.ARCHIVE: Count(1, "more.zip"),
        LeftOut.LINK: Count(1, "link.jpg"),
    }


def test_everything_in_a_folder_is_a_unit_or_counted_with_an_example(tmp_path):
    source, elsewhere = tmp_path / "src", tmp_path / "elsewhere"
    for name, data in {
        "people/1.jpg": b"beside tars",
        "people/2": JPEG,
        "people/notes.txt": b"hello",
        "people/more.tar.gz": b"\x1f\x8b",
        "people/._1.jpg": b"",
        "folder.tar/3.jpg": b"",
    }.items():
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    write_tar(source / "B.TAR", IMG2DATASET)
    write_tar(elsewhere / "a.tar", IMG2DATASET)
    (elsewhere / "4.jpg").touch()
    (source / "link").symlink_to("../elsewhere")
    (source / "loop").symlink_to(".")
    (source / "gone.tar").symlink_to("nowhere")
    os.mkfifo(source / "fifo.jpg")
    found = find_units((source,))
    assert [unit.name for unit in found.units] == ["B.TAR", "link/a.tar", "src/000000"]
    assert [found.units[2].key(file) for file in found.units[2].files] == [
        "folder.tar/3.jpg",
        "link/4.jpg",
        "people/1.jpg",
        "people/2",
    ]
    assert found.left_out.counts == {
        LeftOut.NO_FILE: Count(2, "src/fifo.jpg"),
        LeftOut.REPEATED_FOLDER: Count(1, "src/loop"),
        LeftOut.HIDDEN: Count(1, "src/people/._1.jpg"),
        LeftOut.ARCHIVE: Count(1, "src/people/more.tar.gz"),
        LeftOut.NO_PICTURE: Count(1, "src/people/notes.txt"),
    }


def test_photos_of_any_size_are_read_within_bounds(tmp_path):
    (tmp_path / "huge.jpg").touch()
    os.truncate(tmp_path / "huge.jpg", 2**40)
    (unit,) = units_of(tmp_path)
    assert [photo.problem for photo in read(unit, None, want_ids=False)] == [Reason.UNREADABLE]


def test_a_sample_of_endless_members_is_read_piece_by_piece(tmp_path):
    members = [(f"7.{i}.jpg", b"x") for i in range(1000)] + [("7.json", about(5))]
    write_tar(tmp_path / "a.tar", members)
    (unit,) = units_of(tmp_path)
    assert len(read(unit, None, want_ids=True)) == 1000


def test_the_json_of_a_photos_own_name_counts(tmp_path):
    members = []
    for day in (1, 2):
        members += [(f"a.0{day}.jpg", b"x"), (f"a.0{day}.json", about(day))]
    write_tar(tmp_path / "a.tar", members)
    (unit,) = units_of(tmp_path)
    assert [photo.sample_id for photo in read(unit, None, want_ids=True)] == [1, 2]


def test_folders_are_taken_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("pacofr.data.curation.sources.units.FILES_PER_UNIT", 4)
    for i in range(9):
        file = tmp_path / "people" / f"{i // 5}" / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([i]))
    units = units_of(tmp_path / "people")
    assert [len(unit.files) for unit in units] == [4, 4, 1]
    assert [unit.name for unit in units] == ["people/000000", "people/000001", "people/000002"]
    (tmp_path / "people/1/6.jpg").chmod(0)
    (tmp_path / "people/1/7.jpg").unlink()
    found = read(units[1], None, want_ids=False)
    assert [p.key for p in found] == ["0/4.jpg", "1/5.jpg", "1/6.jpg", "1/7.jpg"]
    assert found[3].problem is Reason.UNREADABLE


def test_a_units_digest_follows_names_and_sizes(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, IMG2DATASET)
    before = units_of(path)[0].digest
    os.utime(path, (1, 1))
    assert units_of(path)[0].digest == before
    write_tar(path, [*IMG2DATASET, ("000000005.jpg", bytes(20000))])
    assert units_of(path)[0].digest != before


def test_sources_that_are_none(tmp_path):
    (tmp_path / "list.txt").touch()
    with pytest.raises(UserError, match="neither a folder nor a .tar"):
        units_of(tmp_path / "list.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        units_of(tmp_path / "empty")


def test_settings_that_cannot_be():
    for wrong in ({"sources": ()}, {"sample": 0}, {"part": 2, "parts": 2}, {"jobs": -1}):
        with pytest.raises(UserError, match="must|needed"):
            CurateConfig(**{"sources": (Path("a"),), "out": Path("b"), **wrong})
