# ruff: noqa: E501 PT017 - files under test hold long lines; properties either read or refuse
"""Meshes of eval_now: right on good OBJ and PLY files, one line naming the place on bad ones."""

import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.landmarks import load_landmarks
from eval_now.io.meshes import load_mesh, load_vertices, save_obj, save_ply
from eval_now.io.obj import _read_carefully, read_obj
from eval_now.io.ply import read_ply

TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1.25, 0, 0], [0, -2.5, 0], [0, 0, 3e-3]]),
    np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]),
)
FILE = Path("folder/file")
fast = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def obj(text: str, with_faces: bool = True) -> Mesh:
    return Mesh(*read_obj(FILE, text.encode("latin-1"), with_faces))


# --- OBJ ------------------------------------------------------------------------------------------


def test_obj_of_many_dialects_reads_the_same():
    plain = obj(
        "v 0 0 0\nv 1.25 0 0\nv 0 -2.5 0\nv 0 0 0.003\nf 1 2 3\nf 1 4 2\nf 2 4 3\nf 3 4 1\n"
    )
    dialects = [
        "# made by hand\r\nmtllib a.mtl\r\no head\r\nv 0 0 0\r\nv 1.25 0 0\r\nv 0 -2.5 0\r\nv 0 0 3e-3\r\n"
        "vt 0 1\r\nvn 0 0 1\r\ns off\r\nf 1/1/1 2/1/1 3/1/1\r\nf 1//1 4//1 2//1\r\nf 2/1 4/1 3/1\r\nf 3 4 1",
        "v 0 0 0 0.1 0.2 0.3\nv 1.25 0 0 1 1 1\nv 0 -2.5 0 0 0 0\n  v\t0 0 +3.0E-3 0 0 0\n\n"
        "f -4 -3 -2\nf -4 -1 -3 \nf -3 -1 -2\nf -2 -1 -4\n",
        "v 0.00000000000000000000000000 0 0\nv 1.2500000000000000000001 0 0\nv 0 -2.5 0\nv 0 0 .003\n"
        "f 1 2 3\nf 1 4 2\nf 2 4 3\nf 3 4 1",  # too many digits for the fast reader
    ]
    for text in dialects:
        mesh = obj(text)
        np.testing.assert_allclose(mesh.vertices, plain.vertices, rtol=1e-15)
        np.testing.assert_array_equal(mesh.triangles, plain.triangles)
    np.testing.assert_array_equal(plain.vertices, TETRAHEDRON.vertices)
    np.testing.assert_array_equal(plain.triangles, TETRAHEDRON.triangles)


def test_obj_polygons_become_fans():
    text = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv -1 .5 0\nf 1 2 3 4 5\n"
    np.testing.assert_array_equal(obj(text).triangles, [[0, 1, 2], [0, 2, 3], [0, 3, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nv 1 nan 0\n", "line 2: expected 3 finite numbers below 1e+09, found '1 nan 0'"),
        ("v 0 0 0\nv 1 2e200 0\n", "line 2: expected 3 finite numbers below 1e+09"),
        ("v 0 0 0\n\nv 1 0\n", "line 3: expected 3 finite numbers"),
        ("v 0 0 0\nv\n", "line 2: expected 3 finite numbers"),
        ("v 0 0 0\nv 1 0 0\nv 0 x 1\n", "line 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "line 4: a face names a vertex that is not there"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -4\n", "line 4: a face names a vertex"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "line 4: expected a vertex number from 1 on"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n", "line 4: expected a face of 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 a\n", "line 4: expected a vertex number"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf\n", "line 4: expected a face of 3"),
    ],
)
def test_bad_obj_names_the_line(text, message):
    with pytest.raises(UserError, match="folder/file") as caught:
        obj(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@fast
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=3, max_size=3),
        min_size=3,
        max_size=9,
    ),
    st.sampled_from(["{:.6f}", "{!r}", "{:.3e}", "{:+.12g}"]),
    st.data(),
)
def test_fast_and_careful_obj_readers_agree(points, number, data):
    corner = st.integers(1, len(points))
    faces = data.draw(st.lists(st.lists(corner, min_size=3, max_size=6), max_size=6))
    text = "".join("v " + " ".join(number.format(x) for x in point) + "\n" for point in points)
    text += "".join("f " + " ".join(map(str, face)) + "\n" for face in faces)
    quick = obj(text)
    careful = Mesh(*_read_carefully(FILE, text.encode(), True))
    np.testing.assert_allclose(quick.vertices, careful.vertices, rtol=3e-16, atol=0)
    np.testing.assert_array_equal(quick.triangles, careful.triangles)
    expected = [[float(number.format(x)) for x in point] for point in points]
    np.testing.assert_array_equal(careful.vertices, expected)


@fast
@given(st.text(alphabet="vf 0123456789.-+eE/\n\r\t#na\\", max_size=120))
def test_any_text_is_read_or_refused_as_obj(text):
    for with_faces in (True, False):
        try:
            mesh = obj(text, with_faces)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(mesh.vertices).all()
            assert mesh.triangles.size == 0 or mesh.triangles.min() >= 0
            assert mesh.triangles.size == 0 or mesh.triangles.max() < len(mesh.vertices)


