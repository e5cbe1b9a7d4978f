"""No file gets the readers to run anything, to hang, to take memory or to fail but in one line."""

import os
import pickle
import pickletools
import random
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flame_assets.inert.arrays import Unread, as_array
from flame_assets.inert.checkpoints import TorchFile
from flame_assets.inert.files import ReadError, read_regular
from flame_assets.inert.npy import parse_npy, parse_npy_header, read_npz
from flame_assets.inert.pickle_graph.machine import PickleMachine
from flame_assets.inert.pickle_graph.opcodes import read_graph, read_pairs
from flame_assets.inert.pickle_graph.tensors import TensorRef
from flame_assets.inert.pickles import parse_pickle, read_pickle
from flame_assets.inert.zips import ZipReader


class Hostile:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def text_pickle(*lines):
    return "\n".join(lines).encode()


def hostile_pickles(flag):
    """name -> (bytes, words of the refusal); each would create the file `flag` or exhaust us."""
    touch, code = f"touch {flag}", f"open({str(flag)!r}, 'w')"
    return {
        "os.system": (pickle.dumps(Hostile(os.system, touch)), "system"),
        "eval": (pickle.dumps(Hostile(eval, code)), r"builtins\.eval"),
        "python 2 eval": (text_pickle("c__builtin__", "eval", f"(V{code}", "tR."), "eval"),
        "getattr": (text_pickle("cbuiltins", "getattr", "(I1", "Vx", "tR."), "getattr"),
        "numpy load": (text_pickle("cnumpy", "load", "(Vx.npy", "tR."), r"numpy\.load"),
        "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0ftesting.os.open\x93.", "testing"),
        "torch load": (text_pickle("ctorch", "load", "(Vx.pt", "tR."), r"torch\.load"),
        "popen class": (b"\x80\x02csubprocess\nPopen\n(Vtouch\nt\x81.", "Popen"),
        "instance opcode": (text_pickle("(Vtouch", "isubprocess", "Popen", "."), "Popen"),
        "object opcode": (text_pickle("(cos", "system", "Vtouch", "o."), r"os\.system"),
        "extension": (b"\x80\x02\x82\x01.", "extension registry"),
        "another file": (b"\x80\x05\x97.", "another file"),
        "hidden in a key": (
            b"\x80\x02}X\x01\x00\x00\x00acposix\nsystem\nX\x01\x00\x00\x00b\x85Rs.",
            "posix",
        ),
        "deep lists": (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", "deeper than 100"),
        "deep tuples": (b"\x80\x02)" + b"\x85" * 20_000 + b".", "deeper than 100"),
        "deep marks": (b"\x80\x02" + b"(" * 20_000 + b".", "deeper than 100"),
        "deep calls": (
            b"\x80\x02)" + b"ccollections\nOrderedDict\n0" + b"\x85" * 3000 + b".",
            "deeper than 100",
        ),
        "a tuple as key": (b"\x80\x02})" + b"\x85" * 20_000 + b"Ns.", "deeper than 100"),
        "billion laughs": (b"\x80\x02)" + b"q\x01h\x01\x86" * 1000 + b".", "deeper than 100"),
        "laughs within 90 levels": (b"\x80\x02)" + b"q\x01h\x01\x86" * 90 + b".", "8000000 values"),
        "long text many times": (
            b"\x80\x02(X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
            + b"h\x00" * 1000 + b"l.",
            "8000000 values",
        ),
        "a list in itself": (b"\x80\x02]q\x00h\x00a.", "contains itself"),
        "a dict in itself": (b"\x80\x02}q\x00K\x01h\x00s.", "contains itself"),
        "a long number": (b"\x80\x02\x8b" + struct.pack("<I", 9999) + bytes(9999) + b".", "digits"),
        "a long number in text": (b"\x80\x02I" + b"9" * 5000 + b"\n.", "readable"),
        "bytes that are not there": (b"\x80\x02T\xff\xff\xff\x7fabc.", "readable"),
        "more bytes than a file has": (b"\x80\x04\x8e" + b"\xff" * 8 + b"abc.", "readable"),
        "data elsewhere": (b"\x80\x02X\x01\x00\x00\x00aQ.", "outside itself"),
        "copies without end": (
            b"\x80\x02(X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
            + (b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 500) + b"l.",
            "unfolds",
        ),
        "lists without end": (
            b"\x80\x02((" + b"N" * 100_000 + b"lq\x00"
            + (b"cbuiltins\nlist\nh\x00\x85R" * 1000) + b"l.",
            "unfolds",
        ),
        "empty": (b"", "is empty"),
        "a photo": (b"\xff\xd8\xff\xe0" + bytes(100), "picture"),
        "a git pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        "a web page": (b"\n <!DOCTYPE html><html>\x1b[31m", "web page"),
        "a zip": (b"PK\x03\x04" + bytes(100), "zip archive"),
        "text": (b"hello, world\n", "text file"),
        "truncated": (pickle.dumps({"v_template": np.zeros(9)})[:-20], "readable"),
        "no stop": (b"\x80\x02N", "readable"),
        "nothing left": (b"\x80\x02.", "readable"),
        "pop of nothing": (b"\x80\x020.", "readable"),
        "mark of nothing": (b"\x80\x02t.", "readable"),
        "a dict of half a pair": (b"\x80\x02(K\x01d.", "readable"),
        "half a pair for a dict": (b"\x80\x02}(K\x01u.", "readable"),
        "unknown opcode": (b"\x80\x02\xff.", "readable"),
        "memo of nothing": (b"\x80\x02h\x05.", "readable"),
        "line ends": (pickle.dumps(np.arange(5), 0).replace(b"\n", b"\r\n"), "copy it in binary"),
        "line ends in a binary one": (
            pickle.dumps(np.arange(5), 2).replace(b"\n", b"\r\n"),
            "copy it in binary",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(hostile_pickles("x")))
def test_hostile_pickles_are_refused_in_one_line_and_never_run(name, tmp_path):
    flag = tmp_path / "was_run"
    data, words = hostile_pickles(flag)[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=words) as caught:
        read_pickle(path)
    assert str(caught.value).startswith(f"{path} ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 500
    assert not flag.exists()


def test_steps_are_counted():
    endless = b"\x80\x02" + b"N0" * 600 + b"N."
    assert read_graph(PickleMachine(endless), 2000) is None
    with pytest.raises(ReadError, match="more than 1000 steps"):
        read_graph(PickleMachine(endless), 1000)
    dictionary = b"\x80\x02}K\x01" + b"N0" * 600 + b"Ns."
    assert list(read_pairs(PickleMachine(dictionary), 2000)) == [[1, None], []]
    with pytest.raises(ReadError, match="more than 1000 steps"):
        list(read_pairs(PickleMachine(dictionary), 1000))


def array_pickle(code, shape, raw, order=b"<"):
    """What NumPy writes for an array, with whatever is in it."""
    return (
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(" + shape + b"tcnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"K\x00K\x01tR"
        b"(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89B" + struct.pack("<I", len(raw)) + raw + b"tb."
    )


def test_forged_arrays_are_not_interpreted():
    assert parse_pickle(array_pickle(b"f4", b"K\x02", bytes(8))).tolist() == [0, 0]
    with pytest.raises(ReadError, match="malformed"):  # pointers out of the file
        parse_pickle(array_pickle(b"O8", b"K\x01", b"A" * 8, b"|"))
    for code in (b"V8", b"U2", b"S8", b"M8", b"f16", b"f3", b"i4,i4", b"(2,)i4", b"f\xff"):
        assert isinstance(parse_pickle(array_pickle(code, b"K\x01", b"A" * 8)), Unread)
    with pytest.raises(ReadError, match="8 bytes: it is cut"):
        parse_pickle(array_pickle(b"f4", b"J\xff\xff\xff\x7f", bytes(8)))
    for shape in (b"J\xff\xff\xff\xff", b"K\x01G" + bytes(8), b"K\x02]", b"K\x01" * 40):
        with pytest.raises(ReadError, match="malformed"):
            parse_pickle(array_pickle(b"f4", shape, bytes(8)))
    huge = b"\x8a\x08" + b"\xff" * 7 + b"\x7f" + b"\x8a\x08" + b"\xff" * 7 + b"\x7f" + b"K\x00"
    with pytest.raises(ReadError, match="cut or damaged"):
        parse_pickle(array_pickle(b"f4", huge, b""))
    odd = parse_pickle(array_pickle(b"b1", b"K\x03", b"\x00\x01\x42", b"|"))
    assert odd.view(np.uint8).tolist() == [0, 1, 1]


def test_numpy_calls_with_the_files_own_memory_are_not_made():
    for call in (Hostile(np.ndarray, (10**9,), "O"), Hostile(np.ndarray, (1,), "O", b"A" * 8)):
        with pytest.raises(ReadError, match=r"numpy\.ndarray where an array should be"):
            as_array(parse_pickle(pickle.dumps(call)))


def sparse_pickle(**state):
    import scipy.sparse

    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.__dict__ |= state
    return pickle.dumps(matrix)


@pytest.mark.parametrize(
    "state",
    [
        {"_shape": (10**9, 10**9)},
        {"_shape": (-3, -3)},
        {"_shape": (3,)},
        {"indices": np.array([0, 1, 3])},
        {"indices": np.array([0, -1, 2])},
        {"indices": np.array([0.0, 1.0, 2.0])},
        {"indptr": np.array([0, 3, 1, 3])},
        {"indptr": np.array([0, 1, 2, 4])},
        {"indptr": np.array([0, 3])},
        {"data": np.ones(2)},
        {"data": "text"},
    ],
)
def test_malformed_sparse_matrices_are_refused(state):
    with pytest.raises(ReadError, match="holds a"):
        as_array(parse_pickle(sparse_pickle(**state)))


def test_lists_that_unfold_without_end_are_no_array():
    rows = [0.0] * 100
    for _ in range(8):
        rows = [rows] * 100  # 10^18 numbers in a kilobyte
    with pytest.raises(ReadError, match="too long"):
        as_array(rows)
    for odd in ("text", None, {}, [None], ["a"], [1, [2]], [[1], 2], [1 << 70], [Unread("x")]):
        with pytest.raises(ReadError, match="holds"):
            as_array(odd)


# ---------------------------------------------------------------- .npy, .npz


def npy(header, body=b"", version=1):
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + body


GOOD = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    "header",
    [
        GOOD,
        b'{"shape": (2L, ), "fortran_order": True, "descr": "<f8"}   \n',
        b"{'shape':(2,),'descr':'<f8','fortran_order':False}",
    ],
)
def test_headers_as_other_programs_write_them(header, version):
    assert parse_npy(npy(header, bytes(16), version)).tolist() == [0, 0]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{" * 60_000,
        b"{'descr': '<f8', 'shape': (2,)}",
        b"{'descr': ('<f8', 'fortran_order': False, 'shape': (2,), }",
        GOOD.replace(b"(2,)", b"(2,-1)"),
        GOOD.replace(b"(2,)", b"(2.0,)"),
        GOOD.replace(b"(2,)", b"(" + b"9" * 5000 + b",)"),
        GOOD.replace(b"(2,)", "(²,)".encode()),
        GOOD.replace(b"False", b"__import__('os').system('x')"),
        GOOD.replace(b"'<f8'", b"'''<f8"),
        GOOD.replace(b"'<f8'", b"[('a', '<f8')]"),
        GOOD.replace(b"<f8", b"<U8"),
        GOOD.replace(b"<f8", b"|V8"),
        GOOD.replace(b"}", b"'more': 1}"),
    ],
)
def test_headers_that_numpy_does_not_write_are_one_line(header):
    for data in (npy(header, bytes(16)), npy(header, bytes(16), 2)):
        with pytest.raises(ReadError, match="header|not of numbers") as caught:
            parse_npy(data)
        assert len(str(caught.value)) <= 500


def test_files_that_are_no_npy_are_told_what_they_are():
    for data, words in [
        (b"", "is empty"),
        (b"\x93NUMPY", r"no \.npy"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (npy(GOOD, bytes(15)), "cut or damaged"),
        (npy(GOOD, bytes(16), 4), "NumPy does not write"),
        (npy(GOOD.replace(b"<f8", b"|O"), b"\x80\x02junk"), "readable"),
    ]:
        with pytest.raises(ReadError, match=words):
            parse_npy(data)
    assert parse_npy_header(npy(GOOD)).shape == (2,)


def test_members_of_a_zip_are_bounded_as_a_whole(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "abc":
            archive.writestr(name, bytes(4 << 20))
    with (tmp_path / "a.zip").open("rb") as file:
        archive = ZipReader(file, total=9 << 20)
        assert archive.read("c", 4 << 20) == archive.read("a", 4 << 20) == bytes(4 << 20)
        with pytest.raises(ReadError, match="member b of 4 MiB"):
            archive.read("b", 4 << 20)
        with pytest.raises(ReadError, match="member a of 4 MiB"):
            ZipReader(file, total=9 << 20).read("a", 1 << 20)


@pytest.mark.slow
def test_an_npz_is_bounded_as_a_whole_and_unwanted_members_are_left_alone(tmp_path):
    path = tmp_path / "a.npz"
    zeros = np.zeros(20 << 20, np.int64)  # 160 MiB unpack from 160 KiB
    np.savez_compressed(path, a=zeros, b=zeros, c=zeros, d=zeros, small=np.arange(3))
    assert list(read_npz(path, {"small"})) == ["small"]
    assert sorted(read_npz(path, {"a", "small"})) == ["a", "small"]
    with pytest.raises(ReadError, match=r"member d\.npy of 160 MiB"):
        read_npz(path)


def directory_of(data, **fields):
    """Zip bytes with numbers of its first directory entry changed."""
    offsets = {"flags": (8, "<H"), "method": (10, "<H"), "size": (24, "<I"), "at": (42, "<I")}
    data, start = bytearray(data), data.index(b"PK\x01\x02")
    for name, value in fields.items():
        at, code = offsets[name]
        struct.pack_into(code, data, start + at, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: d[:-30], "no readable zip"),
        (lambda d: b"PK" + bytes(50), "no readable zip"),
        (lambda d: b"", "no readable zip"),
        (lambda d: directory_of(d, flags=1), "encrypted"),
        (lambda d: directory_of(d, method=14), "compression"),
        (lambda d: directory_of(d, size=0xFFFFFF00), "of 4095 MiB"),
        (lambda d: directory_of(d, size=1000), "damaged member"),
        (lambda d: directory_of(d, at=5), "damaged member"),
        (lambda d: d.replace(b"\x93NUMPY", b"\x93NUMPX", 1), "damaged member"),
        (lambda d: d[:-22] + d[-22:-10] + struct.pack("<I", 1 << 28) + d[-6:], "directory of 256"),
    ],
)
def test_damaged_zips_are_one_line(tmp_path, damage, words):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(3))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ReadError, match=words):
        read_npz(path)


