"""Files come whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pacofr.utils.files import write_atomic, write_json, write_png


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_json(file, {"x": [1.5, None], "where": Path("b/c")})
    assert json.loads(file.read_text()) == {"x": [1.5, None], "where": "b/c"}
    true_write = Path.write_bytes

    def full_disk(path, data):
        true_write(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomic(file, b"something else")
    assert json.loads(file.read_text())["x"] == [1.5, None]
    assert list(tmp_path.iterdir()) == [file]


def test_numbers_of_other_kinds_never_become_text(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": np.float32(1.5)})


def test_pictures_are_rgb_and_lossless(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as again:
        assert np.array_equal(np.asarray(again), picture)
