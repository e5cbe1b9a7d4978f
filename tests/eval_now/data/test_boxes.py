# ruff: noqa: PT017 - properties either read or refuse
"""Box files of eval_now, which are pickles: read without unpickling them."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval_now.data.boxes import Box, load_box, save_box
from eval_now.errors import UserError


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


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
    with pytest.raises(UserError, match=r"box\.npy asks for builtins\.print.*; expected a box"):
        load_box(path)


class ArrayCall:
    """Pickles as a call of numpy.ndarray with these arguments."""

    def __init__(self, *arguments) -> None:
        self.arguments = arguments

    def __reduce__(self):
        return np.ndarray, self.arguments


@pytest.mark.parametrize("content", [{"left": 1}, 1], ids=["in a dictionary", "by itself"])
@pytest.mark.parametrize(
    "arguments",
    [((1,), "O", b"A" * 8), ((10**9,), "O"), ((10**12,), "f8"), ((2**62,), "u1", b"")],
    ids=["pointers", "4 GB of objects", "8 TB", "overflow"],
)
def test_no_array_is_made_over_bytes_of_the_file(tmp_path, content, arguments):
    path = tmp_path / "box.npy"
    hostile = ArrayCall(*arguments)
    holder = np.empty((), dtype=object)
    holder[()] = {"left": hostile} if isinstance(content, dict) else hostile
    path.write_bytes(npy(holder))
    with pytest.raises(UserError, match=r"box\.npy.* expected a box"):
        load_box(path)


def test_keys_are_not_hashed(tmp_path):
    """A tuple of twice the same tuple of twice the same ...: hashing 60 of them takes for ever."""
    path = tmp_path / "box.npy"
    header = npy(np.array({}, dtype=object)).split(b"\n")[0] + b"\n"
    path.write_bytes(header + b"\x80\x04})" + b"2\x86" * 60 + b"K\x01s.")
    with pytest.raises(UserError, match=r"box\.npy.* expected a box"):
        load_box(path)


@pytest.mark.parametrize(
    "content",
    [
        {"left": 1},
        {"left": 5, "right": 1, "top": 0, "bottom": 1},
        [1, 2, 3, 4],
        {"left": "a", "right": 1, "top": 0, "bottom": 1},
        {"left": float("nan"), "right": 1, "top": 0, "bottom": 1},
        {"left": 10**400, "right": 1, "top": 0, "bottom": 1},
        {("left",): 5, 7: 1},
        None,
    ],
)
def test_wrong_boxes_are_refused(tmp_path, content):
    path = tmp_path / "box.npy"
    holder = np.empty((), dtype=object)
    holder[()] = content
    path.write_bytes(npy(holder))
    with pytest.raises(UserError, match=r"box\.npy: expected a box"):
        load_box(path)


DAMAGE = (st.integers(0, 400), st.integers(0, 255), st.integers(1, 400))
WITH_FOLDER = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=150, derandomize=True, **WITH_FOLDER)
@given(*DAMAGE)
def test_damaged_boxes_are_read_or_refused(tmp_path, place, value, length):
    read_or_refuse(tmp_path, place, value, length)


@pytest.mark.slow
@settings(max_examples=10_000, derandomize=True, **WITH_FOLDER)
@given(*DAMAGE)
def test_damaged_boxes_are_read_or_refused_at_length(tmp_path, place, value, length):
    read_or_refuse(tmp_path, place, value, length)


def read_or_refuse(tmp_path: Path, place: int, value: int, length: int) -> None:
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
