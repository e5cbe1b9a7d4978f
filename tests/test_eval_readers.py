# ruff: noqa: E501 PT017 - files under test hold long lines; properties either read or refuse
"""Readers of eval_now: right on good files, one line naming the place on bad ones."""

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval_now.boxes import Box, load_box, save_box
from eval_now.dataset import choose_challenges, read_image_list
from eval_now.errors import UserError
from eval_now.landmarks import load_landmarks, parse_npy, parse_pp, parse_txt
from eval_now.meshes import Mesh, load_mesh, load_vertices, save_obj, save_ply
from eval_now.objfile import _read_carefully, read_obj
from eval_now.plyfile import read_ply
from eval_now.synthetic import pp_text

TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1.25, 0, 0], [0, -2.5, 0], [0, 0, 3e-3]]),
    np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]),
)
FILE = Path("folder/file")
SEVEN = np.arange(21, dtype=np.float64).reshape(7, 3) + 0.1
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


# --- landmarks ------------------------------------------------------------------------------------


def test_landmarks_read_from_all_three_kinds():
    single = SEVEN.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(parse_pp(FILE, pp_text(SEVEN, "a.obj").encode()), single)
    swapped = pp_text(SEVEN, "a.obj").replace("\n", "\r\n").replace('active="1" ', "")
    np.testing.assert_array_equal(parse_pp(FILE, swapped.encode()), single)
    text = "\n".join(" ".join(f"{x:.1f}" for x in row) for row in SEVEN)
    np.testing.assert_array_equal(parse_txt(FILE, text.encode()), single)
    np.testing.assert_array_equal(parse_txt(FILE, text.replace(" ", ", ").encode()), single)
    for array in (
        SEVEN,
        SEVEN[None].astype(np.float32),
        np.asfortranarray(SEVEN),
        SEVEN.astype(">f8"),
    ):
        np.testing.assert_allclose(parse_npy(FILE, npy(array)), SEVEN, atol=1e-6)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((68, 3)), r"found \(68, 3\); of 68 landmarks .* rows 36, 39, 42, 45, 33, 48, 54"),
        (np.zeros((51, 3)), "rows 19, 22, 25, 28, 16, 31, 37"),
        (np.zeros((7, 2)), r"found \(7, 2\)"),
        (np.zeros(21), r"found \(21,\)"),
        (np.array([[None] * 3] * 7), "expected 21 numbers, found object"),
        (np.eye(7, 3) * 1e200, "landmark 0 is not finite and below"),
        (np.where(np.eye(7, 3) > 0, np.nan, 1.0), "landmark 0 is not finite"),
    ],
)
def test_bad_npy_landmarks(array, message):
    with pytest.raises(UserError, match=message):
        parse_npy(FILE, npy(array))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name="3"', 'name="2"', "line 12: repeats the point of line 11"),
        ('x="9.100000" y="10.100000" z="11.100000"', 'x="0.1" y="1.1" z="2.1"', "line 12: repeats"),
        ('x="9.100000" ', "", "line 12: expected 3 finite numbers"),
        ('x="9.100000"', 'x="nine"', "line 12: expected 3 finite numbers"),
        (' <point x="9.1', ' <!-- x="9.1', "expected 7 <point .../> entries, found 6"),
    ],
)
def test_bad_pp_names_the_line(old, new, message):
    text = pp_text(SEVEN, "a.obj")
    assert old in text
    with pytest.raises(UserError) as caught:
        parse_pp(FILE, text.replace(old, new, 1).encode())
    assert message in str(caught.value)


@fast
@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 255))
def test_any_bytes_are_read_or_refused_as_landmarks(noise, place, value):
    damaged = [
        bytearray(pp_text(SEVEN, "a").encode()),
        bytearray(npy(SEVEN)),
        bytearray(b"1 2 3\n" * 7),
    ]
    for data in damaged:
        data[place % len(data)] = value
    for parse in (parse_pp, parse_npy, parse_txt):
        for data in (noise, *map(bytes, damaged)):
            try:
                points = parse(FILE, data)
            except UserError as error:
                assert "folder/file" in str(error)
                assert "\n" not in str(error)
            else:
                assert points.shape == (7, 3)
                assert np.isfinite(points).all()


