"""Heads are found by name, built once, safe under several processes, and never silently broken."""

import os
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import pytest
from helpers.flame_tiny import files_of_at_most, tiny_head

from flame_assets import store
from flame_assets.errors import UserError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def anthro(monkeypatch):
    """A stand-in for the builder; `.built` counts the calls."""
    fake = types.ModuleType("flame_assets.anthro")
    fake.built = 0

    def build_anthro():
        fake.built += 1
        return tiny_head(name="anthro", version=str(fake.built))

    fake.build_anthro = build_anthro
    monkeypatch.setitem(sys.modules, "flame_assets.anthro", fake)
    monkeypatch.setattr(store, "_anthro_key", lambda: "key1")
    return fake


def test_home_is_the_environments_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path))
    assert store.home() == tmp_path
    monkeypatch.delenv("PACOFR_HOME")
    assert store.home().name == "pacofr"


def test_auto_prefers_flame_and_falls_back_to_anthro(home, anthro):
    assert store.load_head().name == "anthro"
    for name in ("mine", "flame2023-open", "flame2020-generic"):
        store.add_head(tiny_head(name=name))
        assert store.load_head("auto").name == name
    assert store.load_head("flame2020").name == "flame2020-generic"
    assert store.load_head("anthro").name == "anthro"
    assert store.load_head(home / "heads" / "mine").name == "mine"


def test_unknown_names_and_wrong_folders_say_what_there_is(home, anthro, tmp_path):
    store.add_head(tiny_head(name="mine"))
    with pytest.raises(UserError, match="no head 'flame2019': expected auto, anthro, mine or a"):
        store.load_head("flame2019")
    with pytest.raises(UserError, match="holds no head"):
        store.load_head(tmp_path)
    with pytest.raises(UserError, match="--name"):
        store.add_head(tiny_head(name="anthro"))


def test_anthro_is_built_once_per_source_and_again_when_damaged(home, anthro, monkeypatch):
    assert [store.load_head("anthro").version for _ in range(2)] == ["1", "1"]
    (home / "cache" / "anthro-key1" / "model.safetensors").write_bytes(b"gone bad")
    assert store.load_head("anthro").version == "2"
    assert store.load_head("anthro").version == "2"
    for key in ("key2", "key3", "key4", "key5"):
        monkeypatch.setattr(store, "_anthro_key", lambda key=key: key)
        store.load_head("anthro")
        os.utime(home / "cache" / f"anthro-{key}", (time.time(), 1e9 + int(key[-1])))
    kept = sorted(path.name for path in (home / "cache").iterdir())
    assert len(kept) == store.KEPT_ANTHROS
    assert kept[-1] == "anthro-key5"


def test_anthros_key_follows_its_source(tmp_path, monkeypatch):
    (tmp_path / "anthro").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "head.py").write_text("")
    (tmp_path / "arkit.py").write_text("")
    source = tmp_path / "anthro" / "shape.py"
    monkeypatch.setattr(store, "__file__", str(tmp_path / "store.py"))
    keys = set()
    for text in ("a = 1", "a = 2", "a = 1"):
        source.write_text(text)
        keys.add(store._anthro_key())
    assert len(keys) == 2


def test_an_unwritable_home_costs_time_not_the_head(anthro, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "file" / "home"))
    assert store.load_head("anthro").name == "anthro"
    assert "built anew" in caplog.text


def test_a_full_disk_costs_time_not_the_head(home, anthro, caplog):
    with files_of_at_most(1000):
        assert store.load_head("anthro").name == "anthro"
    assert "built anew" in caplog.text
    assert "make room" in caplog.text
    assert not list((home / "cache").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")
def test_a_shared_store_is_readable_to_others(home):
    before = os.umask(0o022)
    try:
        folder = store.add_head(tiny_head(name="mine"))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {"mine": 0o755, "model.safetensors": 0o644, "manifest.json": 0o644}


def test_status_tells_intact_from_damaged(home, anthro):
    assert store.status() == []
    store.add_head(tiny_head(name="mine"))
    store.load_head("anthro")
    assert [(head.name, head.intact) for head in store.status()] == [
        ("mine", True),
        ("anthro", True),
    ]
    tensors = home / "heads" / "mine" / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"?")
    assert not store.status()[0].intact
    (home / "heads" / "mine" / "manifest.json").write_text("{")
    assert store.status()[0].name == "mine"
    assert not store.status()[0].intact


def test_processes_may_build_anthro_at_the_same_time(tmp_path):
    code = textwrap.dedent("""
        import sys, types
        from helpers.flame_tiny import tiny_head
        fake = types.ModuleType("flame_assets.anthro")
        fake.build_anthro = lambda: tiny_head(name="anthro")
        sys.modules["flame_assets.anthro"] = fake
        from flame_assets.store import load_head
        for _ in range(10):
            assert load_head("anthro").name == "anthro"
    """)
    environment = os.environ | {
        "PACOFR_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    runs = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert len(list((tmp_path / "cache").iterdir())) == 1
