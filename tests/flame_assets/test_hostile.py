"""No pickle ever gets the converter to run anything, to hang or to fail but in one line."""

import io
import os
import pickle
import pickletools

import numpy as np
import pytest
import scipy.sparse
import torch
from helpers.flame_tiny import small_embedding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from flame_assets.errors import UserError
from flame_assets.formats import pickle_reader as inert_pickle
from flame_assets.formats.flame import convert_flame, read_landmarks
from flame_assets.formats.pickle_reader import Call, PickleError, read_pickle
from flame_assets.formats.pickled_arrays import as_array, read_npy


class Hostile:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def text_pickle(*lines):
    return "\n".join(lines).encode()


def hostile_pickles(flag):
    """name -> (bytes, words of the refusal); each would create the file `flag` or exhaust us."""
    touch = f"touch {flag}"
    code = f"open({str(flag)!r}, 'w')"
    huge = pickle.dumps(np.zeros(3), 2).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85", 1)
    return {
        "os.system": (pickle.dumps(Hostile(os.system, touch)), "system"),
        "eval": (pickle.dumps(Hostile(eval, code)), r"builtins\.eval"),
        "python 2 eval": (text_pickle("c__builtin__", "eval", f"(V{code}", "tR."), "eval"),
        "getattr": (text_pickle("cbuiltins", "getattr", "(I1", "Vx", "tR."), "getattr"),
        "numpy exec": (
            text_pickle("cnumpy.testing._private.utils", "runstring", f"(V{code}", "(dtR."),
            "runstring",
        ),
        "numpy load": (text_pickle("cnumpy", "load", "(Vx.npy", "tR."), r"numpy\.load"),
        "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0ftesting.os.open\x93.", "testing"),
        "torch load": (text_pickle("ctorch", "load", "(Vx.pt", "tR."), r"torch\.load"),
        "popen class": (b"\x80\x02csubprocess\nPopen\n(Vtouch\nt\x81.", "Popen"),
        "instance opcode": (text_pickle("(Vtouch", "isubprocess", "Popen", "."), "INST"),
        "object opcode": (text_pickle("(cos", "system", "Vtouch", "o."), r"os\.system"),
        "extension": (b"\x80\x02\x82\x01.", "EXT1"),
        "hidden in a key": (
            b"\x80\x02}X\x01\x00\x00\x00acposix\nsystem\nX\x01\x00\x00\x00b\x85Rs.",
            "posix",
        ),
        "deep lists": (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", "FLAME"),
        "deep tuples": (b"\x80\x02)" + b"\x85" * 20_000 + b".", "FLAME"),
        "deep calls": (
            b"\x80\x02" + b"cnumpy\ndtype\n" * 1000 + b")" + b"R\x85" * 999 + b"R.",
            "FLAME",
        ),
        "a tuple as key": (b"\x80\x02})" + b"\x85" * 20_000 + b"Ns.", "FLAME"),
        "billion laughs": (b"\x80\x02)" + b"q\x01h\x01\x86" * 1000 + b".", "FLAME"),
        "long stream": (b"\x80\x02" + b"N0" * 30_000 + b"N.", "50000 steps"),
        "huge array": (huge, "FLAME"),
        "truncated": (pickle.dumps({"v_template": np.zeros(9)})[:-20], "readable"),
        "empty": (b"", "readable"),
        "a photo": (b"\xff\xd8\xff\xe0" + bytes(100), "readable"),
        "no stop": (b"\x80\x02N", "readable"),
        "pop of nothing": (b"\x80\x020.", "readable"),
        "mark of nothing": (b"\x80\x02t.", "readable"),
    }


NAMES = sorted(hostile_pickles("x"))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickles_are_refused_in_one_line_and_never_run(name, tmp_path, monkeypatch):
    monkeypatch.setattr(inert_pickle, "MAX_OPCODES", 50_000)
    flag = tmp_path / "was_run"
    data, words = hostile_pickles(flag)[name]
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(data)
    with pytest.raises(UserError, match=words) as caught:
        convert_flame(path)
    assert "\n" not in str(caught.value)
    assert not flag.exists()


def test_a_hostile_value_among_good_ones_is_refused(tmp_path):
    flag = tmp_path / "was_run"
    model = dict.fromkeys(("v_template", "f", "shapedirs", "posedirs", "weights"), np.zeros(3))
    model["bs_type"] = Hostile(os.system, f"touch {flag}")
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model, 2))
    with pytest.raises(UserError, match="may be hostile"):
        convert_flame(tmp_path / "m.pkl")
    assert not flag.exists()


def embedding_with(value):
    marks = small_embedding()
    marks["dynamic_lmk_faces_idx"] = value
    stream = io.BytesIO()
    np.save(stream, np.array(marks, dtype=object), allow_pickle=True)
    return stream.getvalue()