# --- PLY ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_ply_of_trimesh_reads_back(tmp_path, encoding):
    source = trimesh.creation.icosphere(2)
    source.visual.vertex_colors = [200, 100, 50, 255]
    source.export(tmp_path / "a.ply", encoding=encoding)
    mesh = load_mesh(tmp_path / "a.ply")
    np.testing.assert_allclose(mesh.vertices, source.vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.triangles, source.faces)


def test_big_endian_ply_with_quads_and_foreign_elements():
    header = (
        "ply\nformat binary_big_endian 1.0\ncomment x\nelement camera 1\nproperty list uchar float a\n"
        "element vertex 4\nproperty double x\nproperty uchar red\nproperty double y\nproperty double z\n"
        "element face 2\nproperty list uchar int vertex_indices\nproperty uchar flags\nend_header\n"
    )
    body = struct.pack(">Bff", 2, 1.0, 2.0)
    for point in TETRAHEDRON.vertices:
        body += struct.pack(">dBdd", point[0], 9, point[1], point[2])
    body += struct.pack(">BiiiiB", 4, 0, 1, 2, 3, 7) + struct.pack(">BiiiB", 3, 3, 2, 1, 7)
    vertices, triangles = read_ply(FILE, header.encode() + body)
    np.testing.assert_array_equal(vertices, TETRAHEDRON.vertices)
    np.testing.assert_array_equal(triangles, [[0, 1, 2], [0, 2, 3], [3, 2, 1]])


def test_our_ply_and_obj_are_read_by_trimesh(tmp_path):
    for path, save in ((tmp_path / "a.ply", save_ply), (tmp_path / "a.obj", save_obj)):
        save(path, TETRAHEDRON)
        loaded = trimesh.load(path, process=False)
        np.testing.assert_allclose(loaded.vertices, TETRAHEDRON.vertices, atol=1e-6)
        np.testing.assert_array_equal(loaded.faces, TETRAHEDRON.triangles)


ASCII = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    "element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1 0 0", "1 0 nan", "line 11: expected 3 finite numbers"),
        ("1 0 0", "1 0 1e30", "line 11: expected 3 finite numbers"),
        ("1 0 0", "1 0", "line 11: too few numbers for a vertex"),
        ("3 0 1 2\n", "", "line 13: the file ends before its last face"),
        ("3 0 1 2", "3 0 1 3", "names vertex 3, the file has 3"),
        ("3 0 1 2", "2 0 1", "face 0 has 2 corners"),
        ("property float y\n", "", "needs the properties x, y and z"),
        ("format ascii 1.0", "format gzip 1.0", "line 2: not understood"),
        ("element vertex 3", "element vertex three", "line 3: not understood"),
        ("ply\n", "", "line 1: expected a PLY header"),
    ],
)
def test_bad_ply_names_the_place(old, new, message):
    with pytest.raises(UserError) as caught:
        read_ply(FILE, ASCII.replace(old, new, 1).encode())
    assert message in str(caught.value)
    assert "folder/file" in str(caught.value)


@fast
@given(st.integers(0, 400), st.integers(0, 255), st.integers(0, 400), st.booleans())
def test_damaged_ply_is_read_or_refused(place, value, length, binary):
    data = ASCII.encode()
    if binary:
        header = (
            ASCII.split("end_header\n")[0].replace("ascii", "binary_little_endian") + "end_header\n"
        )
        data = header.encode() + struct.pack("<9f", *range(9)) + struct.pack("<Biii", 3, 0, 1, 2)
    damaged = bytearray(data[: max(length, 1)])
    damaged[place % len(damaged)] = value
    try:
        vertices, triangles = read_ply(FILE, bytes(damaged))
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(vertices).all()
        assert triangles.size == 0 or (triangles.min() >= 0 and triangles.max() < len(vertices))


# --- meshes ---------------------------------------------------------------------------------------


def test_meshes_without_surface_or_content_are_refused(tmp_path):
    cases = {
        "cloud.obj": "v 0 0 0\nv 1 1 1\n",
        "empty.obj": "",
        "words.obj": "hello\n",
        "one.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "a.stl": "solid",
    }
    for name, text in cases.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            load_mesh(tmp_path / name)
    with pytest.raises(UserError, match="cannot be read"):
        load_mesh(tmp_path / "absent.ply")
    np.testing.assert_array_equal(load_vertices(tmp_path / "cloud.obj"), [[0, 0, 0], [1, 1, 1]])


def test_a_byte_order_mark_hides_no_first_line(tmp_path):
    save_obj(tmp_path / "a.obj", TETRAHEDRON)
    text = (tmp_path / "a.obj").read_text()
    (tmp_path / "marked.obj").write_text(text, encoding="utf-8-sig")
    np.testing.assert_array_equal(load_mesh(tmp_path / "marked.obj").vertices, TETRAHEDRON.vertices)
    (tmp_path / "points.txt").write_text("\n".join(f"1 2 {k}" for k in range(7)), "utf-8-sig")
    assert load_landmarks(tmp_path / "points.txt")[0].tolist() == [1, 2, 0]
    (tmp_path / "same.txt").write_text("1 2 3\n" * 7)
    with pytest.raises(UserError, match=r"same\.txt: all seven landmarks are the same point"):
        load_landmarks(tmp_path / "same.txt")