def test_a_zip_of_too_many_members_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for index in range(20_001):
            archive.writestr(f"{index}.npy", b"")
    with pytest.raises(ReadError, match="20001 members"):
        read_npz(tmp_path / "a.npz")


# ---------------------------------------------------------------- no files at all


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in [
        (tmp_path / "pipe", "a pipe or a device"),
        ("/dev/zero", "a pipe or a device"),
        (tmp_path, "a folder"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / ("n" * 300), "name too long"),
    ]:
        with pytest.raises(ReadError, match=words):
            read_regular(type(tmp_path)(path), 100)
    (tmp_path / "big").write_bytes(bytes(101))
    with pytest.raises(ReadError, match="larger than 0 MiB"):
        read_regular(tmp_path / "big", 100)
    assert read_regular(tmp_path / "big", 1 << 50) == bytes(101)  # no memory for the limit


# ---------------------------------------------------------------- chance


def decode_everything(value, depth=0):
    """Make an array of whatever came; only ReadError may come of it."""
    if isinstance(value, dict | list | tuple) and depth < 5:
        for item in value.values() if isinstance(value, dict) else value:
            decode_everything(item, depth + 1)
    try:
        as_array(value)
    except ReadError:
        return


def seeds():
    import scipy.sparse

    content = {"a": np.arange(6.0).reshape(2, 3), "b": [1, "x", (None, 2.5)], "c": {1, 2}}
    more = {"s": scipy.sparse.csc_matrix(np.eye(3)), "t": torch.arange(4), "n": np.float32(1)}
    return [pickle.dumps(content, p) for p in range(6)] + [pickle.dumps(more, p) for p in (2, 5)]


