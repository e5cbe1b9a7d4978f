"""PyTorch's checkpoints give what torch.load gives, without PyTorch and tensor by tensor."""

import argparse
import collections
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from flame_assets.inert.arrays import Unread
from flame_assets.inert.checkpoints import TorchFile
from flame_assets.inert.files import ReadError
from flame_assets.inert.pickle_graph.tensors import TensorRef

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip


def checkpoint_content():
    torch.manual_seed(0)
    base = torch.arange(24.0).reshape(4, 6)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return {
        "state_dict": collections.OrderedDict(model.state_dict()),
        "types": {str(kind): (3 * torch.rand(2, 3)).to(kind) for kind in DTYPES},
        "views": [base, base.T, base[1:3, ::2], base[0].expand(3, 6), base[:0], torch.tensor(5)],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.25),
        "curve": np.arange(4),
        "epoch": 3,
        "dtype": torch.float32,
        "size": torch.Size([1, 2]),
    }


def assert_same(checkpoint, got, want):
    if isinstance(want, torch.Tensor):
        assert isinstance(got, TensorRef)
        assert got.shape == tuple(want.shape)
        assert got.dtype == str(want.dtype).removeprefix("torch.")
        plain = want.detach()
        plain = plain.float() if plain.dtype == torch.bfloat16 else plain
        array = checkpoint.read(got)
        np.testing.assert_array_equal(array, plain.numpy())
        assert array.dtype == plain.numpy().dtype
    elif isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            assert_same(checkpoint, got[key], want[key])
    elif isinstance(want, list | tuple):
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            assert_same(checkpoint, one, other)
    elif isinstance(want, argparse.Namespace | torch.dtype):
        assert isinstance(got, Unread)
    else:
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_checkpoint_reads_as_torch_reads_it(tmp_path, zipped, protocol):
    path = tmp_path / "a.pth.tar"
    content = checkpoint_content()
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    want = torch.load(path, weights_only=False)
    with TorchFile(path) as checkpoint:
        assert_same(checkpoint, checkpoint.content, want)
        entries = dict(checkpoint.entries())
        assert_same(checkpoint, entries, want)
    assert checkpoint.content["args"].name == "argparse.Namespace"


def test_only_the_tensors_asked_for_are_read(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"model": {"w": torch.ones(3)}, "optimizer": torch.ones(5000)}, path)
    data = bytearray(path.read_bytes())
    at = data.index(torch.ones(5000).numpy().tobytes()[:400])
    data[at + 100] ^= 255
    path.write_bytes(data)
    with TorchFile(path) as checkpoint:
        assert checkpoint.read(checkpoint.content["model"]["w"]).tolist() == [1, 1, 1]
        with pytest.raises(ReadError, match="damaged member"):
            checkpoint.read(checkpoint.content["optimizer"])


