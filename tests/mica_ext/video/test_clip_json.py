"""The parameter file of a video: what is written comes back, and anything else is one line."""

import contextlib
import json

import numpy as np
import pytest
import torch
from helpers.clips import toy_clip
from helpers.mica_toy import toy_head
from helpers.mutations import damaged_bytes, damaged_json

from mica_ext.errors import UserError
from mica_ext.export.clip_json import load_clip, save_clip

HEAD = toy_head()


@pytest.fixture
def path(tmp_path):
    save_clip(tmp_path / "clip.json", toy_clip(HEAD))
    return tmp_path / "clip.json"


def test_a_clip_comes_back(path):
    clip, again = toy_clip(HEAD), load_clip(path)
    for part in (0, 1):
        for wanted, got in zip(clip.parameters[part], again.parameters[part], strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(again.times_s, clip.times_s, atol=1e-6)
    np.testing.assert_allclose(again.confidence, clip.confidence, atol=1e-3)
    plain = {"parameters": None, "times_s": None, "confidence": None}
    assert again._replace(**plain) == clip._replace(**plain)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("time", [0.0, 0.1, 0.1, 0.2, 0.3, 0.4], "increasing"),
        ("time", [0.0], "6 frames"),
        ("state", ["lost"] * 6, "tracked"),
        ("state", [], "tracked"),
        ("jaw_pose", [[0.0, 0.0]] * 6, "3 numbers"),
        ("jaw_pose", [[0.0, True, 0.0]] * 6, "numbers"),
        ("expression", [[10**400] * 3] * 6, "finite"),
        ("translation", [[0.0, 0.0, 1e300]] * 6, "finite"),
    ],
)
def test_frames_that_are_none_are_refused(path, key, value, said):
    content = json.loads(path.read_text())
    content["frames"][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"frames\.{key}.*{said}"):
        load_clip(path)


@pytest.mark.parametrize("shots", [[], [[0, 3]], [[0, 3], [4, 6]], [[0, 9], [9, 6]]])
def test_shots_cover_all_frames(path, shots):
    content = json.loads(path.read_text())
    content["shots"] = shots
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="shots"):
        load_clip(path)


def test_damaged_files_are_read_or_refused(path):
    content, data = json.loads(path.read_text()), path.read_bytes()
    variants = [text.encode() for text in damaged_json(content, seed=0, count=150)]
    for variant in [*variants, *damaged_bytes(data, seed=1, count=100)]:
        path.write_bytes(variant)
        with contextlib.suppress(UserError):  # else it must be whole
            clip = load_clip(path)
            assert clip.parameters.head.expression.shape[0] == len(clip.times_s)
