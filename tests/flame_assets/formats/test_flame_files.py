"""Files that are damaged, hostile or only odd: FLAME's converter takes them or says one line."""

import os
import pathlib
import pickle
import random
import re
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import scipy.sparse
import torch
from helpers.flame_tiny import SMALL_V, small_embedding, small_model

from flame_assets.errors import UserError
from flame_assets.formats.flame import convert_flame
from flame_assets.formats.flame_files import read_landmarks, read_masks
from flame_assets.model.head import array_fields


class Hostile:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.fixture
def folder(tmp_path):
    """A folder with landmarks; models are written into it."""
    np.save(tmp_path / "landmark_embedding.npy", np.array(small_embedding(), dtype=object))
    return tmp_path


def write(folder, content, protocol=2):
    path = folder / "generic_model.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@pytest.fixture(scope="module")
def plain_head(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    np.save(folder / "landmark_embedding.npy", np.array(small_embedding(), dtype=object))
    return convert_flame(write(folder, small_model()))


def assert_same_arrays(one, other):
    for name in array_fields(type(one)):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def with_regressor(kind):
    return small_model() | {"J_regressor": kind(small_model()["J_regressor"])}


@pytest.mark.parametrize(
    "content",
    [
        with_regressor(scipy.sparse.csr_matrix),
        with_regressor(scipy.sparse.coo_matrix),
        with_regressor(lambda matrix: matrix.toarray()),
        with_regressor(lambda matrix: matrix.toarray().tolist()),
        small_model() | {"made_from": pathlib.PurePosixPath("/x"), "by": slice(3), "n": np.int8(1)},
        {key.encode(): value for key, value in small_model().items()},
    ],
    ids=["csr", "coo", "dense", "lists", "a path", "bytes as keys"],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_harmless_files_convert(folder, plain_head, content, protocol):
    assert_same_arrays(convert_flame(write(folder, content, protocol)), plain_head)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            pickle.dumps(small_model(), 0).replace(b"\n", b"\r\n"),
            "its line ends were changed in transfer; copy it in binary mode",
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>sign in", "web page"),
        (b"", "is empty"),
        (pickle.dumps([1, 2]), "holds a list where named arrays should be"),
        (pickle.dumps(small_model() | {"bs_type": Hostile(os.system, "touch was_run")}), "hostile"),
        (small_model() | {"f": small_model()["f"].astype(np.int64) - (1 << 40)}, "from 0 on"),
        (small_model() | {"f": small_model()["f"] + (1 << 31)}, "from 0 on"),
        (small_model() | {"f": small_model()["f"] + SMALL_V}, "ids in 0..59"),
        (small_model() | {"f": small_model()["f"].astype(float)}, "no whole numbers"),
        (small_model() | {"weights": np.full((SMALL_V, 5), np.nan)}, "NaN or infinity"),
        (small_model() | {"shapedirs": np.full((SMALL_V, 3, 400), 1e300)}, "too large"),
        (small_model() | {"v_template": np.zeros((SMALL_V, 3), complex)}, "complex128 where real"),
        (small_model() | {"v_template": np.zeros((0, 3))}, "does not fit"),
        (small_model() | {"v_template": "text"}, r"holds a str .* \(v_template\)"),
        (small_model() | {"v_template": Hostile(np.ndarray, (9,), "O")}, r"numpy\.ndarray"),
        (small_model() | {"kintree_table": np.zeros((2, 300_000))}, "kintree_table of"),
        (small_model() | {"kintree_table": np.zeros(5)}, "kintree_table of"),
        (small_model() | {"kintree_table": np.arange(10).reshape(2, 5)}, "with the parents"),
        (small_model() | {"shapedirs": np.zeros((SMALL_V, 3, 300))}, "300 \\+ 100 modes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_without_noise(folder, content, words, capfd, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=words) as caught:
        convert_flame(write(folder, content))
    assert "generic_model.pkl" in str(caught.value)
    assert len(str(caught.value)) <= 500
    assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")
    assert not (folder / "was_run").exists()


# ---------------------------------------------------------------- landmark files


def rows(array):
    return [list(row) for row in np.asarray(array)]


@pytest.mark.parametrize("kind", ["npy", "npz", "pkl", "rows.npy", "rows.pkl", "arrays.pkl"])
def test_landmarks_come_in_every_form(folder, kind):
    want = read_landmarks(folder / "landmark_embedding.npy")
    plain = {key: np.asarray(value) for key, value in small_embedding().items()}
    lists = {key: rows(value) if value.ndim > 1 else list(value) for key, value in plain.items()}
    content = {"rows": lists, "arrays": {k: list(v) for k, v in plain.items()}}.get(
        kind.partition(".")[0], plain
    )
    path = folder / f"landmarks.{kind}"
    if kind == "npz":
        np.savez(path, **plain)
    elif kind.endswith("npy"):
        np.save(path, np.array(content, dtype=object))
    else:
        path.write_bytes(pickle.dumps(content, 2))
    got = read_landmarks(path)
    for key, array in want.items():
        np.testing.assert_array_equal(got[key], array)


class EvilTensor:
    def __reduce__(self):
        payload = pickle.dumps(Hostile(os.system, "touch was_run"))
        storage = Hostile(torch.storage._load_from_bytes, payload)
        return torch._utils._rebuild_tensor_v2, (storage, 0, (79, 17), (17, 1), False, {})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (EvilTensor(), "malformed tensor"),
        (Hostile(os.system, "touch was_run"), "system"),
        (np.zeros((3, 17), np.int64), r"expected dynamic_lmk_faces_idx of \(79, 17\)"),
        ("text", "should be"),
        ([[1, 2], [3]], "different lengths"),
    ],
)
def test_landmarks_that_do_not_fit_are_one_line(tmp_path, monkeypatch, value, words):
    monkeypatch.chdir(tmp_path)
    marks = small_embedding() | {"dynamic_lmk_faces_idx": value}
    np.save(tmp_path / "landmark_embedding.npy", np.array(marks, dtype=object))
    with pytest.raises(UserError, match=words):
        read_landmarks(tmp_path / "landmark_embedding.npy")
    assert not (tmp_path / "was_run").exists()


def test_a_transposed_tensor_is_read_in_its_own_order(tmp_path):
    table = torch.arange(79 * 17).reshape(17, 79).T
    marks = small_embedding() | {"dynamic_lmk_faces_idx": table}
    np.save(tmp_path / "marks.npy", np.array(marks, dtype=object))
    got = read_landmarks(tmp_path / "marks.npy")["dynamic_lmk_faces_idx"]
    np.testing.assert_array_equal(got, table.numpy())


def test_a_header_that_is_no_python_is_one_line(folder):
    data = bytearray((folder / "landmark_embedding.npy").read_bytes())
    data[data.index(b"descr") - 1] = ord("(")
    (folder / "landmark_embedding.npy").write_bytes(data)
    with pytest.raises(UserError, match="header that NumPy does not write"):
        read_landmarks(folder / "landmark_embedding.npy")
    np.savez(folder / "few.npz", static_lmk_faces_idx=np.arange(51))
    with pytest.raises(UserError, match=r"few\.npz lacks static_lmk_bary_coords, dynamic"):
        read_landmarks(folder / "few.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"Left Eye": np.arange(3)}, "names a region 'Left Eye'"),
        ({"lips": np.array([-1])}, "from 0 on"),
        ({"lips": np.array([0.5])}, "no whole numbers"),
        ({"lips": "all"}, "holds a str"),
        (["lips"], "holds a list"),
    ],
)
def test_masks_that_do_not_fit_are_one_line(folder, content, words):
    with pytest.raises(UserError, match=words):
        read_masks(write(folder, content))


