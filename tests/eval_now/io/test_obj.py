# ruff: noqa: PT017 - properties either read or refuse
"""The OBJ reader: dialects of good files, the faulty line of bad ones, any bytes at all."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.budgets import MAX_COORDINATE
from eval_now.io.obj import read_obj

FILE = Path("folder/file")
TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1.25, 0, 0], [0, -2.5, 0], [0, 0, 3e-3]]),
    np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]),
)


def obj(text: str, with_faces: bool = True) -> Mesh:
    return read_obj(FILE, text.encode("latin-1"), with_faces)


@pytest.mark.parametrize(
    "text",
    [
        "v 0 0 0\nv 1.25 0 0\nv 0 -2.5 0\nv 0 0 0.003\nf 1 2 3\nf 1 4 2\nf 2 4 3\nf 3 4 1\n",
        "# made by hand\r\nmtllib a.mtl\r\no head\r\nv 0 0 0\r\nv 1.25 0 0\r\nv 0 -2.5 0\r\n"
        "v 0 0 3e-3\r\nvt 0 1\r\nvn 0 0 1\r\ns off\r\nf 1/1/1 2/1/1 3/1/1\r\nf 1//1 4//1 2//1\r\n"
        "f 2/1 4/1 3/1\r\nf 3 4 1",
        "v 0 0 0 0.1 0.2 0.3\nv 1.25 0 0 1 1 1\nv 0 -2.5 0 0 0 0\n  v\t0 0 +3.0E-3 0 0 0\n\n"
        "f -4 -3 -2\nf -4 -1 -3 \nf -3 -1 -2\nf -2 -1 -4\n",
        "v 0.00000000000000000000000000 0 0\nv 1.2500000000000000000001 0 0\nv 0 -2.5 0\n"
        "v 0 0 .003\nf 1 2 3\nf 1 4 2\nf 2 4 3\nf 3 4 1",
        "v 0 0 0\rv 1.25 0 0\rv 0 -2.5 0\rv 0 0 0.003\rf 1 2 3\rf 1 4 2\rf 2 4 3\rf 3 4 1\r",
        "v 0 \\\n 0 0\nv 1.25\\\n 0 0\nv \\\r\n0 -2.5 0\nv 0 0 0.003 # nose\nf \\\n1 2 3 # first\n"
        "f 1 4\\\n 2\nf 2 \\\n4 \\\n3\nf 3/9\\\n 4 1#last",
        "# a folder C:\\heads\\\nv 0 0 0\nmtllib C:\\heads\\\nv 1.25 0 0\nv 0 -2.5 0\nv 0 0 0.003\n"
        "f 1 2 3\nf 1 4 2\nf 2 4 3\nf 3 4 1",
    ],
    ids=["plain", "windows", "colours", "digits", "old mac", "continued", "backslashes"],
)
def test_dialects_read_the_same(text):
    mesh = obj(text)
    np.testing.assert_allclose(mesh.vertices, TETRAHEDRON.vertices, rtol=1e-15)
    np.testing.assert_array_equal(mesh.triangles, TETRAHEDRON.triangles)
    np.testing.assert_array_equal(obj(text, with_faces=False).vertices, mesh.vertices)


def test_polygons_become_fans():
    text = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv -1 .5 0\nf 1 2 3 4 5\n"
    np.testing.assert_array_equal(obj(text).triangles, [[0, 1, 2], [0, 2, 3], [0, 3, 4]])


def test_a_small_file_with_many_triangles():
    """More triangles than a file of its size usually has."""
    polygon = " ".join(["1", "2", "3"] * 400)
    triangles = obj(f"v 0 0 0\nv 1 0 0\nv 0 1 0\nf {polygon}\nf 1 2 3\n").triangles
    assert len(triangles) == 3 * 400 - 2 + 1
    np.testing.assert_array_equal(triangles[:3], [[0, 1, 2], [0, 2, 0], [0, 0, 1]])
    np.testing.assert_array_equal(triangles[-2:], [[0, 1, 2], [0, 1, 2]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nv 1 nan 0\n", "line 2: expected 3 finite numbers below 1e+09, found '1 nan 0'"),
        ("v 0 0 0\nv 1 2e200 0\n", "line 2: expected 3 finite numbers below 1e+09"),
        ("v 0 0 0\nv 1 2e99999999999999999999 0\n", "line 2: expected 3 finite numbers"),
        ("v 0 0 0\nv 1 1e9 0\n", "line 2: expected 3 finite numbers"),
        ("v 0 0 0\n\nv 1 0\n", "line 3: expected 3 finite numbers"),
        ("v 0 0 0\r\rv 1 0\r", "line 3: expected 3 finite numbers"),
        ("v 0 0 0\nv 1 0 # 0\n", "line 2: expected 3 finite numbers"),
        ("v 0 0 0\nv\n", "line 2: expected 3 finite numbers"),
        ("v 0 0 0\nv 1 0 0\nv 0 x 1\n", "line 3"),
        ("v 0 0 0\nv 1 0 1_0\n", "line 2"),
        ("v 0 0 0\nv 1 0 0x10\n", "line 2"),
        ("v 0 0 0\nv 1e 0 0\n", "line 2"),
        ("v 0 0 0\nv . 0 0\n", "line 2"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "line 4: a face names a vertex that is not there"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -4\n", "line 4: a face names a vertex"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "line 4: expected a vertex number from 1 on"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n", "line 4: expected a face of 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 # 3\n", "line 4: expected a face of 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 a\n", "line 4: expected a vertex number from 1 on, fo"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3.0\n", "line 4: expected a vertex number"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 /3\n", "line 4: expected a vertex number"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 99999999999999999999\n", "line 4: a face names a ver"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf\n", "line 4: expected a face of 3"),
    ],
)
def test_bad_files_name_the_line(text, message):
    with pytest.raises(UserError, match="folder/file") as caught:
        obj(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=3, max_size=3),
        min_size=3,
        max_size=9,
    ),
    st.sampled_from(["{:.6f}", "{!r}", "{:.3e}", "{:+.12g}", "{:.25f}"]),
    st.sampled_from(["\n", "\r\n", " \\\n\n"]),
    st.data(),
)
def test_numbers_and_faces_are_those_of_the_text(points, number, line_end, data):
    corner = st.integers(1, len(points))
    faces = data.draw(st.lists(st.lists(corner, min_size=3, max_size=6), max_size=6))
    written = [[number.format(x) for x in point] for point in points]
    text = "".join("v " + " ".join(words) + line_end for words in written)
    text += "".join("f " + " ".join(map(str, face)) + line_end for face in faces)
    mesh = obj(text)
    expected = [[float(word) for word in words] for words in written]
    np.testing.assert_allclose(mesh.vertices, expected, rtol=9e-16, atol=0)
    fans = [(f[0] - 1, b - 1, c - 1) for f in faces for b, c in zip(f[1:], f[2:], strict=False)]
    np.testing.assert_array_equal(mesh.triangles, np.array(fans, int).reshape(-1, 3))


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**15), 10**15), st.integers(7, 22))
def test_numbers_of_15_digits_are_exact(digits, decimals):
    """The files of the benchmark have fewer: their figures do not depend on the reader."""
    point = str(Decimal(digits).scaleb(-decimals))
    assert obj(f"v {digits}e-{decimals} {point} 0\n").vertices[0].tolist() == [float(point)] * 2 + [
        0
    ]


ANY = st.text(alphabet="vf 0123456789.-+eE/\n\r\t#na\\\0\xff", max_size=120)


def read_or_refuse(data: bytes) -> None:
    for with_faces in (True, False):
        try:
            mesh = read_obj(FILE, data, with_faces)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert (np.abs(mesh.vertices) < MAX_COORDINATE).all()
            assert mesh.triangles.size == 0 or mesh.triangles.min() >= 0
            assert mesh.triangles.size == 0 or mesh.triangles.max() < len(mesh.vertices)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(ANY)
def test_any_text_is_read_or_refused(text):
    read_or_refuse(text.encode("latin-1"))


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, derandomize=True)
@given(ANY)
def test_any_text_is_read_or_refused_at_length(text):
    read_or_refuse(text.encode("latin-1"))


@pytest.mark.slow
def test_mutated_files_are_read_or_refused():
    """10,000 copies of a good file with bytes changed, removed or repeated."""
    good = np.frombuffer(
        b"# c\nv 1.5 -2e1 3 0.1 0.2 0.3\nv 1 0 0\r\nv 0 1 0 \\\n 1\n"
        b"vt 0 1\nf 1/1 2/1 3/1\nf -1 -2 -3 1\n",
        np.uint8,
    )
    random = np.random.default_rng(0)
    for _ in range(10_000):
        data = good.copy()
        places = random.integers(len(data), size=random.integers(1, 6))
        data[places] = random.choice(np.frombuffer(b"v f0123456789.-+eE/\n\r\t#\\\0\xff", np.uint8))
        begin, end = sorted(random.integers(len(data) + 1, size=2))
        data = random.choice([0, 1, 2], 1)[0] * [data[begin:end]] + [data]
        read_or_refuse(np.concatenate(data).tobytes())
