"""HeadModel refuses what does not fit, and comes back from disk as it was or not at all."""

import errno
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers.flame_tiny import E, V, files_of_at_most, tiny_head
from helpers.worker_tasks import save_ten_versions

from flame_assets.arkit import EXPRESSIONS
from flame_assets.errors import UserError
from flame_assets.files import write_folder
from flame_assets.model.head import HeadModel, LidClosure, LidContact, array_fields
from flame_assets.model.head_io import load_head_folder, save_head


def wrong(name, change):
    head = tiny_head()
    return {name: change(getattr(head, name))}


def poked(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (wrong("template", lambda a: a.astype(float)), r"template: expected float32\[V, 3\], got"),
        (wrong("template", lambda a: a.tolist()), "got list"),
        (wrong("shape_basis", lambda a: a[:-1]), "shape_basis: expected .* with V=24"),
        (wrong("pose_basis", lambda a: a[..., :9]), r"pose_basis: expected float32\[V, 3, 36\]"),
        (wrong("template", lambda a: poked(a, 3, np.nan)), "finite"),
        (wrong("template", lambda a: a * 1000), "expected metres"),
        (wrong("shape_basis", lambda a: a * 1e30), "shape_basis: expected lengths of at most 10 m"),
        (wrong("joint_regressor", lambda a: a * 1e6), "joint_regressor: expected lengths"),
        (wrong("skinning_weights", lambda a: a + 1e4), "expected weights of at most 100"),
        (wrong("triangles", lambda a: poked(a, (0, 0), 24)), r"ids in 0\.\.23"),
        (wrong("triangles", lambda a: poked(a, (0, 0), -1)), r"got -1\.\."),
        (wrong("contour_triangles", lambda a: poked(a, (78, 16), 40)), "contour_triangles"),
        (wrong("landmark_barycentric", lambda a: a * 1.1), "rows that sum to 1"),
        (wrong("skinning_weights", lambda a: a * 0.9), "rows that sum to 1"),
        ({"joint_parents": (-1, 0, 1, 2, 2)}, "joint_parents"),
        ({"expression_names": ("a",) * E}, "3 different names"),
        ({"expression_convention": "smpl"}, "expected arkit, flame, pca, got 'smpl'"),
        ({"expression_convention": "arkit"}, "expected ARKit's, got smile, frown, blink"),
        ({"expression_bounds": (1.0, 0.0)}, "expression_bounds"),
        ({"name": "../tiny"}, "name"),
        ({"licence": "free\nv 9 9 9"}, "licence and names of expressions of one line"),
        ({"regions": {"face": np.array([24], np.int32)}}, r"regions\['face'\]"),
        ({"regions": {"Left Eye": np.array([1], np.int32)}}, "a-z"),
        ({"colours": np.full((24, 3), 1.5, np.float32)}, "colours"),
        ({"uv": np.zeros((4, 2), np.float32)}, "both or neither"),
    ],
)
@pytest.mark.usefixtures("unhooked")
def test_misfits_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_head(**changes)


@pytest.mark.usefixtures("unhooked")
def test_lid_contacts_are_checked():
    ids, radius = np.array([1], np.int32), np.array([0.01], np.float32)
    with pytest.raises(ValueError, match="eye joint"):
        LidContact(joint=2, vertices=ids, radius=radius)
    with pytest.raises(ValueError, match="radii above 0"):
        LidContact(joint=3, vertices=ids, radius=-radius)
    with pytest.raises(ValueError, match=r"LidContact.radius: expected float32\[n\] with n=1"):
        LidContact(joint=3, vertices=ids, radius=np.ones(2, np.float32))


def closing(expression="blink", columns=7, vertex=3):
    basis = np.linspace(-1e-3, 1e-3, 3 * columns, dtype=np.float32).reshape(1, 3, columns)
    ids = np.array([vertex], np.int32)
    return LidClosure(expression=expression, vertices=ids, basis=basis)


@pytest.mark.parametrize(
    ("closure", "message"),
    [
        (closing(expression="wink"), "names of expressions, got 'wink'"),
        (closing(columns=6), "one column per coefficient, 7, got 6"),
        (closing(vertex=V), "lid_closures: expected ids in"),
    ],
)
@pytest.mark.usefixtures("unhooked")
def test_lid_closures_are_checked(closure, message):
    with pytest.raises(ValueError, match=message):
        tiny_head(lid_closures=(closure,))


def test_arrays_are_read_only_and_the_callers_stay_writable():
    mine = tiny_head().template.copy()
    head = tiny_head(template=mine)
    with pytest.raises(ValueError, match="read-only"):
        head.template[0] = 0
    mine[0, 0] = 0.05


