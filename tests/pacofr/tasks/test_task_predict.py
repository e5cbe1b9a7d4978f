"""Task models on photos: files that others read, faces found where the landmarks are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.task_trees import write_encoder
from PIL import Image

import mica_ext
from pacofr.cli import main
from pacofr.faces.boxes import iou
from pacofr.faces.landmarks68 import five_points, read_pts
from pacofr.pretraining.encoder_spec import load_encoder_spec
from pacofr.tasks.config import HeadConfig, TaskModelConfig, TrainedWith
from pacofr.tasks.model import new_task_model, save_task_model
from pacofr.tasks.predict import box_from_five_points
from pacofr.tasks.records import points_box

EXAMPLE = Path(mica_ext.__file__).parent / "examples" / "astronaut.jpg"


def write_model(folder, encoder, task, data, outputs):
    """A task model that has learnt nothing."""
    torch.manual_seed(0)
    loaded = load_encoder_spec(str(encoder))
    config = TaskModelConfig(
        task=task,
        data=data,
        outputs=outputs,
        encoder=loaded.config,
        head=HeadConfig(width=8),
        frame=64,
        warp=0.8 if task == "parsing" else 0.0,
    )
    trained = TrainedWith(
        encoder="scratch", tuning="tuned", labels=1, steps=1, seed=0, deviations=()
    )
    save_task_model(folder, new_task_model(loaded, config), config, trained)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def predict(task, model, out, *photos):
    flags = ["--model", str(model), "--out", str(out), "--device", "cpu", "--threads", "1"]
    return main(["task", "predict", task, "--photos", *map(str, photos), *flags])


def test_landmarks_are_written_for_others_to_read(encoder, tmp_path, capsys, caplog):
    model = write_model(tmp_path / "model", encoder, "alignment", "pts", 68)
    out, blank = tmp_path / "out", tmp_path / "blank.png"
    Image.new("RGB", (64, 64)).save(blank)
    assert predict("alignment", model, out, EXAMPLE, blank) == 2
    assert f"{blank}: no face found" in caplog.text
    assert len(capsys.readouterr().out.splitlines()) == 3
    points = read_pts(out / "astronaut.pts")
    about = json.loads((out / "astronaut.json").read_text())
    np.testing.assert_allclose(about["points"], points, atol=1e-3)
    x0, y0, x1, y1 = about["face"]["box"]
    centre = points.mean(axis=0)  # an ignorant heat map is read in the middle of the face's box
    assert x0 < centre[0] < x1
    assert y0 < centre[1] < y1 + 0.3 * (y1 - y0)
    with Image.open(out / "astronaut_landmarks.png") as drawn, Image.open(EXAMPLE) as photo:
        assert drawn.size == photo.size
    assert not list(out.glob("blank*"))


def test_label_maps_are_written_for_others_to_read(encoder, tmp_path):
    model = write_model(tmp_path / "model", encoder, "parsing", "lapa", 11)
    out = tmp_path / "out"
    assert predict("parsing", model, out, EXAMPLE) == 0
    with Image.open(out / "astronaut_labels.png") as labels, Image.open(EXAMPLE) as photo:
        assert (labels.mode, labels.size) == ("P", photo.size)
        counts = np.bincount(np.asarray(labels).ravel(), minlength=11)
    about = json.loads((out / "astronaut.json").read_text())["classes"]
    assert [row["pixels"] for row in about] == counts.tolist()
    assert about[10]["name"] == "hair"
    assert (out / "astronaut_overlay.png").exists()


def test_one_name_for_two_photos_is_refused(encoder, tmp_path, capsys):
    model = write_model(tmp_path / "model", encoder, "parsing", "lapa", 11)
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "x.png", tmp_path / "a/x.jpg"):
        Image.new("RGB", (8, 8)).save(path)
    assert predict("parsing", model, tmp_path / "o", tmp_path / "x.png", tmp_path / "a") == 2
    assert "would both write x.*" in capsys.readouterr().err
    assert predict("alignment", model, tmp_path / "o", tmp_path / "x.png") == 2
    assert "expected a model for alignment, got parsing" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_five_points_tell_where_the_landmarks_box_is(shared_data):
    overlaps = []
    for path in sorted((shared_data / "helen/testset").glob("*.pts"))[:60]:
        points = read_pts(path)
        guess = box_from_five_points(five_points(points))
        overlaps.append(float(iou(guess, points_box(points)[None])[0]))
    assert np.median(overlaps) > 0.7  # a first guess; the landmarks found in it give the next box
