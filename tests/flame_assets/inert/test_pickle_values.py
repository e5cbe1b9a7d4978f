"""Honest pickles give what pickle itself gives, without anything of them being run."""

import argparse
import collections
import datetime
import io
import pathlib
import pickle
import random
import struct
from decimal import Decimal

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from flame_assets.inert.arrays import Unread, as_array
from flame_assets.inert.files import ReadError
from flame_assets.inert.pickles import parse_pickle, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
protocols = st.sampled_from(PROTOCOLS)
keys = st.text() | st.integers(-(1 << 63), (1 << 63) - 1) | st.booleans()
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda children: (
        st.lists(children, max_size=4)
        | st.tuples(children, children)
        | st.dictionaries(keys, children, max_size=4)
        | st.sets(keys, max_size=3)
        | st.frozensets(st.binary(), max_size=3)
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(plain, protocols)
def test_plain_data_reads_as_pickle_reads_it(value, protocol):
    assert parse_pickle(pickle.dumps(value, protocol)) == value


dtypes = st.one_of(
    np_st.integer_dtypes(endianness="?"),
    np_st.unsigned_integer_dtypes(endianness="?"),
    np_st.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
    np_st.complex_number_dtypes(sizes=(64, 128), endianness="?"),
    np_st.boolean_dtypes(),
)
shapes = np_st.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)


@settings(max_examples=100, deadline=None)
@given(np_st.arrays(dtypes, shapes), protocols, st.booleans())
def test_arrays_read_as_pickle_reads_them(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    got = parse_pickle(pickle.dumps(array, protocol))
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype
    assert not got.flags.writeable


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", ["b1", "i2", "u8", "f2", ">f8", "c8"])
def test_numpy_scalars_read_as_pickle_reads_them(code, protocol):
    scalar = np.ones(1, code)[0]
    got = parse_pickle(pickle.dumps({"best": scalar, scalar.dtype.str: scalar.dtype}, protocol))
    assert got["best"] == scalar
    assert type(got["best"]) is type(scalar)
    assert got[scalar.dtype.str] == scalar.dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_object_arrays_come_as_lists(protocol):
    alone = np.array({"a": np.arange(3)}, dtype=object)
    grid = np.array([[1, "x"], [None, 2.5], [b"", ()]], dtype=object)
    for array in (grid, np.asfortranarray(grid), grid.T):
        assert parse_pickle(pickle.dumps(array, protocol)) == array.tolist()
    np.testing.assert_array_equal(parse_pickle(pickle.dumps(alone, protocol))["a"], [0, 1, 2])


@settings(max_examples=30, deadline=None)
@given(
    np_st.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 8))),
    protocols,
    st.sampled_from(["csc", "csr", "coo"]),
    st.booleans(),
)
def test_sparse_matrices_read_as_scipy_means_them(dense, protocol, format_, as_new):
    dense = np.where(np.abs(dense) > 1, dense, 0)
    kind = getattr(scipy.sparse, f"{format_}_{'array' if as_new else 'matrix'}")
    got = as_array(parse_pickle(pickle.dumps(kind(dense), protocol)))
    np.testing.assert_array_equal(got, dense)


torch_types = st.sampled_from([np.int64, np.float32, np.float64, np.int32, np.uint8, np.bool_])


@settings(max_examples=30, deadline=None)
@given(np_st.arrays(torch_types, shapes), st.integers(2, 5), st.booleans())
def test_tensors_within_a_pickle_come_as_arrays(array, protocol, transposed):
    tensor = torch.from_numpy(array)
    tensor = tensor.mT if transposed and tensor.ndim > 1 else tensor
    np.testing.assert_array_equal(parse_pickle(pickle.dumps(tensor, protocol)), tensor.numpy())
    half = tensor.bfloat16()
    np.testing.assert_array_equal(parse_pickle(pickle.dumps(half)), half.float().numpy())