def test_a_file_packed_again_by_a_zip_program_reads_alike(tmp_path):
    torch.save({"w": torch.arange(100)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as old,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with TorchFile(tmp_path / "b.pth") as checkpoint:
        assert checkpoint.read(checkpoint.content["w"]).tolist() == list(range(100))
        assert list(dict(checkpoint.entries())) == ["w"]


def test_big_endian_machines_write_other_bytes(tmp_path):
    torch.save({"w": torch.arange(3.0)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as old,
        zipfile.ZipFile(tmp_path / "b.pth", "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            data = b"big" if name.endswith("byteorder") else data
            new.writestr(
                name,
                np.frombuffer(data, "<f4").astype(">f4").tobytes()
                if name.endswith("data/0")
                else data,
            )
    with TorchFile(tmp_path / "b.pth") as checkpoint:
        assert checkpoint.read(checkpoint.content["w"]).tolist() == [0, 1, 2]


READ_ENTRIES = """
import sys, tracemalloc
from pathlib import Path
from flame_assets.inert.checkpoints import TorchFile

tracemalloc.start()
with TorchFile(Path(sys.argv[1])) as checkpoint:
    for index, (key, ((box, points, score),)) in enumerate(checkpoint.entries()):
        assert key == 7 * index and box.tolist() == [key, 1.0, 2.0, 3.0]
        assert points.shape == (5, 2) and score == 0.5
assert "torch" not in sys.modules
print(index + 1, tracemalloc.get_traced_memory()[1])
"""


def test_a_long_dictionary_is_read_in_no_more_memory_than_a_short_one(tmp_path):
    """LAION's detections: {id: [(box, points, score), ...]}, gigabytes of them."""
    peaks = []
    for count in (1_000, 1_600):
        table = {
            7 * i: [(np.array([7 * i, 1.0, 2.0, 3.0]), np.ones((5, 2), "f4"), np.float32(0.5))]
            for i in range(count)
        }
        torch.save(table, tmp_path / "a.pth")
        command = [sys.executable, "-c", READ_ENTRIES, str(tmp_path / "a.pth")]
        entries, peak = map(int, subprocess.check_output(command, text=True).split())
        assert entries == count
        peaks.append(peak)
    assert peaks[1] < 1.2 * peaks[0]


def saved(tmp_path, content, **changes):
    """A checkpoint with members exchanged: name behind the root -> bytes, None to leave out."""
    torch.save(content, tmp_path / "old.pth")
    with (
        zipfile.ZipFile(tmp_path / "old.pth") as old,
        zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        members = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
        for name, data in (members | changes).items():
            if data is not None:
                new.writestr(f"old/{name}", data)
    return tmp_path / "a.pth"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data/0": None}, "lacks the member old/data/0"),
        ({"data/0": b"123"}, "3 bytes for a tensor of 3 float32"),
        ({"data.pkl": None}, "lacks data.pkl"),
        ({"data.pkl": b""}, "readable"),
        ({"constants.pkl": b""}, "TorchScript"),
        ({"data.pkl": pickle.dumps(1)[:-1]}, "readable"),
    ],
)
def test_damaged_zip_checkpoints_are_one_line(tmp_path, changes, words):
    path = saved(tmp_path, {"w": torch.ones(3)}, **changes)
    with pytest.raises(ReadError, match=words), TorchFile(path) as checkpoint:
        checkpoint.read(checkpoint.content["w"])


def test_a_bomb_is_refused_before_its_bytes_come(tmp_path):
    torch.save({"w": torch.zeros(3)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        pickled = archive.read("a/data.pkl")
    count = 300 << 20
    large = b"J" + count.to_bytes(4, "little")
    pickled = pickled.replace(b"K\x03t", large + b"t").replace(b"K\x03\x85", large + b"\x85")
    with TorchFile(saved(tmp_path, {"w": torch.zeros(3)}, **{"data.pkl": pickled})) as checkpoint:
        tensor = checkpoint.content["w"]
        assert tensor.shape == (count,)  # a caller that knows its shapes asks no further
        with pytest.raises(ReadError, match="tensors of 1200 MiB"):
            checkpoint.read(tensor)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<html><body>", "web page"),
        (b"no weights here", "text file, no PyTorch"),
        (pickle.dumps({"a": 1}), "plain pickle, no PyTorch"),
        (b"PK\x03\x04" + bytes(60), "no readable zip"),
        (b"\0" * 100, "is no PyTorch checkpoint"),
        (bytes.fromhex("80028a0a6cfc9c46f9206aa850192e"), "readable"),
    ],
)
def test_other_files_are_told_what_they_are(tmp_path, data, words):
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=words) as caught, TorchFile(path) as checkpoint:
        _ = checkpoint.content
    assert str(caught.value).startswith(f"{path} ")


def legacy(tmp_path, change):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d[:-4], "is cut"),
        (lambda d: d[:-40], "is cut|readable"),
        (lambda d: d.replace(b"K\x03\x85", b"K\x04\x85"), "beyond its data"),
        (lambda d: d.replace(b"storage", b"stirage"), "in a way that PyTorch does not"),
    ],
)
def test_damaged_older_checkpoints_are_one_line(tmp_path, change, words):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(change(path.read_bytes()))
    with TorchFile(path) as checkpoint, pytest.raises(ReadError, match=words):
        checkpoint.read(checkpoint.content["w"])


def test_tensors_of_odd_types_are_skipped(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.ones(3), "n": 1}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"FloatStorage", b"QInt8Storage"))
    with TorchFile(path) as checkpoint:
        assert checkpoint.content["w"].name == "torch.QInt8Storage"
        assert checkpoint.content["n"] == 1