def assert_same(a: HeadModel, b: HeadModel):
    for name in array_fields(HeadModel):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    texts = ("name", "version", "licence", "expression_convention", "expression_names")
    for name in (*texts, "expression_bounds"):
        assert getattr(a, name) == getattr(b, name)
    assert {k: v.tolist() for k, v in a.regions.items()} == {
        k: v.tolist() for k, v in b.regions.items()
    }
    for x, y in zip(a.lid_contacts, b.lid_contacts, strict=True):
        assert x.joint == y.joint
        np.testing.assert_array_equal(x.vertices, y.vertices)
        np.testing.assert_array_equal(x.radius, y.radius)
    for x, y in zip(a.lid_closures, b.lid_closures, strict=True):
        assert x.expression == y.expression
        np.testing.assert_array_equal(x.vertices, y.vertices)
        np.testing.assert_array_equal(x.basis, y.basis)


@pytest.mark.parametrize("full", [True, False])
def test_disk_round_trip(tmp_path, full):
    extra = {
        "expression_bounds": (0.0, 1.0),
        "colours": np.full((24, 3), 0.5, np.float32),
        "uv": np.linspace(0, 1, 10, dtype=np.float32).reshape(5, 2),
        "uv_triangles": np.zeros((40, 3), np.int32),
        "lid_closures": (closing(), closing("frown")),
    }
    head = tiny_head(**extra) if full else tiny_head(lid_contacts=(), regions={})
    assert_same(load_head_folder(save_head(head, tmp_path / "a" / "head")), head)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["head"]


