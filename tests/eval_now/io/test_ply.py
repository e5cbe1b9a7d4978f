# ruff: noqa: PT017 - properties either read or refuse
"""The PLY reader: every layout of the same mesh, what is wrong with bad files, any bytes at all."""

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_now.errors import UserError
from eval_now.io.budgets import MAX_COORDINATE
from eval_now.io.mesh_writers import obj_bytes, ply_bytes
from eval_now.io.meshes import load_mesh
from eval_now.io.ply.reader import read_ply

FILE = Path("folder/file")
XYZ = "property float x\nproperty float y\nproperty float z\n"
FACE = "property list uchar int vertex_indices\n"
ASCII = (
    f"ply\nformat ascii 1.0\nelement vertex 3\n{XYZ}element face 1\n{FACE}end_header\n"
    "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
)
BINARY = (
    ASCII.split("0 0 0")[0].replace("ascii", "binary_little_endian").encode()
    + struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    + struct.pack("<Biii", 3, 0, 1, 2)
)
TRIANGLE = ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])


def test_a_comment_cannot_end_its_line(tmp_path):
    box = trimesh.creation.box()
    arrays = np.array(box.vertices), np.array(box.faces)
    comment = "licence\nv 9 9 9\rend_header\x85\udcff"
    (tmp_path / "a.ply").write_bytes(ply_bytes(*arrays, comments=[comment]))
    (tmp_path / "a.obj").write_bytes(obj_bytes(*arrays, comments=[comment]))
    for name in ("a.ply", "a.obj"):
        np.testing.assert_array_equal(load_mesh(tmp_path / name).vertices, arrays[0])


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_files_of_trimesh_read_back(tmp_path, encoding):
    source = trimesh.creation.icosphere(2)
    source.visual.vertex_colors = [200, 100, 50, 255]
    source.export(tmp_path / "a.ply", encoding=encoding)
    mesh = load_mesh(tmp_path / "a.ply")
    np.testing.assert_allclose(mesh.vertices, source.vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.triangles, source.faces)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("end_header\n", "end_header \t \n"),
        lambda t: t.replace("end_header\n", "end_header\n\n\n"),
        lambda t: t.replace("1 0 0\n", "\n1\n0\n\n0\n"),
        lambda t: t.replace("0 0 0\n1 0 0\n", "0 0 0 1 0 0 "),
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("\n", "\r"),
        lambda t: t.replace("ply\n", "ply\ncomment end_header is not here\nobj_info x\n"),
        lambda t: t.replace("ply\n", "ply\n" + "comment long\n" * 40_000),
        lambda t: t.replace("vertex_indices", "vertex_index"),
        lambda t: t.replace("1 0 0", "1.0e0 -0 +0."),
        lambda t: t + "anything that follows\n",
        lambda t: t.replace("end_header", "element user 2\nproperty float a\nend_header"),
    ],
)
def test_layouts_of_ascii_files(change):
    mesh = read_ply(FILE, change(ASCII).encode())
    assert (mesh.vertices.tolist(), mesh.triangles.tolist()) == TRIANGLE


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.replace(b"end_header\n", b"end_header  \n"),
        lambda d: d.replace(b"end_header\n", b"end_header\r\n"),
        lambda d: (
            d[: d.find(b"end_header")].replace(b"\n", b"\r\n")
            + d[d.find(b"end_header") :].replace(b"end_header\n", b"end_header\r\n")
        ),
        lambda d: (
            d[: d.find(b"end_header")].replace(b"\n", b"\r")
            + d[d.find(b"end_header") :].replace(b"end_header\n", b"end_header\r")
        ),
        lambda d: d + b"\0\0\0",
    ],
)
def test_line_ends_of_binary_headers(change):
    mesh = read_ply(FILE, change(BINARY))
    assert (mesh.vertices.tolist(), mesh.triangles.tolist()) == TRIANGLE


POLYGONS = {
    "triangles": [[0, 1, 2], [2, 1, 3]],
    "quads": [[0, 1, 2, 3], [3, 2, 1, 0]],
    "mixed": [[0, 1, 2], [0, 1, 2, 3], [3, 2, 1], [0, 1, 3, 2, 1]],
    "none": [],
}