def test_an_expanded_and_a_cut_tensor_come_as_arrays():
    for tensor in (torch.ones(1, 3).expand(4, 3), torch.arange(10)[2:8:3], torch.zeros(3, 0)):
        np.testing.assert_array_equal(parse_pickle(pickle.dumps(tensor)), tensor.numpy())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_of_the_standard_library(protocol):
    counted = collections.defaultdict(list, {"a": [1]})
    content = {
        "ordered": collections.OrderedDict(b=1, a=2),
        "default": counted,
        "counter": collections.Counter("hello"),
        "deque": collections.deque([1, 2]),
        "bytes": [b"\r\n\xff", bytearray(b"ab")],
        "complex": 1 - 2j,
    }
    expected = content | {"deque": [1, 2]}
    assert parse_pickle(pickle.dumps(content, protocol)) == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_harmless_classes_are_read_or_skipped(protocol):
    content = {
        "made_from": pathlib.PurePosixPath("/data/x"),
        "on": pathlib.PureWindowsPath("C:/data/x"),
        "args": argparse.Namespace(lr=1e-3, out=pathlib.PurePosixPath("out")),
        "date": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC),
        "price": Decimal("1.5"),
        "names": np.array(["left", "right"]),
        "records": np.zeros(2, [("x", "f4")]),
        "days": np.array(["2024-02-29"], "M8[D]"),
        "function": np.linspace,
        "random": random.Random(1).getstate(),
        "generator": np.random.RandomState(1),
        "range": range(3),
        "weights": np.arange(3),
    }
    got = parse_pickle(pickle.dumps(content, protocol))
    assert got["made_from"] == "/data/x"
    assert got["on"] == "C:\\data\\x"
    assert got["random"] == content["random"]
    np.testing.assert_array_equal(got["weights"], [0, 1, 2])
    unread = {name for name, value in got.items() if isinstance(value, Unread)}
    assert unread == set(content) - {"made_from", "on", "random", "weights"}
    assert repr(got["args"]) == "<unread argparse.Namespace>"


def test_keys_that_are_bytes_or_numpy_integers_are_found_by_their_plain_name():
    got = parse_pickle(pickle.dumps({b"f": 1, np.int64(7): 2, "f8": 3, (1, 2): 4, 1.5: 5, None: 6}))
    assert got == {"f": 1, 7: 2, "f8": 3}


def test_what_python_2_wrote():
    numbers = np.array([1.5, -2.25], dtype=">f4")
    text = b"\x80\x02}U\x01aU\x04caf\xe9s."
    assert parse_pickle(text) == {"a": "café"}
    assert parse_pickle(b"(dp0\nS'it\\'s\\n\\x41\\101\\q'\np1\nI01\nsS\"b\"\nL-12L\ns.") == {
        "it's\nAA\\q": True,
        "b": -12,
    }
    data = (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01\x8a\x01\x02\x85cnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
        b"(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", 8) + numbers.tobytes() + b"tbs."
    )
    np.testing.assert_array_equal(parse_pickle(data)["a"], numbers)


def test_shared_values_are_read_once():
    array, names = np.arange(4), ["a", "b"]
    got = parse_pickle(pickle.dumps({"first": [array, names], "second": (array, names)}))
    assert got["first"][0] is got["second"][0]
    assert got["first"][1] is got["second"][1]


def test_bytes_behind_the_end_are_left_alone(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]) + b"and more")
    assert read_pickle(tmp_path / "a.pkl") == [1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(2), 2.0),
        (True, True),
        ([[1, 2], [3, 4.5]], [[1, 2], [3, 4.5]]),
        ([np.arange(3), np.arange(4)], None),
        ([np.arange(3), np.arange(3)], [[0, 1, 2], [0, 1, 2]]),
        ([], []),
        ([[], []], [[], []]),
        ([1 << 40, -1], [1 << 40, -1]),
    ],
)
def test_lists_of_numbers_become_arrays(value, expected):
    if expected is None:
        with pytest.raises(ReadError, match="different lengths"):
            as_array(value)
        return
    got = as_array(value)
    assert got.tolist() == expected
    assert got.dtype.kind in "biufc"


def test_a_stream_is_not_needed_twice():
    """Pickles one behind another are read by position, as PyTorch's older files need."""
    from flame_assets.inert.pickle_graph.machine import PickleMachine
    from flame_assets.inert.pickle_graph.opcodes import read_graph

    stream = io.BytesIO()
    for value in (1, "two", 3.0):
        pickle.dump(value, stream)
    machine = PickleMachine(stream.getvalue())
    assert [read_graph(machine) for _ in range(3)] == [1, "two", 3.0]
