"""Which results are accepted, marked or rejected: on pictures, and at the thresholds."""

import json
import shutil

import cv2
import numpy as np
import pytest
from helpers.command_output import one_line, results

from mica_ext.cli import reconstruct
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.landmarks.regions import REGIONS
from mica_ext.models.quality import FaceSignals, assess_quality, face_luma, roll_degrees
from mica_ext.reconstruct import Reconstructor
from pacofr.images import load_image

GOOD = FaceSignals(
    score=0.99,
    confidence=0.99,
    visibility=dict.fromkeys(REGIONS, 0.95),
    residual=0.03,
    size_px=200,
    luma=180,
    roll_degrees=5,
)


@pytest.fixture(scope="module")
def reconstructor():
    return Reconstructor.load("auto", head="anthro")


@pytest.mark.parametrize(
    ("change", "verdict", "word"),
    [
        ({}, "accepted", None),
        ({"confidence": 0.49}, "unsure", "unsure (certainty 0.49; faces have 0.5 or more); look"),
        ({"confidence": 0.11}, "unsure", "unsure"),
        ({"confidence": 0.09}, "rejected", "probably no face"),
        ({"confidence": 0.24, "score": 0.94}, "rejected", "probably no face"),
        ({"confidence": 0.26, "score": 0.94}, "unsure", "unsure"),
        ({"visibility": {"left_eye": 0.3, "nose": 0.9, "mouth": 0.1}}, "unsure", "left eye, mouth"),
        ({"residual": 0.09}, "unsure", "does not fit the landmarks"),
        ({"size_px": 63}, "unsure", "the face is small; expect a coarse result"),
        ({"luma": 49}, "unsure", "dark"),
        ({"roll_degrees": -170}, "unsure", "upside down"),
        ({"roll_degrees": 95}, "accepted", None),
    ],
)
def test_each_signal_decides_beyond_its_threshold(change, verdict, word):
    quality = assess_quality(GOOD._replace(**change))
    assert quality.verdict == verdict
    assert len(quality.reasons) == (word is not None)
    assert word is None or word in quality.reasons[0]


def test_all_that_speaks_against_a_face_is_told():
    quality = assess_quality(GOOD._replace(size_px=40, luma=20, roll_degrees=180))
    words = [reason.split()[3].strip(";") for reason in quality.reasons]
    assert words == ["small", "dark", "upside"]


def test_roll_turns_with_the_landmarks():
    upright = np.zeros((68, 2))
    upright[36:42], upright[42:48], upright[48:68] = (-30, 0), (30, 0), (0, 60)
    for degrees in (0, 30, -75, 120, 179):
        turn = np.deg2rad(degrees)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        assert roll_degrees(upright @ matrix.T) == pytest.approx(degrees)


def test_luma_is_that_of_the_box_alone():
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:40, 20:40] = 200
    assert face_luma(image, np.array([22.0, 22.0, 36.0, 36.0])) == 200
    assert face_luma(image, np.array([50.0, 50.0, 90.0, 90.0])) == 0
    assert face_luma(image, np.array([-30.0, -30.0, -10.0, -10.0])) == 0


def test_pictures_of_the_portrait_get_the_marks_that_they_deserve(reconstructor):
    """The same portrait as it is, upside down, dark, and small."""
    image = load_image(EXAMPLE)
    dark = np.clip(image.astype(float) * 0.2, 0, 255).astype(np.uint8)
    small = np.full((512, 512, 3), 127, np.uint8)
    small[200:430, 200:430] = cv2.resize(image, (230, 230), interpolation=cv2.INTER_AREA)
    assert reconstructor(image).quality == ("accepted", ())
    for picture, word in (
        (np.ascontiguousarray(np.rot90(image, 2)), "upside down"),
        (dark, "dark"),
        (small, "small"),
    ):
        quality = reconstructor(picture).quality
        assert quality.verdict == "unsure"
        assert word in " ".join(quality.reasons)


@pytest.fixture
def doubtful(pack):
    """Runs `reconstruct` with the untrained network, whose landmarks are a guess."""

    def run(*arguments):
        return reconstruct([*map(str, arguments), "--model", str(pack)])

    return run


def test_what_is_probably_no_face_is_rejected_with_its_reason(doubtful, photo, tmp_path, capsys):
    assert doubtful(photo, "-o", tmp_path / "m.obj") == 2
    line = one_line(capsys.readouterr().err)
    assert "photo.jpg: probably no face: the landmarks are a guess (certainty 0." in line
    assert line.endswith("--keep-unsure writes it all the same")
    assert not (tmp_path / "m.obj").exists()


def test_a_kept_result_is_marked_in_line_record_and_parameters(doubtful, photo, tmp_path, capsys):
    params = tmp_path / "p.json"
    flags = ("-o", tmp_path / "m.obj", "--params", params, "--keep-unsure")
    assert doubtful(photo, *flags, "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)["faces"]
    assert record["quality"] == "rejected"
    assert "probably no face" in record["reasons"][0]
    assert record["certainty"] < 0.1
    content = json.loads(params.read_text())["quality"]
    assert content == {"verdict": "rejected", "reasons": record["reasons"]}
    assert doubtful(photo, *flags, "--overwrite") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"-> {tmp_path / 'm.obj'}, {params}")
    assert lines[1] == f"{photo}: {record['reasons'][0]}"


def test_a_folder_counts_the_rejected_as_failed(doubtful, photo, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photo, folder / "a.jpg")
    assert doubtful(folder, "-o", tmp_path / "out", "--json") == 3
    out, err = capsys.readouterr()
    assert "probably no face" in json.loads(out)["failures"][0]["error"]
    assert "0 of 1 photos reconstructed, 1 failed" in err
    assert not (tmp_path / "out").exists() or results(tmp_path / "out") == []


@pytest.mark.slow
def test_no_honest_photo_is_rejected_and_upside_down_ones_are_marked(reconstructor, shared_data):
    """Every third Helen test photo and every fourth London photo, and Helen's turned by 180."""
    helen = sorted((shared_data / "helen" / "testset").glob("*.jpg"))[::3]
    london = sorted((shared_data / "london").glob("*/*.jpg"))[::4]
    verdicts, turned = [], []
    for path in (*helen, *london):
        image = load_image(path)
        verdicts.append(reconstructor(image).quality.verdict)
        if path in helen:
            upside_down = np.ascontiguousarray(np.rot90(image, 2))
            turned.append(reconstructor(upside_down).quality.verdict)
    assert "rejected" not in verdicts
    assert verdicts.count("unsure") <= 0.02 * len(verdicts)
    assert turned.count("accepted") == 0