@pytest.mark.parametrize(
    ("names", "convention"),
    [
        (("smile", "frown", "blink"), "pca"),
        (("expression_000", "expression_001", "expression_002"), "flame"),
        (EXPRESSIONS, "arkit"),
    ],
)
def test_a_folder_from_before_the_convention_was_written_loads(tmp_path, names, convention):
    basis = np.zeros((V, 3, len(names)), np.float32)
    head = tiny_head(expression_names=names, expression_basis=basis)
    folder = save_head(head, tmp_path / "head")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["expression_convention"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert load_head_folder(folder).expression_convention == convention


def test_saving_replaces_heads_and_nothing_else(tmp_path):
    save_head(tiny_head(version="1"), tmp_path / "head")
    save_head(tiny_head(version="2"), tmp_path / "head")
    assert load_head_folder(tmp_path / "head").version == "2"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds no head"):
        save_head(tiny_head(), tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_a_failing_write_leaves_nothing(tmp_path):
    def fill(place):
        (place / "half").write_text("...")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_folder(tmp_path / "head", fill)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    for name, age_s in ((".head.new-1", 100_000), (".head.old-2", 100_000), (".head.new-3", 100)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    save_head(tiny_head(), tmp_path / "head")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".head.new-3", "head"]


SAVE_FOREVER = """
import sys
from pathlib import Path
from helpers.flame_tiny import tiny_head
from flame_assets.model.head_io import save_head
print("ready", flush=True)
version = 0
while True:
    version += 1
    save_head(tiny_head(version=str(version)), Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_a_head_is_whole_whenever_its_writer_is_killed(tmp_path):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[2], *sys.path[1:])))
    }
    save_head(tiny_head(version="0"), tmp_path / "head")
    for round_ in range(20):
        command = [sys.executable, "-c", SAVE_FOREVER, str(tmp_path / "head")]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(0.01 * round_)
            process.kill()
        if (tmp_path / "head").exists():  # killed between the two moves of a replacement
            assert int(load_head_folder(tmp_path / "head").version) >= 0
        assert not [path for path in tmp_path.iterdir() if not path.name.startswith((".", "head"))]


def test_a_full_disk_is_one_line_and_spares_the_older_head(tmp_path):
    save_head(tiny_head(version="1"), tmp_path / "head")
    with files_of_at_most(1000), pytest.raises(UserError, match="cannot write .*make room"):
        save_head(tiny_head(version="2"), tmp_path / "head")
    assert load_head_folder(tmp_path / "head").version == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["head"]


def test_a_folder_that_is_held_open_is_one_line(tmp_path, monkeypatch):
    save_head(tiny_head(version="1"), tmp_path / "head")

    def rename(source, target):
        raise PermissionError(errno.EACCES, "held by another program", str(source))

    monkeypatch.setattr(os, "rename", rename)  # as Windows does
    with pytest.raises(UserError, match="held by another program"):
        save_head(tiny_head(version="2"), tmp_path / "head")
    assert [p.name for p in tmp_path.iterdir()] == ["head"]


def damage(folder, kind):
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    tensors = folder / "model.safetensors"
    if kind == "bits":
        data = bytearray(tensors.read_bytes())
        data[-1] ^= 1
        tensors.write_bytes(data)
    elif kind == "gone":
        tensors.unlink()
    elif kind == "no manifest":
        manifest.unlink()
    elif kind == "cut manifest":
        manifest.write_text(manifest.read_text()[:50])
    elif kind == "newer":
        manifest.write_text(json.dumps(content | {"format_version": 2}))
    elif kind == "foreign":
        manifest.write_text(json.dumps([1]))
    elif kind == "names":
        manifest.write_text(json.dumps(content | {"expression_names": ["a"]}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bits", "sha256"),
        ("gone", "incomplete"),
        ("no manifest", "holds no head"),
        ("cut manifest", "cannot read"),
        ("newer", "format_version 1, got 2"),
        ("foreign", "describes no head"),
        ("names", "no valid head: HeadModel.expression_names"),
    ],
)
def test_damage_on_disk_is_one_clear_line(tmp_path, kind, message):
    folder = save_head(tiny_head(), tmp_path / "head")
    damage(folder, kind)
    with pytest.raises(UserError, match=message) as caught:
        load_head_folder(folder)
    assert "\n" not in str(caught.value)


def with_manifest(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, value in changes.items():
        (manifest["tensors"] if name in manifest["tensors"] else manifest)[name] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))


ANYTHING = [None, True, 5, -1, 10**400, float("nan"), float("inf"), "x", "", [], [None], {}, [[1]]]
"""Values of every type, for every entry of a manifest."""


def refusal(folder):
    """What is said of a folder that does not load."""
    try:
        load_head_folder(folder)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:12])
@pytest.mark.usefixtures("unhooked")
def test_manifests_of_any_type_are_read_or_one_line(tmp_path, value):
    folder = save_head(tiny_head(), tmp_path / "head")
    good = (folder / "manifest.json").read_text()
    for name in (*json.loads(good), "sha256", "bytes"):
        with_manifest(folder, **{name: value})
        line = refusal(folder)
        text = type(value) is str and name in ("version", "licence")
        free = name in ("unit", "file") or text or (name, value) == ("name", "x")
        if free or (name == "expression_bounds" and value is None):
            assert line is None
        else:
            assert str(folder) in line
            assert len(line) < 500
            assert line.isprintable()
        (folder / "manifest.json").write_text(good)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '"' + "x" * 10, "\ud800", b"\xff\xfe{}", b"\0"],
)
def test_manifests_of_any_depth_or_text_are_one_line(tmp_path, text):
    folder = save_head(tiny_head(), tmp_path / "head")
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    (folder / "manifest.json").write_bytes(data)
    with pytest.raises(UserError, match="cannot read|describes no head") as caught:
        load_head_folder(folder)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def replace_tensors(folder, tensors):
    """Other tensors with the right checksum: a head that its maker got wrong."""
    data = safetensors.numpy.save(tensors)
    (folder / "model.safetensors").write_bytes(data)
    with_manifest(folder, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


@pytest.mark.usefixtures("unhooked")
def test_missing_tensors_are_named(tmp_path):
    folder = save_head(tiny_head(), tmp_path / "head")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    for name in tensors:
        if name.startswith("regions/"):
            continue
        replace_tensors(folder, {key: value for key, value in tensors.items() if key != name})
        with pytest.raises(UserError, match=f"model.safetensors lacks {name};"):
            load_head_folder(folder)
    replace_tensors(folder, {})
    with pytest.raises(UserError, match="lacks template"):
        load_head_folder(folder)
    bad = tensors | {"template": np.full_like(tensors["template"], np.nan)}
    replace_tensors(folder, bad)
    with pytest.raises(UserError, match="expected finite numbers"):
        load_head_folder(folder)
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    with_manifest(folder, sha256=hashlib.sha256(b"\xff" * 100).hexdigest(), bytes=100)
    with pytest.raises(UserError, match="holds no valid head"):
        load_head_folder(folder)


@pytest.mark.skipif(os.name == "nt", reason="has pipes among files")
def test_pipes_in_a_head_folder_are_refused_at_once(tmp_path):
    for name in ("model.safetensors", "manifest.json"):
        folder = save_head(tiny_head(), tmp_path / name)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(UserError, match="a pipe or a device"):
            load_head_folder(folder)


def test_parallel_writers_leave_one_whole_head(tmp_path):
    context = multiprocessing.get_context("spawn")
    folder = str(tmp_path / "head")
    workers = [context.Process(target=save_ten_versions, args=(folder,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert load_head_folder(Path(folder)).version == "9"
    assert [p.name for p in tmp_path.iterdir()] == ["head"]
