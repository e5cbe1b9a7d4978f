"""FLAME coefficients by the names and layouts that public trackers write."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mica_ext.conversion.fields import read_fields
from mica_ext.conversion.head_files import head_motion, read_folder, write_head_motion
from mica_ext.errors import UserError

RNG = np.random.default_rng(3)
EXPRESSION, JAW = RNG.standard_normal((4, 50)), 0.1 * RNG.standard_normal((4, 3))
LEFT, RIGHT = 0.2 * RNG.standard_normal((2, 4, 3))
EYES = np.concatenate([LEFT, RIGHT], 1)


def two_rows(vectors):
    return Rotation.from_rotvec(vectors).as_matrix()[:, :2].reshape(len(vectors), 6)


TRACKERS = {
    "vhap": {"expr": EXPRESSION, "jaw_pose": JAW, "eyes_pose": EYES, "shape": np.zeros(300)},
    "deca": {"exp": EXPRESSION, "pose": np.concatenate([np.ones((4, 3)), JAW], 1)},
    "smirk": {"expression_params": EXPRESSION, "jaw_params": JAW, "eyelid_params": np.ones((4, 2))},
    "mica": {
        "exp": EXPRESSION,
        "jaw": two_rows(JAW),
        "eyes": np.concatenate([two_rows(LEFT), two_rows(RIGHT)], 1),
    },
    "smplx": {"expression": EXPRESSION, "jaw_pose": JAW, "leye_pose": LEFT, "reye_pose": RIGHT},
}


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("tracker", TRACKERS)
def test_names_and_rotations_of_trackers(tmp_path, tracker, suffix):
    fields = TRACKERS[tracker]
    path = tmp_path / f"clip{suffix}"
    if suffix == ".npz":
        np.savez(path, **fields)
    else:
        path.write_text(json.dumps({name: values.tolist() for name, values in fields.items()}))
    motion = head_motion(read_fields(path), 100, path)
    assert motion is not None
    np.testing.assert_allclose(motion.expression[:, :50], EXPRESSION)
    assert not motion.expression[:, 50:].any()
    np.testing.assert_allclose(motion.jaw, JAW, atol=1e-9)
    if tracker in ("vhap", "mica", "smplx"):
        np.testing.assert_allclose(motion.left_eye, LEFT, atol=1e-9)
        np.testing.assert_allclose(motion.right_eye, RIGHT, atol=1e-9)
    assert (motion.eyelids is not None) == (tracker == "smirk")


def test_a_folder_of_frames_and_a_list_of_frames(tmp_path):
    frames = [{"expr": EXPRESSION[k : k + 1], "jaw_pose": JAW[k : k + 1]} for k in range(4)]
    for k, frame in enumerate(frames):
        np.savez(tmp_path / f"{k:05d}.npz", **frame)
    listed = tmp_path / "list" / "clip.json"
    listed.parent.mkdir()
    listed.write_text(json.dumps([{n: v[0].tolist() for n, v in f.items()} for f in frames]))
    for fields in (read_folder(tmp_path), read_fields(listed)):
        motion = head_motion(fields, 50, tmp_path)
        assert motion is not None
        np.testing.assert_allclose(motion.expression, EXPRESSION)
        np.testing.assert_allclose(motion.jaw, JAW)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_written_files_are_read_again(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    given = head_motion(TRACKERS["vhap"], 50, path)
    assert given is not None
    write_head_motion(path, given, "flame2020-generic")
    again = head_motion(read_fields(path), 50, path)
    assert again is not None
    for old, new in zip(given[:4], again[:4], strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"expr": np.zeros((2, 120))}, "holds 120 expression coefficients, the head has 50"),
        ({"expr": EXPRESSION, "jaw_pose": JAW[:3]}, "4 frames of one kind and 3"),
        ({"expr": EXPRESSION, "jaw_pose": JAW[:, :2]}, "3, 6 or 9 numbers, got 2"),
        ({"expr": EXPRESSION, "jaw": np.zeros((4, 6))}, "numbers that are none"),
        ({"expr": EXPRESSION, "eyes": LEFT}, "6 numbers a frame for both eyes"),
        ({"expr": np.full((1, 5), np.nan)}, "finite numbers"),
        ({"expr": [[1.0], [1.0, 2.0]]}, "rows of numbers of one length"),
        ({"expr": EXPRESSION, "eyelids": np.zeros((4, 3))}, "2 eyelid numbers"),
        ({"expr": [10**400]}, "rows of numbers"),
        ({"expr": np.ones((1, 5), complex)}, "rows of numbers"),
        ({"expr": np.zeros((0, 5, 2))}, "expected 1 to 1000000 frames"),
        ({"expr": None}, "finite numbers"),
        ({"expr": {"a": 1}}, "rows of numbers"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, fields, words):
    with pytest.raises(UserError, match=words):
        head_motion(fields, 50, tmp_path / "clip.npz")


def test_other_kinds_of_file_say_what_to_do(tmp_path):
    for name, words in (("a.pkl", "save its arrays as .npz"), ("a.txt", "expected .npz, .json")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UserError, match=words):
            read_fields(tmp_path / name)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError):
        read_fields(tmp_path / "a.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="got 0"):
        read_folder(tmp_path / "empty")
