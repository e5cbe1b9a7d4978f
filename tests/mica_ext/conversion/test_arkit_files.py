"""ARKit weights as Live Link Face, MediaPipe and plain tables write them."""

import json

import numpy as np
import pytest

from flame_assets.arkit import EXPRESSIONS, arkit
from mica_ext.conversion.arkit_files import (
    LIVE_LINK,
    arkit_motion,
    read_live_link,
    write_arkit_motion,
)
from mica_ext.conversion.fields import read_fields
from mica_ext.conversion.live_link_angles import live_link_angles, rotation_vectors
from mica_ext.conversion.live_link_time import seconds_of, timecode
from mica_ext.conversion.motion import ARKIT_NAMES, ArkitMotion
from mica_ext.errors import UserError

WEIGHTS = np.random.default_rng(5).random((6, 52))
JAW = ARKIT_NAMES.index("jawOpen")


def test_live_link_s_order_is_that_of_recordings(shared_data):
    recorded = np.load(shared_data / "arkit_livelink" / "arkit_frames.npz")["columns"][:52]
    assert tuple(name[0].lower() + name[1:] for name in recorded.tolist()) == LIVE_LINK
    assert set(LIVE_LINK) == set(EXPRESSIONS) | {"tongueOut"}


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
def test_written_files_are_read_again(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    write_arkit_motion(path, ArkitMotion(WEIGHTS), 30.0)
    motion = read_live_link(path) if suffix == ".csv" else arkit_motion(read_fields(path), path)
    assert motion is not None
    np.testing.assert_allclose(motion.weights, WEIGHTS, atol=1e-6)


def test_a_csv_has_live_link_s_header_and_time_codes(tmp_path):
    write_arkit_motion(tmp_path / "clip.csv", ArkitMotion(WEIGHTS), 30.0)
    header, first, *_ = (tmp_path / "clip.csv").read_text().splitlines()
    assert header.startswith("Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft")
    assert header.endswith("TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,"
                           "LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll")  # fmt: skip
    assert first.startswith("00:00:00:00.000,61,")
    assert timecode(3661 + 7 / 30, 30.0) == "01:01:01:07.000"
    assert read_live_link(tmp_path / "clip.csv").timecodes is not None


def test_times_and_angles_of_a_csv_come_back(tmp_path):
    random = np.random.default_rng(1)
    times = np.cumsum(random.uniform(0.01, 0.9, 6)) - 0.01  # a variable frame rate
    turns = random.uniform(-0.5, 0.5, (3, 6, 3))
    motion = ArkitMotion(WEIGHTS, angles=live_link_angles(*turns), times_s=times - times[0])
    write_arkit_motion(tmp_path / "clip.csv", motion, 30.0)
    again = read_live_link(tmp_path / "clip.csv")
    np.testing.assert_allclose(again.times_s, motion.times_s, atol=2e-5)
    np.testing.assert_allclose(rotation_vectors(again.angles), turns, atol=3e-6)


def test_eyes_turn_as_in_recordings(shared_data):
    """Recorded yaw falls as the left eye looks out, pitch grows as it looks down."""
    recorded = np.load(shared_data / "arkit_livelink" / "arkit_frames.npz")
    table = recorded["weights"].astype(np.float64)[::50]
    column = {name[0].lower() + name[1:]: table[:, k] for k, name in enumerate(recorded["columns"])}
    names = [
        f"eyeLook{way}{side}" for side in ("Left", "Right") for way in ("Down", "In", "Out", "Up")
    ]
    eyes = [
        arkit({name: row[k] for k, name in enumerate(names)})
        for row in np.stack([column[n] for n in names], 1)
    ]
    left, right = (np.stack([eye[k] for eye in eyes]).astype(np.float64) for k in (2, 3))
    angles = live_link_angles(np.zeros_like(left), left, right)
    for index, name in (
        (3, "leftEyeYaw"),
        (4, "leftEyePitch"),
        (6, "rightEyeYaw"),
        (7, "rightEyePitch"),
    ):
        assert np.corrcoef(angles[:, index], column[name])[0, 1] > 0.95


@pytest.mark.parametrize("codes", [("x", "y"), ("00:00:01:00", "00:00:00:00"), ()])
def test_odd_time_codes_are_no_times(codes):
    assert seconds_of(codes) is None


def test_a_recording_goes_on_over_midnight():
    np.testing.assert_allclose(seconds_of(("23:59:59:29.500", "00:00:00:00.500")), [0, 1 / 30])


def test_one_face_of_mediapipe_and_a_plain_mapping(tmp_path):
    scores = {"_neutral": 0.1, "jawOpen": 0.4}
    categories = [{"categoryName": name, "score": score} for name, score in scores.items()]
    for content in (
        categories,
        {"jawOpen": 0.4},
        [{"jawOpen": 0.4}],
        {"JawOpen": [0.4]},
        {"blendshapes": {"jawOpen": 0.4}},
    ):
        path = tmp_path / "face.json"
        path.write_text(json.dumps(content))
        motion = arkit_motion(read_fields(path), path)
        assert motion is not None
        assert motion.weights.shape == (1, 52)
        assert motion.weights[0, JAW] == 0.4
        assert motion.weights.sum() == 0.4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a header and at least one frame"),
        ("Timecode,JawOpen\n1,0.5\n2\n", "line 3: expected 2 columns"),
        ("a,b\n1,2\n", "ARKit's names"),
        ("JawOpen\nmuch\n", "rows of numbers"),
        ("JawOpen\nnan\n", "finite"),
        ("\x00\xff", "no text"),
        ("JawOpen\n" + "1" * 200_000, "field larger"),
        ("JawOpen\n" + "0\n" * 10_000_001, "at most 10000000 cells"),
    ],
)
def test_a_csv_of_something_else_is_one_line(tmp_path, text, words):
    path = tmp_path / "clip.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=words) as caught:
        read_live_link(path)
    assert "\n" not in str(caught.value)


def test_time_codes_stay_one_cell(tmp_path):
    given, written = tmp_path / "a.csv", tmp_path / "b.csv"
    given.write_text('Timecode,JawOpen\n"1,2\n3:=x",0.5\n')
    write_arkit_motion(written, read_live_link(given), 60.0)
    assert written.read_text().splitlines()[1].startswith("123:x,61,")


def test_tables_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UserError, match="2 names and 3 weights"):
        arkit_motion({"names": ["jawOpen", "jawLeft"], "weights": np.zeros((4, 3))}, tmp_path)
    with pytest.raises(UserError, match="as many frames"):
        arkit_motion({"jawOpen": [0.1], "jawLeft": [0.1, 0.2]}, tmp_path)
    assert arkit_motion({"expr": np.zeros((1, 50))}, tmp_path) is None
