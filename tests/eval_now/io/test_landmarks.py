# ruff: noqa: PT017 - properties either read or refuse
"""Landmark files of eval_now: all three kinds, the faulty line of bad ones, any bytes at all."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_now.data.synthetic import pp_text
from eval_now.errors import UserError
from eval_now.io.landmarks import PickedPoints, load_landmarks, parse_npy, parse_pp, parse_txt

FILE = Path("folder/file")
SEVEN = np.arange(21, dtype=np.float64).reshape(7, 3) + 0.1


def test_landmarks_read_from_all_three_kinds():
    single = SEVEN.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(
        parse_pp(FILE, pp_text(SEVEN, "a.obj").encode()).landmarks, single
    )
    swapped = pp_text(SEVEN, "a.obj").replace("\n", "\r\n").replace('active="1" ', "")
    np.testing.assert_array_equal(parse_pp(FILE, swapped.encode()).landmarks, single)
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


def test_npy_header_with_an_endless_shape():
    header = npy(SEVEN).replace(b"(7, 3), }  ", b"(1e999,), }")
    with pytest.raises(UserError, match="folder/file has a header that NumPy does not write"):
        parse_npy(FILE, header)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
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


@pytest.mark.parametrize(
    ("old", "new", "odd"),
    [
        ('name="3"', 'name="2"', ""),
        (
            'x="9.100000" y="10.100000" z="11.100000"',
            'x="0.1" y="1.1" z="2.1"',
            "line 12 repeats the point of line 9",
        ),
        (
            "</PickedPoints>",
            '<point x="0" y="0" z="0" name="7"/>\n<point x="0" y="0" z="0" name="8"/>',
            "holds 9 points, the first 7 count",
        ),
    ],
)
def test_odd_pp_files_read_as_the_official_reader_does(old, new, odd):
    text = pp_text(SEVEN, "a.obj")
    assert old in text
    points = parse_pp(FILE, text.replace(old, new, 1).encode())
    assert points.remarks == odd
    same = [0, 1, 2, 4, 5, 6]
    np.testing.assert_allclose(points.landmarks[same], SEVEN[same], atol=1e-6)


def test_a_point_element_may_share_its_line():
    """Several elements on one line, attributes in any order, other elements that begin alike."""
    text = "<points count='7'>" + "".join(
        f'<point z="{z}" name="n" y = "{y}"  x="{x}"/>' for x, y, z in SEVEN.tolist()
    )
    np.testing.assert_allclose(parse_pp(FILE, text.encode()).landmarks, SEVEN, rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "<point" * 150_000,
        "<point " + "a" * 900_000 + ">",
        "<point " + 'a="' * 300_000 + ">",
        "<point " + "a = " * 250_000 + ">",
        "<point x" + " " * 900_000 + ">",
        '<point x="' + "1" * 900_000 + '"/>',
        "<point/>" * 130_000,
        "<" * 1_000_000,
    ],
)
def test_hostile_picked_points_are_refused_in_linear_time(text):
    """Each would take hours with an expression that starts anew at every character."""
    with pytest.raises(UserError, match="folder/file"):
        parse_pp(FILE, text.encode())


def test_landmark_files_are_bounded(tmp_path):
    path = tmp_path / "points.txt"
    path.write_text("1 2 3\n" * 200_000)
    with pytest.raises(UserError, match=r"points\.txt: expected at most 1 MiB"):
        load_landmarks(path)


ANY_BYTES = (st.binary(max_size=200), st.integers(0, 200), st.integers(0, 255))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(*ANY_BYTES)
def test_any_bytes_are_read_or_refused(noise, place, value):
    read_or_refuse(noise, place, value)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, derandomize=True)
@given(*ANY_BYTES)
def test_any_bytes_are_read_or_refused_at_length(noise, place, value):
    read_or_refuse(noise, place, value)


def read_or_refuse(noise: bytes, place: int, value: int) -> None:
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
                points = points.landmarks if isinstance(points, PickedPoints) else points
            except UserError as error:
                assert "folder/file" in str(error)
                assert "\n" not in str(error)
            else:
                assert points.shape == (7, 3)
                assert np.isfinite(points).all()