class EvilTensor:
    def __reduce__(self):
        payload = pickle.dumps(Hostile(os.system, "touch was_run"))
        return torch._utils._rebuild_tensor_v2, (
            EvilStorage(payload),
            0,
            (79, 17),
            (17, 1),
            False,
            {},
        )


class EvilStorage:
    def __init__(self, payload):
        self.payload = payload

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.payload,)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (EvilTensor(), r"system"),
        (Hostile(os.system, "touch was_run"), r"system"),
        (torch.zeros(17, 79, dtype=torch.int64).T, "contiguous"),
        (np.zeros((3, 17), np.int64), r"expected dynamic_lmk_faces_idx of \(79, 17\)"),
        ("text", "should be"),
    ],
)
def test_hostile_landmark_files_are_refused(tmp_path, monkeypatch, value, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "landmark_embedding.npy").write_bytes(embedding_with(value))
    with pytest.raises(UserError, match=words):
        read_landmarks(tmp_path / "landmark_embedding.npy")
    assert not (tmp_path / "was_run").exists()


# ---------------------------------------------------------------- properties

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: (
        st.lists(children, max_size=4)
        | st.tuples(children, children)
        | st.dictionaries(st.text() | st.integers(), children, max_size=4)
    ),
    max_leaves=20,
)
protocols = st.integers(0, pickle.HIGHEST_PROTOCOL)


@settings(max_examples=80, deadline=None)
@given(plain, protocols)
def test_plain_data_reads_as_pickle_reads_it(value, protocol):
    assert read_pickle(pickle.dumps(value, protocol)) == value


dtypes = st.one_of(
    np_st.integer_dtypes(endianness="?"),
    np_st.unsigned_integer_dtypes(endianness="?"),
    np_st.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
    np_st.boolean_dtypes(),
)
shapes = np_st.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)


@settings(max_examples=80, deadline=None)
@given(np_st.arrays(dtypes, shapes), protocols, st.booleans())
def test_arrays_read_as_pickle_reads_them(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    got = as_array(read_pickle(pickle.dumps(array, protocol)))
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype
    stream = io.BytesIO()
    np.save(stream, array)
    np.testing.assert_array_equal(read_npy(stream.getvalue()), array)


@settings(max_examples=30, deadline=None)
@given(np_st.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 8))), protocols)
def test_sparse_matrices_read_as_scipy_means_them(array, protocol):
    array = np.where(np.abs(array) > 1, array, 0)
    matrix = scipy.sparse.csc_matrix(array)
    np.testing.assert_array_equal(as_array(read_pickle(pickle.dumps(matrix, protocol))), array)


torch_types = st.sampled_from([np.int64, np.float32, np.float64, np.int32])


@settings(max_examples=20, deadline=None)
@given(np_st.arrays(torch_types, shapes), protocols)
def test_torch_tensors_read_as_torch_means_them(array, protocol):
    tensor = torch.from_numpy(array)
    got = as_array(read_pickle(pickle.dumps(tensor, max(2, protocol))))
    np.testing.assert_array_equal(got, array)


def decode_everything(value, depth=0):
    """Try to make an array of whatever came; only PickleError may come of it."""
    if isinstance(value, Call):
        try:
            as_array(value)
        except PickleError:
            return
    elif isinstance(value, list | tuple | dict) and depth < 5:
        for item in value.values() if isinstance(value, dict) else value:
            decode_everything(item, depth + 1)


SEEDS = [
    pickle.dumps({"a": np.arange(6.0).reshape(2, 3), "b": [1, "x", (None, 2.5)]}, protocol)
    for protocol in range(6)
] + [
    pickle.dumps({"s": scipy.sparse.csc_matrix(np.eye(3)), "t": torch.arange(4)}, protocol)
    for protocol in (2, 5)
]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=3)), max_size=4),
)
def test_damaged_pickles_give_an_answer_or_a_pickle_error(seed, edits):
    data = bytearray(seed)
    for at, new in edits:
        data[at : at + len(new)] = new
    try:
        decode_everything(read_pickle(bytes(data)))
    except PickleError:
        return


OPCODES = [o.code.encode("latin-1") for o in pickletools.opcodes if o.arg is None]
ARGUMENTS = [b"K\x01", b"h\x00", b"q\x00", b"X\x01\x00\x00\x00a", b"cnumpy\ndtype\n", b"\x85"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(OPCODES + ARGUMENTS * 4), max_size=40))
def test_random_programs_give_an_answer_or_a_pickle_error(steps):
    try:
        decode_everything(read_pickle(b"\x80\x02" + b"".join(steps) + b"."))
    except PickleError:
        return
