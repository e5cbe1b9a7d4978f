"""The cache of compiled kernels: used when intact, made anew when damaged, optional when full."""

import importlib.util
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numba
import pytest

KERNEL = """
from eval_now.geometry.numba_jit import cached_njit

@cached_njit()
def add(a, b):
    return a + b
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Imports the same kernel again, as another process would, with a cache folder of its own."""
    path = tmp_path / "kernel.py"
    path.write_text(KERNEL)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location("kernel", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def hits(module: ModuleType) -> int:
    assert module.add(2, 3) == 5
    return sum(module.add.stats.cache_hits.values())


def cache_files(tmp_path: Path, suffix: str) -> list[Path]:
    files = list((tmp_path / "cache").rglob(f"*{suffix}"))
    assert files
    return files


def test_compiled_code_is_found_again(kernel):
    assert hits(kernel()) == 0
    assert hits(kernel()) == 1


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: data[: len(data) // 2] + bytes(8) + data[len(data) // 2 + 8 :],
        lambda data: b"\x80\x04c__builtin__\neval\n" + data,
    ],
)
def test_a_damaged_cache_is_made_anew(kernel, tmp_path, suffix, damage):
    assert hits(kernel()) == 0
    for path in cache_files(tmp_path, suffix):
        path.write_bytes(damage(path.read_bytes()))
    assert hits(kernel()) == 0
    assert hits(kernel()) == 1


def test_a_missing_file_or_a_folder_in_its_place_costs_a_compilation(kernel, tmp_path):
    hits(kernel())
    for path in cache_files(tmp_path, ".nbc"):
        path.unlink()
    assert hits(kernel()) == 0
    for path in cache_files(tmp_path, ".nbi"):
        path.unlink()
        path.mkdir()
    assert hits(kernel()) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_costs_a_compilation(tmp_path):
    """No file of this process may grow: what a full disk refuses, the limit refuses alike."""
    (tmp_path / "kernel.py").write_text(KERNEL)
    done = subprocess.run(
        [sys.executable, "-c", "import kernel; print(kernel.add(2, 3))"],
        env=os.environ
        | {
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
            "PYTHONPATH": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"5\n", done.stderr
    assert done.returncode == 0
    assert not list((tmp_path / "cache").rglob("*.nb*"))


def test_a_cache_folder_that_cannot_be_made_costs_a_compilation(kernel, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file/cache"))
    assert hits(kernel()) == 0
    (tmp_path / "kernel.py").write_text(KERNEL.replace("a + b", "b + a"))
    os.utime(tmp_path / "kernel.py", (time.time() + 9, time.time() + 9))
    assert hits(kernel()) == 0  # the folder beside the source serves, and knows the new source
