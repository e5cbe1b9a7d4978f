"""The reader of .mat files against SciPy's on honest files, and on damaged and hostile ones."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from helpers.mutations import damaged_bytes

from flame_assets.inert.files import ReadError
from flame_assets.inert.mat import MatCell, read_mat


def equal(ours, scipys):
    """Whether a value is what SciPy's reader makes of it."""
    if isinstance(ours, MatCell):
        assert scipys.dtype == object
        assert scipys.shape == ours.shape
        pairs = zip(ours.values, scipys.ravel(order="F"), strict=True)
        return all(equal(*pair) for pair in pairs)
    if isinstance(ours, tuple):
        return [row.rstrip() for row in ours] == [row.rstrip() for row in scipys.tolist()]
    assert ours.dtype.newbyteorder("=") == scipys.dtype.newbyteorder("=")
    return ours.shape == scipys.shape and np.array_equal(ours, scipys, equal_nan=True)


def variables(rng):
    cell = np.empty((3, 2), object)
    cell[:] = [["a/b.jpg", "Ärger"], [rng.normal(size=(2, 3)), "x"], [np.zeros((0, 4)), "long" * 9]]
    nested = np.empty((1, 2), object)
    nested[0, 0], nested[0, 1] = cell, np.arange(4, dtype=np.int16)
    types = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
    numbers = {f"n_{code}": rng.integers(0, 99, (3, 4, 2)).astype(code) for code in types}
    return numbers | {
        "matrix": rng.normal(size=(5, 7)),
        "scalar": 3.5,
        "truth": np.array([[True, False]]),
        "word": "frontal",
        "rows": np.array(["one  ", "three"]),
        "cell": cell,
        "nested": nested,
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_agrees_with_scipy(tmp_path, compressed):
    written = variables(np.random.default_rng(0))
    passed_over = {"struct": {"a": 1}, "sparse": scipy.sparse.eye(3).tocsc(), "complex": 1j}
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, written | passed_over, do_compression=compressed)
    ours, scipys = read_mat(path, written), scipy.io.loadmat(path)
    assert ours.keys() == written.keys()
    for name, value in ours.items():
        assert equal(value, scipys[name]), name


def element(order, kind, data):
    return struct.pack(f"{order}2I", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(order, kind, shape, name, values):
    flags = element(order, 6, struct.pack(f"{order}2I", kind, 0))
    sizes = element(order, 5, struct.pack(f"{order}{len(shape)}i", *shape))
    return element(order, 14, flags + sizes + element(order, 1, name) + values)


def mat_file(*elements, order="<"):
    mark = b"IM" if order == "<" else b"MI"
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x100) + mark
    return head + b"".join(elements)


def packed(data):
    deflated = zlib.compress(data)
    return struct.pack("<2I", 15, len(deflated)) + deflated


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders(tmp_path, order):
    numbers = np.arange(6.0).reshape(2, 3)
    small = struct.pack(f"{order}I", 2 << 16 | 2) + b"ok\0\0"  # a small element: two UINT8 in eight
    data = mat_file(
        matrix(order, 6, (2, 3), b"x", element(order, 9, numbers.T.astype(f"{order}f8").tobytes())),
        matrix(order, 4, (1, 2), b"word", small if order == "<" else element(order, 2, b"ok")),
        order=order,
    )
    (tmp_path / "a.mat").write_bytes(data)
    found = read_mat(tmp_path / "a.mat", ("x", "word"))
    np.testing.assert_array_equal(found["x"], numbers)
    assert found["word"] == ("ok",) == tuple(scipy.io.loadmat(tmp_path / "a.mat")["word"])


DOUBLE = element("<", 9, bytes(8))
HUGE = struct.pack("<2I", 9, 0xFFFFFFF8)
DEEP = matrix("<", 6, (1, 1), b"", DOUBLE)
for _ in range(40):
    DEEP = matrix("<", 1, (1, 1), b"x", DEEP)
EMPTY = struct.pack("<2I", 14, 0) * 100_001
ONE = matrix("<", 6, (1, 1), b"x", DOUBLE)
BOMB = struct.pack("<2I", 14, 300 << 20) + ONE[8:]
HOSTILE = {
    "version 7.3": (b"MATLAB 7.3 MAT-file, HDF5 schema 1.00".ljust(600), "save it .* with -v7"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n".ljust(200), "Git LFS"),
    "no bytes": (b"", "is empty"),
    "more than there is": (mat_file(matrix("<", 6, (1, 1), b"x", HUGE)), "damaged"),
    "a large shape": (mat_file(matrix("<", 6, (2**30, 2**30), b"x", DOUBLE)), "cut or damaged"),
    "negative shape": (mat_file(matrix("<", 6, (-1, 1), b"x", DOUBLE)), "damaged"),
    "empty rows": (mat_file(matrix("<", 4, (2**30, 0), b"x", element("<", 2, b""))), "damaged"),
    "empty cells": (mat_file(matrix("<", 1, (2**30, 2), b"x", b"")), "damaged"),
    "deep cells": (mat_file(DEEP), "cells within cells"),
    "a structure": (mat_file(matrix("<", 2, (1, 1), b"x", DOUBLE)), "has a structure in x"),
    "a bomb": (mat_file(packed(BOMB)), "more than 256 MiB"),
    "cut compression": (mat_file(packed(ONE)[:-6]), "damaged"),
    "many variables": (mat_file(ONE * 10_001), "10000 variables"),
    "many cells": (mat_file(matrix("<", 1, (1, 100_001), b"x", EMPTY)), "arrays in cells"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_one_line(tmp_path, kind):
    data, message = HOSTILE[kind]
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(ReadError, match=message):
        read_mat(tmp_path / "a.mat", ("x",))


def test_unwanted_variables_are_not_unpacked(tmp_path):
    """A bomb under another name costs nothing; neither does an object of MATLAB's classes."""
    bomb = packed(struct.pack("<2I", 14, 1 << 31) + matrix("<", 6, (1, 1), b"y", DOUBLE)[8:])
    flags, name = element("<", 6, struct.pack("<2I", 17, 0)), element("<", 1, b"table")
    opaque = element("<", 14, flags + name + element("<", 1, b"MCOS"))
    (tmp_path / "a.mat").write_bytes(
        mat_file(bomb, opaque, matrix("<", 6, (1, 1), b"x", element("<", 9, struct.pack("<d", 2))))
    )
    assert read_mat(tmp_path / "a.mat", ("x",))["x"] == 2


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_are_read_or_refused(tmp_path, compressed):
    """400 variants: the answer is a value or one line."""
    written = variables(np.random.default_rng(1))
    stream = io.BytesIO()
    scipy.io.savemat(stream, written, do_compression=compressed)
    lines = []
    for data in damaged_bytes(stream.getvalue(), 5, 400):
        (tmp_path / "a.mat").write_bytes(data)
        try:
            read_mat(tmp_path / "a.mat", written)
        except ReadError as error:
            lines.append(str(error))
    assert 80 < len(lines) < 400
    assert all("\n" not in line and len(line) <= 500 for line in lines)
