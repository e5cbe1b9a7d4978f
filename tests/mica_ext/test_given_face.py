"""`--bbox`, `--landmarks5` and `--aligned`: faces that people bring along."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from mica_ext.commands.output_plan import EXAMPLE
from pacofr.faces.align import arcface_crop
from pacofr.faces.detect import detect
from pacofr.images import load_image


def params(run, tmp_path, *arguments):
    code, _, err = run("--out", tmp_path / "a.obj", "--params", tmp_path / "a.json", *arguments)
    assert code == 0, err
    return json.loads((tmp_path / "a.json").read_text())


def test_five_points_give_what_detection_would(run, tmp_path):
    face = detect(load_image(EXAMPLE))[0]
    given = params(run, tmp_path, EXAMPLE, "--landmarks5", *face.points.ravel().tolist())
    found = params(run, tmp_path, EXAMPLE, "--overwrite")
    np.testing.assert_allclose(
        given["parameters"]["shape"], found["parameters"]["shape"], atol=1e-5
    )


def test_a_box_is_the_face(run, tmp_path):
    box = [180, 60, 270, 175]
    assert params(run, tmp_path, EXAMPLE, "--bbox", *box)["photo"]["box"] == box


def test_an_aligned_crop_is_not_detected_in(run, tmp_path):
    """Its points are the template's, its box is the whole crop."""
    image = load_image(EXAMPLE)
    crop = arcface_crop(image, detect(image)[0].points, 224)
    Image.fromarray(crop).save(tmp_path / "crop.png")
    content = params(run, tmp_path, tmp_path / "crop.png", "--aligned")
    assert content["photo"]["box"] == [0, 0, 224, 224]
    assert content["photo"]["size"] == [224, 224]


def test_a_uniform_photo_needs_no_detection(run, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 200, 3), 128, np.uint8))
    code, _, err = run(tmp_path / "grey.png", "--out", tmp_path / "a.obj")
    assert (code, err.count("\n")) == (2, 1)
    params(run, tmp_path, tmp_path / "grey.png", "--aligned")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bbox", 5, 5, 5, 9], "x0 < x1"),
        (["--bbox", "nan", 5, 50, 90], "--bbox"),
        (["--landmarks5", *[3] * 10], "--landmarks5"),
        (["--aligned"], "square"),
        (["--aligned", "--bbox", 1, 2, 30, 40], "exclude each other"),
        (["--bbox", 1, 2, 30, 40, "--face", "all"], "name one face"),
    ],
)
def test_what_cannot_be_is_one_line(run, tmp_path, arguments, words):
    photo = tmp_path / "photo.png"
    Image.fromarray(load_image(EXAMPLE)[:200]).save(photo)
    code, _, err = run(photo, "--out", tmp_path / "a.obj", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert words in err
    assert not (tmp_path / "a.obj").exists()