@pytest.mark.parametrize("order", ["<", ">", ""])
@pytest.mark.parametrize("polygons", POLYGONS.values(), ids=POLYGONS)
@pytest.mark.parametrize(
    ("length", "index"), [("uchar", "int"), ("ushort", "uchar"), ("int", "short")]
)
@pytest.mark.parametrize("extra", [False, True])
def test_polygons_of_every_layout(order, polygons, length, index, extra):
    """Flags before the corners, texture coordinates behind them, elements of others before both."""
    codes = {"char": "b", "uchar": "B", "ushort": "H", "short": "h", "int": "i"}
    codes |= {"float": "f", "double": "d"}
    vertices = [[0, 0, 0], [1.5, 0, 0], [0, -2.5, 0], [0, 0, 3]]
    elements = ["element vertex 4", "property double x", "property uchar red"]
    elements += ["property double y", "property double z", f"element face {len(polygons)}"]
    faces = [f"property list {length} {index} vertex_indices"]
    values: list[tuple[str, float]] = []
    if extra:
        elements = ["element camera 2", "property list uchar float a", "property char b", *elements]
        faces = ["property uchar flags", "property float area", *faces]
        faces += ["property short patch", "property list uchar float texcoord"]
        values += [("uchar", 2), ("float", 1.5), ("float", 2.5), ("char", -1)]
        values += [("uchar", 0), ("char", 1)]
    for x, y, z in vertices:
        values += [("double", x), ("uchar", 9), ("double", y), ("double", z)]
    for row, polygon in enumerate(polygons):
        values += [("uchar", 7), ("float", 0.25)] if extra else []
        values += [(length, len(polygon)), *((index, corner) for corner in polygon)]
        if extra:
            values += [("short", -3), ("uchar", row % 2), *[("float", 0.5)] * (row % 2)]
    format_ = {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}[order]
    header = ["ply", f"format {format_} 1.0", *elements, *faces, "end_header", ""]
    body = b"".join(
        struct.pack(order + codes[kind], value) if order else f"{value} ".encode()
        for kind, value in values
    )
    mesh = read_ply(FILE, "\n".join(header).encode() + body)
    assert mesh.vertices.tolist() == vertices
    fans = [[p[0], b, c] for p in polygons for b, c in itertools.pairwise(p[1:])]
    assert mesh.triangles.tolist() == fans


def test_many_polygons_of_mixed_size():
    """More than the reader takes at once, against a plain loop."""
    random = np.random.default_rng(0)
    sizes = random.integers(3, 40, 55_000).tolist()
    corners = iter(random.integers(0, 99, sum(sizes)).tolist())
    polygons = [tuple(itertools.islice(corners, size)) for size in sizes]
    header = f"ply\nformat binary_big_endian 1.0\nelement vertex 99\n{XYZ}"
    header += f"element face {len(polygons)}\n{FACE}end_header\n"
    rows = {size: struct.Struct(f">B{size}i") for size in range(3, 40)}
    body = b"".join(rows[len(p)].pack(len(p), *p) for p in polygons)
    mesh = read_ply(FILE, header.encode() + bytes(12 * 99) + body)
    fans = [(p[0], b, c) for p in polygons for b, c in itertools.pairwise(p[1:])]
    np.testing.assert_array_equal(mesh.triangles, fans)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1 0 0", "1 0 nan", "vertex 1 is not finite and below 1e+09"),
        ("1 0 0", "1 0 1e30", "vertex 1 is not finite and below 1e+09"),
        ("1 0 0", "1 0", "face 0 has 0 corners"),
        ("1 0 0", "1 0 zero", "line 11: expected a number, found 'zero'"),
        ("1 0 0", "1 0_0 0", "line 11: expected a number, found '0_0'"),
        ("3 0 1 2\n", "", "the file ends before its last face"),
        ("3 0 1 2", "3 0 1 3", "names vertex 3, the file has 3"),
        ("3 0 1 2", "3 0 1 -1", "names vertex -1, the file has 3"),
        ("3 0 1 2", "3 0 1 1e300", "names vertex 1e+300"),
        ("3 0 1 2", "3 0 1 1.5", "names vertex 1.5"),
        ("3 0 1 2", "3 0 1 nan", "names vertex nan"),
        ("3 0 1 2", "2 0 1", "face 0 has 2 corners"),
        ("3 0 1 2", "0", "face 0 has 0 corners"),
        ("3 0 1 2", "-1 0 1 2", "the file ends before its last face"),
        ("3 0 1 2", "1e300 0 1 2", "the file ends before its last face"),
        ("property float y\n", "", "needs the properties x, y and z"),
        ("property float y\n", "property list uchar float y\n", "holds lists, expected numbers"),
        ("property float y\n", "property float x\n", "names a property twice"),
        ("format ascii 1.0", "format gzip 1.0", "line 2: not understood"),
        ("format ascii 1.0\n", "", "has no 'format' line"),
        ("element vertex 3", "element vertex three", "line 3: not understood"),
        ("element vertex 3", "element vertex -3", "line 3: not understood"),
        ("element vertex 3", "element vertex " + "9" * 5000, "line 3: not understood"),
        ("element vertex 3", "element vertex 5000001", "expected at most 5000000 of 'vertex'"),
        ("element face 1", "element face 10000001", "expected at most 10000000 of 'face'"),
        ("element vertex 3", "element points 3", "names no element 'vertex'"),
        ("element face 1", "element vertex 1", "names an element twice"),
        ("list uchar int", "list float int", "line 8: not understood"),
        ("ply\n", "", "line 1: expected a PLY header"),
        ("ply\n", "plywood\n", "line 1: expected a PLY header"),
        ("end_header\n", "", "line 1: expected a PLY header"),
        ("ply\n", "ply\n" + "comment\n" * 200_000, "line 1: expected a PLY header"),
        ("end_header", "property char a\n" * 9999 + "end_header", "at most 1000 properties"),
        ("element vertex", "element a 999999999999\nproperty char a\nelement vertex", "last a"),
        ("end_header", f"element a 5000000\n{FACE}" * 2 + "end_header", "at most 10000000 lists"),
    ],
)
def test_bad_files_name_the_place(old, new, message):
    with pytest.raises(UserError) as caught:
        read_ply(FILE, ASCII.replace(old, new, 1).encode())
    assert message in str(caught.value)
    assert "folder/file" in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_a_signalling_nan_is_refused_without_a_warning():
    data = bytearray(BINARY)
    start = data.index(b"end_header\n") + len(b"end_header\n")
    data[start : start + 4] = struct.pack("<I", 0x7F800001)
    with pytest.raises(UserError, match="vertex 0 is not finite"):
        read_ply(FILE, bytes(data))