# --- boxes ----------------------------------------------------------------------------------------


def test_boxes_read_from_old_and_new_files(tmp_path):
    path = tmp_path / "box.npy"
    save_box(path, Box(10.5, 20, 110, 220))
    assert np.load(path, allow_pickle=True).item() == {
        "left": 10.5,
        "top": 20,
        "right": 110,
        "bottom": 220,
    }
    assert load_box(path) == Box(10.5, 20, 110, 220)
    numbers = {"left": np.float64(1), "top": np.int64(2), "right": np.float32(3), "bottom": 9}
    path.write_bytes(npy(np.array(numbers, dtype=object)))
    assert load_box(path) == Box(1, 2, 3, 9)
    # as Python 2 with NumPy 1 wrote them
    array = np.array(numbers, dtype=object)
    header = npy(array).split(b"\n")[0] + b"\n"
    old = pickle.dumps(array, protocol=2).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    )
    assert b"cnumpy.core.multiarray\n" in old
    path.write_bytes(header + old)
    assert load_box(path) == Box(1, 2, 3, 9)


def test_boxes_never_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    path = tmp_path / "box.npy"
    path.write_bytes(npy(np.array({"left": Evil()}, dtype=object)))
    with pytest.raises(UserError, match=r"refuses to unpickle builtins\.print"):
        load_box(path)


@pytest.mark.parametrize(
    "content",
    [{"left": 1}, {"left": 5, "right": 1, "top": 0, "bottom": 1}, [1, 2, 3, 4], {"left": "a"}],
)
def test_wrong_boxes_are_refused(tmp_path, content):
    path = tmp_path / "box.npy"
    holder = np.empty((), dtype=object)
    holder[()] = content
    path.write_bytes(npy(holder))
    with pytest.raises(UserError, match=r"box\.npy: expected a box"):
        load_box(path)


@fast
@given(st.integers(0, 400), st.integers(0, 255), st.integers(1, 400))
def test_damaged_boxes_are_read_or_refused(tmp_path, place, value, length):
    path = tmp_path / "box.npy"
    save_box(path, Box(1, 2, 3, 4))
    data = bytearray(path.read_bytes()[:length])
    data[place % len(data)] = value
    path.write_bytes(bytes(data))
    try:
        box = load_box(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert box.right > box.left


# --- image lists ----------------------------------------------------------------------------------


def test_image_list_with_windows_line_ends_and_blank_lines(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(
        b"\xef\xbb\xbfA_01_TA/selfie/IMG_1.jpg\r\n\r\n  A_01_TA/neutral/IMG_1.jpg \r\n"
    )
    entries = read_image_list(path)
    assert [entry.name for entry in entries] == [
        "A_01_TA/selfie/IMG_1.jpg",
        "A_01_TA/neutral/IMG_1.jpg",
    ]
    assert entries[0].stem == "IMG_1"
    assert [entry.challenge for entry in choose_challenges(entries, ("selfie",))] == ["selfie"]
    with pytest.raises(UserError, match="--challenge x: the image list has neutral, selfie"):
        choose_challenges(entries, ("x",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/b/c.jpg\nd/b/c.jpg\n\na/b/c.jpg\n", "line 4: repeats line 1"),
        ("a/b/c.jpg\na/b/c.png\n", "line 2: repeats line 1"),  # the same prediction files
        ("a/b/c.jpg\nb/c.jpg\n", "line 2: expected SUBJECT/CHALLENGE/IMAGE.jpg"),
        ("../b/c.jpg\n", "line 1: expected"),
        ("a\\b\\c.jpg\n", "line 1: expected"),
        ("/b/c.jpg\n", "line 1: expected"),
        ("\n\n", "the image list is empty"),
    ],
)
def test_bad_image_lists_name_the_line(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_image_list(path)
    assert message in str(caught.value)
    assert "list.txt" in str(caught.value)


@fast
@given(st.text(alphabet="ab./\\ \r\n\0é", max_size=40))
def test_any_image_list_stays_inside_the_folder(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text, newline="")
    try:
        entries = read_image_list(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        for entry in entries:
            assert (tmp_path / entry.name).resolve().is_relative_to(tmp_path.resolve())
