"""Predictors of eval_now: what is saved, what is kept for the next run, what is never mixed."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.eval_toy import NAMES, ToyPredictors, evaluate, face, write_now, write_predictions

from eval_now.data.boxes import Box, save_box
from eval_now.data.dataset import NowDataset
from eval_now.errors import UserError
from eval_now.io.landmarks import save_landmarks
from eval_now.io.meshes import save_obj
from eval_now.predictions.files import load_manifest
from eval_now.predictions.fingerprints import same_fingerprint
from eval_now.predictions.predictors import Photo, Prediction, validate_prediction


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set, two images listed."""
    return write_now(tmp_path_factory.mktemp("now"), NAMES[:2])


class Predictor:
    """The truth in mm, changed by `change`; notes its photos."""

    def __init__(self, change=lambda one: one) -> None:
        self.change = change
        self.asked: list[str] = []

    def __call__(self, photo: Photo) -> Prediction:
        self.asked.append(photo.name)
        mesh, landmarks = face(int(photo.name[2]))
        return self.change(Prediction(mesh.vertices, mesh.triangles, landmarks, "mm", True))


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Make every --predictor this one."""
    return ToyPredictors(tmp_path / "site", monkeypatch).use


def test_predictions_are_used_again_and_counted(now, tmp_path, use):
    predictor = Predictor()
    use(predictor)
    evaluate(now, predictor="mine", out=tmp_path / "o")
    base = tmp_path / "o/predictions" / NAMES[1]
    base.with_suffix(".ply").write_bytes(b"ply")  # the disk was full, say
    _, text = evaluate(now, predictor="mine", out=tmp_path / "o")
    assert predictor.asked == [*NAMES[:2], NAMES[1]]
    assert "1 of 2 predictions are already in" in " ".join(text.split())


def test_predictions_of_another_model_are_not_taken(now, tmp_path, use):
    predictor = Predictor()
    predictor.fingerprint = "weights 1"
    use(predictor)
    evaluate(now, predictor="mine", out=tmp_path / "o")
    folder = tmp_path / "o/predictions"
    assert load_manifest(folder).fingerprint == "weights 1"
    assert load_manifest(folder).dataset == now.name
    predictor.fingerprint = "weights 2"
    message = r"made by the model 'weights 1', not 'weights 2'; give another folder \(--out"
    with pytest.raises(UserError, match=message):
        evaluate(now, predictor="mine", out=tmp_path / "o")
    with pytest.raises(UserError, match="made by the predictor 'mine', not 'other'"):
        evaluate(now, predictor="other", out=tmp_path / "o")
    assert len(predictor.asked) == 2


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ("head 2 0.123456 -1.000000", "head 2 0.123457 -1.000001", True),  # another processor
        ("head 2 0.12345 -1.00001", "head 2 0.123459 -1.000002", True),  # cut to five decimals
        ("head 2 0.123456", "head 2 0.123458", False),
        ("head 2 0.123456", "head 2 -0.123456", False),
        ("head 2 0.123456", "head 2 0.123456 0.000001", False),
        ("head 2.0", "head 2.1", False),
        ("head 1.10000 0.5", "head 1.10001 0.5", True),
        ("head", "head ", False),
    ],
)
def test_fingerprints_are_compared_within_rounding(before, now, same):
    assert same_fingerprint(before, now) is same
    assert same_fingerprint(now, before) is same


def test_predictions_of_other_photos_are_not_taken(now, tmp_path, use):
    predictor = Predictor()
    use(predictor)
    evaluate(now, predictor="mine", out=tmp_path / "o")
    copy = shutil.copytree(now, tmp_path / "copy")
    evaluate(copy, predictor="mine", out=tmp_path / "o")  # the same photos elsewhere
    assert len(predictor.asked) == 2
    photo = NowDataset(copy).photo_file(NowDataset(copy).images("val")[1])
    photo.write_bytes(photo.read_bytes() + b"another")
    with pytest.raises(UserError, match=f"made of another photo or box of {NAMES[1]}; give"):
        evaluate(copy, predictor="mine", out=tmp_path / "o")
    assert len(predictor.asked) == 2


def test_a_photo_changed_in_its_last_byte_is_another_photo(now, tmp_path, use):
    use(Predictor())
    copy = shutil.copytree(now, tmp_path / "copy")
    photo = NowDataset(copy).photo_file(NowDataset(copy).images("val")[1])
    photo.write_bytes(photo.read_bytes() + bytes(2**17))
    evaluate(copy, predictor="mine", out=tmp_path / "o")
    photo.write_bytes(photo.read_bytes()[:-1] + b"1")  # of the same size
    with pytest.raises(UserError, match=f"made of another photo or box of {NAMES[1]}; give"):
        evaluate(copy, predictor="mine", out=tmp_path / "o")


def test_photos_noted_by_earlier_versions_are_recognised(now, tmp_path, use):
    predictor = Predictor()
    use(predictor)
    evaluate(now, predictor="mine", out=tmp_path / "o")
    notes = tmp_path / "o/predictions/predictions.json"
    content = json.loads(notes.read_text())
    dataset = NowDataset(now)
    for row, image in zip(content["photos"], dataset.images("val"), strict=True):
        data = dataset.photo_file(image).read_bytes()
        start = f"{len(data)} {dataset.box(image)} ".encode() + data[: 2**16]
        row[1] = hashlib.sha256(start).hexdigest()[:16]
    notes.write_text(json.dumps(content))
    evaluate(now, predictor="mine", out=tmp_path / "o")
    assert len(predictor.asked) == 2
    content["photos"][1][1] = "0" * 16
    notes.write_text(json.dumps(content))
    with pytest.raises(UserError, match="made of another photo or box"):
        evaluate(now, predictor="mine", out=tmp_path / "o")


def test_predictions_of_another_box_are_not_taken(now, tmp_path, use):
    use(Predictor())
    copy = shutil.copytree(now, tmp_path / "copy")
    evaluate(copy, predictor="mine", out=tmp_path / "o")
    box = next(copy.rglob(f"detected_face/{NAMES[0].removesuffix('.jpg')}.npy"))
    save_box(box, Box(1, 2, 30, 40))
    with pytest.raises(UserError, match=f"made of another photo or box of {NAMES[0]}; give"):
        evaluate(copy, predictor="mine", out=tmp_path / "o")


def test_predictions_of_earlier_versions_are_taken(now, tmp_path, use):
    """They name the whole path of the data, or nothing."""
    predictor = Predictor()
    use(predictor)
    evaluate(now, predictor="mine", out=tmp_path / "o")
    path = tmp_path / "o/predictions/predictions.json"
    content = json.loads(path.read_text())
    del content["photos"]
    for dataset in (str(now.resolve()), None):
        path.write_text(json.dumps(content | {"dataset": dataset}))
        evaluate(now, predictor="mine", out=tmp_path / "o")
    path.write_text(json.dumps(content | {"dataset": "/elsewhere/now"}))
    with pytest.raises(UserError, match=r"made of the data in '/elsewhere/now', not"):
        evaluate(now, predictor="mine", out=tmp_path / "o")
    assert len(predictor.asked) == 2


def test_no_path_of_the_machine_is_written(now, tmp_path, use):
    def refuse(photo: Photo) -> Prediction:
        if photo.name == NAMES[0]:
            raise UserError(f"{photo.path}: not a picture")
        return Predictor()(photo)

    use(refuse)
    settings = {"predictor": "mine", "out": tmp_path / "o", "allow_missing": True}
    evaluate(now, **settings, image_list=now / "imagepathsvalidation.txt")
    for path in (tmp_path / "o").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert str(now) not in path.read_text()
    folder = write_predictions(tmp_path / "p", names=NAMES[:2])
    (folder / NAMES[1]).with_suffix(".obj").write_text("v 1 2\n")
    result, _ = evaluate(now, predictions=folder, out=tmp_path / "o2", allow_missing=True)
    assert result.missing[0].reason.startswith(NAMES[1].removesuffix("jpg") + "obj line 1")
    assert str(tmp_path) not in (tmp_path / "o2/result.json").read_text()


def test_files_of_others_are_neither_paired_nor_overwritten(now, tmp_path, use):
    predictor = Predictor()
    use(predictor)
    folder = tmp_path / "p"
    save_obj((folder / NAMES[0]).with_suffix(".obj"), face(3)[0])
    with pytest.raises(UserError, match=r"IMG_10\.obj: not written by a predictor; leave"):
        evaluate(now, predictor="mine", predictions=folder, out=tmp_path / "o")
    (folder / NAMES[0]).with_suffix(".obj").unlink()
    save_landmarks((folder / NAMES[0]).with_suffix(".npy"), face(3)[1])
    with pytest.raises(UserError, match=r"IMG_10\.npy: not written by a predictor"):
        evaluate(now, predictor="mine", predictions=folder, out=tmp_path / "o")
    assert not predictor.asked
    evaluate(now, predictor="mine", out=tmp_path / "o")
    write_predictions(tmp_path / "o/predictions", names=NAMES[1:2])
    with pytest.raises(UserError, match=r"IMG_11\.obj: not written by a predictor"):
        evaluate(now, predictor="mine", out=tmp_path / "o")


def test_numbers_that_are_not_finite_are_a_missing_prediction(now, tmp_path, use):
    def spoil(one: Prediction) -> Prediction:
        return one._replace(vertices=one.vertices * [1, np.nan, 1])

    use(Predictor(spoil))
    with pytest.raises(UserError, match=r"none of the 2 .*the predictor's vertices are not finite"):
        evaluate(now, predictor="mine", out=tmp_path / "o", allow_missing=True)
    assert not list((tmp_path / "o/predictions").glob("*/*/*"))


def test_a_predictors_own_mistake_stops_at_the_first_image(now, tmp_path, use):
    predictor = Predictor(lambda one: one._replace(landmarks=one.landmarks[None]))
    use(predictor)
    message = rf"--predictor mine, {NAMES[0]}: expected .* landmarks \(7, 3\), found .*\(1, 7, 3\)"
    with pytest.raises(UserError, match=message):
        evaluate(now, predictor="mine", out=tmp_path / "o", allow_missing=True)
    assert len(predictor.asked) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: tuple(one), "found tuple"),
        (lambda one: one._replace(unit="metres"), "unit m, cm or mm, found 'metres'"),
        (lambda one: one._replace(vertices=one.vertices[:, :2]), r"vertices \(V, 3\)"),
        (lambda one: one._replace(triangles=one.triangles * 1.0), r"triangles \(F, 3\), found fl"),
        (lambda one: one._replace(triangles=one.triangles + 1), "0 to 2474, found 1 to 2475"),
        (lambda one: one._replace(triangles=one.triangles[:3]), "4 or more triangles, found 3"),
    ],
)
def test_mistakes_are_explained(change, message):
    mesh, landmarks = face(1)
    good = Prediction(mesh.vertices, mesh.triangles, landmarks, "m", True)
    assert isinstance(validate_prediction(good, "mine"), Prediction)
    with pytest.raises(UserError, match=message):
        validate_prediction(change(good), "mine")


@pytest.mark.parametrize(
    ("landmarks", "reason"),
    [
        (np.full((7, 3), np.inf), "landmarks are not finite"),
        (np.ones((7, 3)), "landmarks are all the same point"),
    ],
)
def test_what_a_photo_can_spoil_is_a_reason(landmarks, reason):
    mesh, _ = face(1)
    outcome = validate_prediction(
        Prediction(mesh.vertices, mesh.triangles, landmarks, "m", True), "mine"
    )
    assert isinstance(outcome, str)
    assert reason in outcome