def test_masks_for_another_mesh_are_one_line(folder):
    (folder / "masks.pkl").write_bytes(pickle.dumps({"lips": np.array([SMALL_V])}))
    with pytest.raises(UserError, match="no FLAME model: it does not fit: "):
        convert_flame(write(folder, small_model()), masks=folder / "masks.pkl")


# ---------------------------------------------------------------- archives


def test_bad_archives_are_refused(tmp_path):
    path = tmp_path / "FLAME2020.zip"
    path.write_bytes(b"PK not really")
    with pytest.raises(UserError, match="no readable zip"):
        convert_flame(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../etc/passwd", "x")
    with pytest.raises(UserError, match=r"holds none of flame2023_open\.pkl"):
        convert_flame(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("generic_model.pkl", bytes(1000))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # the uncompressed size in the central directory
    data[at : at + 4] = struct.pack("<I", 0xFFFFFF00)
    path.write_bytes(data)
    with pytest.raises(UserError, match="generic_model.pkl of 4095 MiB"):
        convert_flame(path)


def test_members_that_no_model_needs_are_not_unpacked(folder, plain_head):
    model = {key: value for key, value in small_model().items() if not isinstance(value, str)}
    model["J_regressor"] = model["J_regressor"].toarray()
    np.savez_compressed(folder / "model.npz", **model)
    with zipfile.ZipFile(folder / "model.npz", "a") as archive:
        archive.writestr("extra.npy", b"damaged")
        archive.writestr("notes.txt", "-")
    assert_same_arrays(convert_flame(folder / "model.npz"), plain_head)


def mutated(rng, data):
    """`data` with some bytes changed, cut out or doubled, or without its end."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at, size = rng.randrange(len(data)), rng.randint(1, 6)
        kind = rng.randrange(6)
        if kind == 0:
            del data[at : at + size]
        elif kind == 1:
            data[at:at] = data[at : at + size]
        elif kind == 2 and rng.random() < 0.3:
            del data[at:]
        else:
            data[at : at + size] = rng.choice([rng.randbytes(size), b"\xff" * size, bytes(size)])
        data = data or bytearray(b"\x80")
    return bytes(data)


def near_the_structure(rng, data):
    """`data` damaged where it holds no numbers of arrays: around the names in it."""
    names = [at.start() for at in re.finditer(rb"[a-z_]{4,}|PK|NUMPY", data)]
    at = max(rng.choice(names) - 40, 0)
    return data[:at] + mutated(rng, data[at : at + 120]) + data[at + 120 :]


def convert_mutations(folder, count):
    """How many of `count` damaged sets of files are refused; the others convert."""
    rng = random.Random(11)
    np.savez(folder / "model.npz", **{k: v for k, v in small_model().items() if k != "bs_type"})
    masks = {"lips": np.arange(5), "face": np.arange(SMALL_V)}
    honest = {
        "generic_model.pkl": pickle.dumps(small_model(), 2),
        "model.npz": (folder / "model.npz").read_bytes(),
        "landmark_embedding.npy": (folder / "landmark_embedding.npy").read_bytes(),
        "masks.pkl": pickle.dumps(masks, 4),
    }
    refused = 0
    for index in range(count):
        for name, data in honest.items():
            (folder / name).write_bytes(data)
        name = list(honest)[index % len(honest)]
        (folder / name).write_bytes(near_the_structure(rng, honest[name]))
        model = folder / ("model.npz" if name == "model.npz" else "generic_model.pkl")
        try:
            convert_flame(model, masks=folder / "masks.pkl")
        except UserError as error:
            refused += str(error).isprintable() and len(str(error)) <= 500
    return refused


@pytest.mark.usefixtures("unhooked")
def test_damaged_files_convert_or_are_one_line(folder):
    assert convert_mutations(folder, 40) > 5


@pytest.mark.slow
@pytest.mark.usefixtures("unhooked")
def test_many_damaged_files_convert_or_are_one_line(folder):
    refused = convert_mutations(folder, 6000)
    print(f"{refused} of 6000 damaged sets of files refused, the others convert")
    assert 2500 < refused < 6000


MEASURED = """
import resource, sys
from pathlib import Path
from flame_assets.errors import UserError
from flame_assets.formats.flame import convert_flame
try:
    convert_flame(Path(sys.argv[1]))
except UserError as error:
    print(error)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_bombs_are_refused_in_little_memory(folder):
    """Seven members that unpack to 160 MiB each, and a pickle of a million lists in a list."""
    zeros = np.zeros((20 << 20,), np.int64)
    np.savez_compressed(folder / "bomb.npz", **dict.fromkeys(small_model(), zeros))
    (folder / "lists.pkl").write_bytes(b"\x80\x02]" + b"]a" * 990_000 + b".")
    (folder / "memo.pkl").write_bytes(b"\x80\x04" + b"]\x940" * 640_000 + b"].")
    for name in ("bomb.npz", "lists.pkl", "memo.pkl"):
        start = time.process_time()
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(folder / name)],
            capture_output=True,
            text=True,
            check=True,
        )
        line, peak_mib = done.stdout.splitlines()
        print(f"{name}: {peak_mib} MiB, {time.process_time() - start:.1f} s: {line}")
        assert done.stderr == ""
        assert name in line
        assert int(peak_mib) < 1500
