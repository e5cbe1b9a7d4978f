"""`--bbox`, `--landmarks5` and `--aligned`: faces that people bring along."""

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.errors import UserError
from mica_ext.preprocess.given_face import aligned_face, face_at_points, face_in_box
from mica_ext.reconstruct import Reconstructor
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


def test_an_aligned_crop_reaches_arcface_unchanged(pack):
    """Even where the landmark network, which has learned nothing here, sees other points."""
    image = load_image(EXAMPLE)
    crop = arcface_crop(image, detect(image)[0].points)
    given = aligned_face(crop)
    reconstructor = Reconstructor.load(pack)
    faces = reconstructor.align(crop, [given.face], exact_points=given.exact_points)
    seen = faces.arcface[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(127.5 * (seen + 1), crop, atol=1e-3)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("odd", [1e39, -1e300, 1e-45, float("inf"), float("nan")])
def test_odd_coordinates_are_one_line(odd):
    for place in range(4):
        box = [10.0, 10.0, 20.0, 20.0]
        box[place] = odd
        if odd != 1e-45:
            with pytest.raises(UserError, match="--bbox: expected x0 y0 x1 y1"):
                face_in_box(box)
    with pytest.raises(UserError, match="--landmarks5: expected x y of left eye"):
        face_at_points([odd, 30, 70, 30, 50, 50, 35, 70, 65, 70][::-1])


def test_one_box_is_not_for_several_photos(run, tmp_path):
    for name in ("a", "b"):
        shutil.copy(EXAMPLE, tmp_path / f"{name}.jpg")
    out = tmp_path / "out"
    code, _, err = run(tmp_path / "a.jpg", tmp_path / "b.jpg", "--out", out, "--bbox", 1, 2, 30, 40)
    assert (code, err.count("\n")) == (2, 1)
    assert "give one photo" in err
    assert not out.exists()


def test_a_folder_of_crops_of_which_one_is_too_small(run, tmp_path):
    image = load_image(EXAMPLE)
    crops = tmp_path / "crops"
    crops.mkdir()
    for name, size in (("good", 112), ("large", 224)):
        crop = arcface_crop(image, detect(image)[0].points, size)
        Image.fromarray(crop).save(crops / f"{name}.png")
    Image.fromarray(image[:64, :64]).save(crops / "small.png")
    code, _, err = run(crops, "--out", tmp_path / "out", "--aligned", "--threads", 1)
    assert code == 3
    assert "got 64 x 64" in err
    assert sorted(file.name for file in (tmp_path / "out").glob("*.obj")) == [
        "good.obj",
        "large.obj",
    ]


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
        (["--bbox", 3000, 20, 3100, 120], "in the photo of"),
        (["--bbox", -90, 20, 60, 120], "in the photo of"),
        (["--landmarks5", 60, 40, 40, 40, 50, 50, 57, 60, 43, 60], "as seen in the photo"),
        (["--landmarks5", *np.add([40, 40, 60, 40, 50, 50, 43, 60, 57, 60], 900)], "in the photo"),
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


@pytest.mark.parametrize("arguments", [["--bbox", 1, 2, 30], ["--landmarks5", *range(1, 10)]])
def test_a_wrong_count_of_numbers_is_one_line(run, tmp_path, arguments):
    code, _, err = run(EXAMPLE, "--out", tmp_path / "a.obj", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert arguments[0] in err
    assert not (tmp_path / "a.obj").exists()
