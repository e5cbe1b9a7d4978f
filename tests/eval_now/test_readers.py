# ruff: noqa: E501 PT017 - files under test hold long lines; properties either read or refuse
"""Landmarks, boxes and image lists of eval_now: right on good files, one line naming the place on bad ones."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval_now.data.boxes import Box, load_box, save_box
from eval_now.data.image_list import read_image_list, select_challenges
from eval_now.data.synthetic import pp_text
from eval_now.errors import UserError
from eval_now.io.landmarks import PickedPoints, parse_npy, parse_pp, parse_txt

FILE = Path("folder/file")
SEVEN = np.arange(21, dtype=np.float64).reshape(7, 3) + 0.1
fast = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# --- landmarks ------------------------------------------------------------------------------------


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
    with pytest.raises(UserError, match="its header is not understood"):
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
                points = points.landmarks if isinstance(points, PickedPoints) else points
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
    assert [entry.challenge for entry in select_challenges(entries, ("selfie",))] == ["selfie"]
    with pytest.raises(UserError, match="--challenge x: the image list has neutral, selfie"):
        select_challenges(entries, ("x",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
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


def test_an_image_listed_again_counts_once_and_is_named(tmp_path, caplog):
    path = tmp_path / "list.txt"
    path.write_text("a/b/c.jpg\nd/b/c.jpg\n\na/b/c.jpg\na/b/c.png\n")  # c.png: the same files
    assert [entry.name for entry in read_image_list(path)] == ["a/b/c.jpg", "d/b/c.jpg"]
    (record,) = caplog.records
    assert "list.txt line 4 repeats line 1: 'a/b/c.jpg' and 1 more" in record.getMessage()


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