def test_a_list_longer_than_the_file_is_refused_before_memory_is_taken():
    for length, message in ((2**32 - 1, "the file ends before"), (20_000_000, "at most 10000000")):
        header = BINARY.split(b"element face")[0]
        header += b"element face 1\nproperty list uint uchar vertex_indices\nend_header\n"
        present = min(length, 20_000_000)
        data = header + bytes(36) + struct.pack("<I", length) + bytes(present)
        with pytest.raises(UserError, match=message):
            read_ply(FILE, data)


def test_empty_lists_are_refused_where_they_are_met():
    header = BINARY.split(b"element face")[0] + b"element face 9000000\n" + FACE.encode()
    with pytest.raises(UserError, match="face 0 has 0 corners"):
        read_ply(FILE, header + b"end_header\n" + bytes(36 + 9_000_000))
    with pytest.raises(UserError, match="face 1 has 1 corners"):
        read_ply(FILE, header + b"end_header\n" + bytes(36) + b"\3" + bytes(12) + b"\1" * 9_000_000)


def read_or_refuse(data: bytes) -> None:
    try:
        mesh = read_ply(FILE, data)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        vertices, triangles = mesh
        assert (np.abs(vertices) < MAX_COORDINATE).all()
        assert triangles.size == 0 or (triangles.min() >= 0 and triangles.max() < len(vertices))


DAMAGE = (st.integers(0, 400), st.integers(0, 255), st.integers(0, 400), st.booleans())


def damage(place: int, value: int, length: int, binary: bool) -> bytes:
    data = bytearray((BINARY if binary else ASCII.encode())[: max(length, 1)])
    data[place % len(data)] = value
    return bytes(data)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(*DAMAGE)
def test_damaged_files_are_read_or_refused(place, value, length, binary):
    read_or_refuse(damage(place, value, length, binary))


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, derandomize=True)
@given(*DAMAGE)
def test_damaged_files_are_read_or_refused_at_length(place, value, length, binary):
    read_or_refuse(damage(place, value, length, binary))


@pytest.mark.slow
def test_mutated_headers_are_read_or_refused():
    """10,000 files whose header words are exchanged for other words of a PLY header."""
    random = np.random.default_rng(0)
    words = (
        "element property list uchar int uint float double vertex face x y z vertex_indices 0 3 "
    )
    words = (words + "999999999 ascii binary_big_endian format end_header comment -1").split()
    for index in range(10_000):
        head, body = (ASCII.encode() if index % 2 else BINARY).split(b"end_header\n")
        parts = head.decode().replace("\n", " \n ").split(" ")
        for place in random.integers(len(parts), size=random.integers(1, 4)):
            parts[place] = str(random.choice(words))
        read_or_refuse(" ".join(parts).encode() + b"end_header\n" + body)
