"""Where curation reads from: tars as img2dataset writes them, folders, LAION-Face detections."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from pacofr.data.curation.config import CurateConfig, Reason
from pacofr.data.curation.sources import (
    DetectionTable,
    convert_detections,
    count_photos,
    detection_file,
    find_units,
    photos,
)
from pacofr.errors import UserError


def write_tar(path, members) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


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
    (unit,) = find_units((tmp_path,))
    found = list(photos(unit, None, want_ids=True))
    assert [(p.key, p.data, p.sample_id) for p in found] == [
        ("000000001", b"one", 11),
        ("000000002", b"two", 22),
        ("000000004", b"four", None),
    ]
    assert count_photos(unit) == 3
    chosen = list(photos(unit, np.array([0, 2]), want_ids=False))
    assert [p.key for p in chosen] == ["000000001", "000000004"]


def test_a_tar_cut_short_gives_what_stands_before(tmp_path):
    path = tmp_path / "00000.tar"
    write_tar(path, [(f"{i}.jpg", bytes(3000)) for i in range(5)])
    path.write_bytes(path.read_bytes()[:9000])
    (unit,) = find_units((path,))
    found = list(photos(unit, None, want_ids=False))
    assert [p.problem for p in found] == [None, None, Reason.CUT_SHARD]
    path.write_bytes(b"no tar at all" * 100)
    assert [p.problem for p in photos(unit, None, want_ids=False)] == [Reason.CUT_SHARD]


@pytest.mark.parametrize("value", [b"Infinity", b"1e999", b"[" * 9**6, b"{", b"null"])
def test_an_id_that_is_no_number_is_none(tmp_path, value):
    write_tar(tmp_path / "a.tar", [("1.jpg", b"one"), ("1.json", b'{"SAMPLE_ID": ' + value + b"}")])
    (unit,) = find_units((tmp_path,))
    assert [p.sample_id for p in photos(unit, None, want_ids=True)] == [None]


def test_a_tar_of_nested_headers_counts_as_cut(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.size, header.type = 5, tarfile.GNUTYPE_LONGNAME
    nested = header.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")
    (tmp_path / "a.tar").write_bytes(nested * 2000)
    (unit,) = find_units((tmp_path,))
    assert [p.problem for p in photos(unit, None, want_ids=False)] == [Reason.CUT_SHARD]


def test_only_files_are_taken_for_tars(tmp_path):
    (tmp_path / "gone.tar").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.tar").mkdir()
    write_tar(tmp_path / "a.tar", IMG2DATASET)
    assert [unit.name for unit in find_units((tmp_path,))] == ["a.tar"]


def test_links_and_odd_members_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("evil.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        header = tarfile.TarInfo("../up/good.v2.jpg")
        tar.addfile(header)
        header = tarfile.TarInfo("../up/fine.jpg")
        header.size = 2
        tar.addfile(header, io.BytesIO(b"ok"))
    (unit,) = find_units((tmp_path,))
    assert [p.key for p in photos(unit, None, want_ids=False)] == ["../up/fine"]


def test_folders_are_taken_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("pacofr.data.curation.sources.FILES_PER_UNIT", 4)
    for i in range(9):
        file = tmp_path / "people" / f"{i // 5}" / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([i]))
    units = find_units((tmp_path / "people",))
    assert [len(unit.files) for unit in units] == [4, 4, 1]
    assert [unit.name for unit in units] == ["people/000000", "people/000001", "people/000002"]
    (tmp_path / "people/1/6.jpg").chmod(0)
    (tmp_path / "people/1/7.jpg").unlink()
    found = list(photos(units[1], None, want_ids=False))
    assert [p.key for p in found] == ["0/4.jpg", "1/5.jpg", "1/6.jpg", "1/7.jpg"]
    assert found[3].problem is Reason.UNREADABLE


def test_a_units_digest_follows_names_and_sizes(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, IMG2DATASET)
    before = find_units((path,))[0].digest
    os.utime(path, (1, 1))
    assert find_units((path,))[0].digest == before
    write_tar(path, [*IMG2DATASET, ("000000005.jpg", bytes(20000))])
    assert find_units((path,))[0].digest != before


def test_sources_that_are_none(tmp_path):
    (tmp_path / "list.txt").touch()
    with pytest.raises(UserError, match="neither a folder nor a .tar"):
        find_units((tmp_path / "list.txt",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        find_units((tmp_path / "empty",))


def test_settings_that_cannot_be():
    for wrong in ({"sources": ()}, {"sample": 0}, {"part": 2, "parts": 2}, {"jobs": -1}):
        with pytest.raises(UserError, match="must|needed"):
            CurateConfig(**{"sources": (Path("a"),), "out": Path("b"), **wrong})


def face(shift: float):
    box = np.array([10, 20, 110, 140], np.float32) + shift
    points = np.array([[40, 60], [80, 60], [60, 85], [45, 105], [75, 105]], np.float32) + shift
    return box, points, np.float32(0.99)


@pytest.mark.parametrize("kind", ["numpy", "lists", "tensors", "old"])
def test_laion_detections(tmp_path, kind):
    def as_kind(part):
        if kind == "lists":
            return part.tolist()
        return torch.from_numpy(np.asarray(part)) if kind == "tensors" else part

    table = {
        907: [tuple(as_kind(p) for p in face(0)), tuple(as_kind(p) for p in face(5))],
        12: [tuple(as_kind(p) for p in face(9))],
        500: [],
    }
    path = tmp_path / "sample2detect_3.pth"
    torch.save(table, path, _use_new_zipfile_serialization=kind != "old")
    convert_detections(path, tmp_path / "table")
    loaded = DetectionTable(tmp_path / "table")
    rows = loaded.rows_of(907)
    assert rows.shape == (2, 15)
    assert np.allclose(rows[1, :4], face(5)[0])
    assert np.allclose(rows[1, 4:14].reshape(5, 2), face(5)[1])
    assert np.allclose(rows[1, 14], 0.99)
    assert loaded.rows_of(12).shape == (1, 15)
    assert loaded.rows_of(500).shape == (0, 15)
    assert loaded.rows_of(13) is None
    assert loaded.rows_of(None) is None


class Trap:
    def __reduce__(self):
        return (os.mkdir, ("sprung",))


@pytest.mark.parametrize(
    "content", [{1: Trap()}, [1, 2], {1: [([1, 2], [3], 0.5)]}, {"a": 1}, {1: 2}]
)
def test_detection_files_of_another_kind_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "sample2detect_0.pth")
    with pytest.raises(UserError, match="no file of LAION-Face detections") as caught:
        convert_detections(tmp_path / "sample2detect_0.pth", tmp_path / "table")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "table").exists()


def test_each_split_has_its_detections(tmp_path):
    write_tar(tmp_path / "split_00007" / "00001.tar", IMG2DATASET)
    (unit,) = find_units((tmp_path,))
    with pytest.raises(UserError, match="sample2detect_7.pth is missing"):
        detection_file(unit, tmp_path)
    (tmp_path / "sample2detect_7.pth").touch()
    assert detection_file(unit, tmp_path) == tmp_path / "sample2detect_7.pth"
