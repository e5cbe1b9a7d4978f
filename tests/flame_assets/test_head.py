"""HeadModel refuses what does not fit, and comes back from disk as it was or not at all."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from helpers.flame_tiny import E, V, files_of_at_most, tiny_head

from flame_assets.arkit import EXPRESSIONS
from flame_assets.errors import UserError
from flame_assets.model.head import HeadModel, LidContact, array_fields
from flame_assets.model.head_io import write_folder


@pytest.fixture
def unhooked():
    """Without the tests' own type checks: the errors that users see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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
        (wrong("template", lambda a: a.tolist()), r"got list\[24, 3\]"),
        (wrong("shape_basis", lambda a: a[:-1]), "shape_basis: expected .* with V=24"),
        (wrong("pose_basis", lambda a: a[..., :9]), r"pose_basis: expected float32\[V, 3, 36\]"),
        (wrong("template", lambda a: poked(a, 3, np.nan)), "finite"),
        (wrong("template", lambda a: a * 1000), "expected metres"),
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


@pytest.mark.parametrize("full", [True, False])
def test_disk_round_trip(tmp_path, full):
    extra = {
        "expression_bounds": (0.0, 1.0),
        "colours": np.full((24, 3), 0.5, np.float32),
        "uv": np.linspace(0, 1, 10, dtype=np.float32).reshape(5, 2),
        "uv_triangles": np.zeros((40, 3), np.int32),
    }
    head = tiny_head(**extra) if full else tiny_head(lid_contacts=(), regions={})
    assert_same(HeadModel.load(head.save(tmp_path / "a" / "head")), head)
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
    folder = head.save(tmp_path / "head")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["expression_convention"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert HeadModel.load(folder).expression_convention == convention


def test_saving_replaces_heads_and_nothing_else(tmp_path):
    tiny_head(version="1").save(tmp_path / "head")
    tiny_head(version="2").save(tmp_path / "head")
    assert HeadModel.load(tmp_path / "head").version == "2"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds no head"):
        tiny_head().save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_a_failing_write_leaves_nothing(tmp_path):
    def fill(place):
        (place / "half").write_text("...")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_folder(tmp_path / "head", fill)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_spares_the_older_head(tmp_path):
    tiny_head(version="1").save(tmp_path / "head")
    with files_of_at_most(1000), pytest.raises(UserError, match="cannot write .*make room"):
        tiny_head(version="2").save(tmp_path / "head")
    assert HeadModel.load(tmp_path / "head").version == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["head"]


def test_a_folder_that_is_held_open_is_one_line(tmp_path, monkeypatch):
    tiny_head(version="1").save(tmp_path / "head")

    def rename(source, target):
        raise PermissionError(errno.EACCES, "held by another program", str(source))

    monkeypatch.setattr(os, "rename", rename)  # as Windows does
    with pytest.raises(UserError, match="held by another program"):
        tiny_head(version="2").save(tmp_path / "head")
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
    folder = tiny_head().save(tmp_path / "head")
    damage(folder, kind)
    with pytest.raises(UserError, match=message) as caught:
        HeadModel.load(folder)
    assert "\n" not in str(caught.value)


def save_many(folder: str) -> None:
    for version in range(10):
        tiny_head(version=str(version)).save(Path(folder))


def test_parallel_writers_leave_one_whole_head(tmp_path):
    context = multiprocessing.get_context("spawn")
    folder = str(tmp_path / "head")
    workers = [context.Process(target=save_many, args=(folder,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert HeadModel.load(folder).version == "9"
    assert [p.name for p in tmp_path.iterdir()] == ["head"]