SEEDS = seeds()
OPCODES = [o.code.encode("latin-1") for o in pickletools.opcodes if o.arg is None]
ARGUMENTS = [b"K\x01", b"h\x00", b"q\x00", b"X\x01\x00\x00\x00a", b"cnumpy\ndtype\n", b"\x85"]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=3)), max_size=4),
)
def test_damaged_pickles_give_an_answer_or_a_read_error(seed, edits):
    data = bytearray(seed)
    for at, new in edits:
        data[at : at + len(new)] = new
    try:
        decode_everything(parse_pickle(bytes(data)))
    except ReadError:
        return


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(OPCODES + ARGUMENTS * 4), max_size=40))
def test_random_programs_give_an_answer_or_a_read_error(steps):
    try:
        decode_everything(parse_pickle(b"\x80\x02" + b"".join(steps) + b"."))
    except ReadError:
        return


def mutated(rng, data):
    """`data` with a few bytes changed, a piece cut out, doubled or the end missing."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(data) + 1), rng.randint(1, 8)
        kind = rng.randrange(5)
        if kind == 0:
            del data[at : at + size]
        elif kind == 1:
            data[at:at] = data[at : at + size]
        elif kind == 2:
            data = data[: max(at, 1)]
        else:
            new = rng.choice([rng.randbytes(size), b"\xff" * size, bytes(size)])
            data[at : at + len(new)] = new
    return bytes(data)


def read_any(folder, kind, data):
    path = folder / f"a.{kind}"
    path.write_bytes(data)
    if kind == "pth":
        with TorchFile(path) as checkpoint:
            content = checkpoint.content
            for value in content.values() if isinstance(content, dict) else ():
                if isinstance(value, TensorRef):
                    checkpoint.read(value)
            for _, value in checkpoint.entries():
                decode_everything(value)
    elif kind == "npz":
        read_npz(path)
    elif kind == "npy":
        decode_everything(parse_npy(data))
    else:
        decode_everything(parse_pickle(data))


def files(folder):
    """Honest files of every kind: (kind, bytes)."""
    content = {"w": torch.randn(3, 4), "h": torch.ones(2).bfloat16(), "n": 1}
    for legacy in (False, True):
        torch.save(content, folder / "s.pth", _use_new_zipfile_serialization=not legacy)
        yield "pth", (folder / "s.pth").read_bytes()
    for save in (np.savez, np.savez_compressed):
        save(folder / "s.npz", a=np.arange(5), b=np.ones((2, 3), "f4"))
        yield "npz", (folder / "s.npz").read_bytes()
    for array in (np.arange(6.0).reshape(2, 3), np.array({"a": [1, np.ones(2)]}, dtype=object)):
        np.save(folder / "s.npy", array)
        yield "npy", (folder / "s.npy").read_bytes()
    for seed in SEEDS:
        yield "pkl", seed


def try_mutations(folder, count):
    rng, refused = random.Random(10), 0
    honest = list(files(folder))
    for kind, data in honest:
        read_any(folder, kind, data)
    for index in range(count):
        kind, data = honest[index % len(honest)]
        try:
            read_any(folder, kind, mutated(rng, data))
        except ReadError:
            refused += 1
    return refused


def test_damaged_files_of_every_kind_are_read_or_refused(tmp_path):
    assert 300 < try_mutations(tmp_path, 600) < 600


@pytest.mark.slow
def test_many_damaged_files_of_every_kind_are_read_or_refused(tmp_path):
    refused = try_mutations(tmp_path, 40_000)
    print(f"{refused} of 40000 mutated files refused, the others read")
    assert 20_000 < refused < 40_000
