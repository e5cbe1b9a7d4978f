"""LAION-Face's detections: any way to save them gives the same table, nothing is unpickled."""

import os

import numpy as np
import pytest
import torch
from helpers.mutations import damaged_bytes

from pacofr.data.curation.sources import laion_detections
from pacofr.data.curation.sources.laion_detections import (
    DetectionTable,
    convert_detections,
    detection_file,
)
from pacofr.errors import UserError


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
    "content",
    [
        {1: Trap()},
        [1, 2],
        {1: [([1, 2], [3], 0.5)]},
        {"a": 1},
        {1: 2},
        {1: [("box", "points", 0.5)]},
        {1: [(np.array([Trap()]), [1] * 10, 0.5)]},
        {1 << 70: []},
        {True: []},
        {1: [(np.zeros(4), np.zeros(10, complex), 0.5)]},
        "text",
    ],
)
def test_detection_files_of_another_kind_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "sample2detect_0.pth")
    with pytest.raises(UserError, match="no file of LAION-Face detections") as caught:
        convert_detections(tmp_path / "sample2detect_0.pth", tmp_path / "table")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "table").exists()


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_infinite(tmp_path):
    torch.save({1: [(np.full(4, 1e300), np.zeros(10), 0.5)]}, tmp_path / "a.pth")
    convert_detections(tmp_path / "a.pth", tmp_path / "table")
    assert np.isinf(DetectionTable(tmp_path / "table").rows_of(1)[0, :4]).all()


@pytest.mark.parametrize("data", [b"", b"version https://git-lfs", b"<!DOCTYPE html>", b"PK\3\4"])
def test_files_that_are_no_checkpoints(tmp_path, data):
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(UserError, match="no file of LAION-Face detections"):
        convert_detections(tmp_path / "a.pth", tmp_path / "table")


def test_detections_of_many_samples_in_any_order(tmp_path):
    random = np.random.default_rng(0)
    ids = random.permutation(500)
    table = {int(i): [(np.full(4, i), np.full(10, n), 0.5) for n in range(int(i) % 4)] for i in ids}
    torch.save(table, tmp_path / "a.pth")
    convert_detections(tmp_path / "a.pth", tmp_path / "table")
    loaded = DetectionTable(tmp_path / "table")
    for i in range(500):
        rows = loaded.rows_of(i)
        assert rows[:, 0].tolist() == [i] * (i % 4)
        assert rows[:, 4].tolist() == list(range(i % 4))


def test_each_split_has_its_detections(tmp_path):
    tar = tmp_path / "split_00007" / "00001.tar"
    with pytest.raises(UserError, match="sample2detect_7.pth is missing"):
        detection_file(tar, tmp_path)
    (tmp_path / "sample2detect_7.pth").touch()
    assert detection_file(tar, tmp_path) == tmp_path / "sample2detect_7.pth"


@pytest.mark.parametrize("table", [{1: [face(0)] * 3}, {1: [], 2: [], 3: []}])
def test_the_number_of_photos_and_faces_is_bounded(table, tmp_path, monkeypatch):
    torch.save(table, tmp_path / "a.pth")
    convert_detections(tmp_path / "a.pth", tmp_path / "table")
    monkeypatch.setattr(laion_detections, "DETECTIONS", 2)
    with pytest.raises(UserError, match="more than 2 photos or faces"):
        convert_detections(tmp_path / "a.pth", tmp_path / "other")


@pytest.mark.parametrize("name", ["ids", "starts", "rows"])
def test_a_damaged_table_is_one_line(tmp_path, name):
    torch.save({5: [face(0)], 9: [face(1), face(2)]}, tmp_path / "a.pth")
    convert_detections(tmp_path / "a.pth", tmp_path / "table")
    file = tmp_path / "table" / f"{name}.npy"
    array, whole = np.load(file), file.read_bytes()
    damaged = [*damaged_bytes(whole, 4, 40), b""]
    for other in (array[:-1], array.astype("f2"), -array.astype(array.dtype), array[None]):
        np.save(file, other)
        damaged.append(file.read_bytes())
    lines = []
    for data in damaged:
        file.write_bytes(data)
        try:
            DetectionTable(tmp_path / "table").rows_of(9)
        except UserError as error:
            lines.append(str(error))
    assert len(lines) > 25
    assert all("makes it again" in line for line in lines)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match="a pipe or a device"):
        DetectionTable(tmp_path / "table")
