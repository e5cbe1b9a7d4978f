"""The NoW data set of eval_now: found however it was unpacked, its faults told as its own."""

import itertools
import shutil
from pathlib import Path

import pytest
from helpers.eval_toy import NAMES, ToyPredictors, evaluate, face, write_now, write_predictions

from eval_now.data.dataset import NowDataset
from eval_now.data.synthetic import PICTURE_ROOT, pp_text
from eval_now.errors import UserError
from eval_now.io.meshes import save_ply
from eval_now.predictions.predictors import Photo, Prediction


@pytest.fixture
def now(tmp_path: Path) -> Path:
    """The toy set."""
    return write_now(tmp_path / "now", NAMES[:2])


def predict(photo: Photo) -> Prediction:
    mesh, landmarks = face(int(photo.name[2]))
    return Prediction(mesh.vertices, mesh.triangles, landmarks, "mm", True)


OUTER = (".", "dataset", "NoW_Evaluation", "NoW_Evaluation/dataset")
INNER = (".", "final_release_version", "NoW_Dataset", "NoW_Dataset/final_release_version")


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(OUTER, INNER)))
def test_parts_are_found_in_every_usual_place(tmp_path, outer, inner):
    for part in (f"{inner}/iphone_pictures", f"{inner}/detected_face", "scans"):
        (tmp_path / outer / part / NAMES[0]).parent.mkdir(parents=True)
    photo = tmp_path / outer / inner / "iphone_pictures" / NAMES[0]
    photo.touch()
    (tmp_path / outer / "imagepathsvalidation.txt").write_text(NAMES[0])
    dataset = NowDataset(tmp_path)
    dataset.check_photos()
    (image,) = dataset.images("val")
    assert dataset.photo_file(image).samefile(photo)


def test_without_photos_nothing_is_predicted(now, tmp_path, monkeypatch):
    ToyPredictors(tmp_path / "site", monkeypatch).use(predict)
    shutil.rmtree(now / PICTURE_ROOT)
    with pytest.raises(UserError, match="expected iphone_pictures in it"):
        evaluate(now, predictor="mine", out=tmp_path / "o", allow_missing=True)
    assert not (tmp_path / "o").exists()


def test_without_boxes_one_warning(now, tmp_path, monkeypatch, caplog):
    ToyPredictors(tmp_path / "site", monkeypatch).use(predict)
    shutil.rmtree(now / PICTURE_ROOT / "detected_face")
    evaluate(now, predictor="mine", out=tmp_path / "o")
    (record,) = caplog.records
    assert "no folder detected_face" in record.getMessage()


def test_a_ply_beside_the_scan_is_passed_over(now):
    folder = now / "scans/S_1_TA"
    save_ply(folder / "copy.ply", face(1)[0])
    assert NowDataset(now).scan_file("S_1_TA").suffix == ".obj"
    next(folder.glob("*.obj")).unlink()
    assert NowDataset(now).scan_file("S_1_TA").name == "copy.ply"


def test_odd_landmarks_of_a_scan_are_named_once(now, caplog):
    path = next((now / "scans_lmks_onlypp/S_1_TA").iterdir())
    before = NowDataset(now).landmarks("S_1_TA")
    path.write_text(path.read_text() + '<point x="1" y="2" z="3" name="extra"/>\n')
    NowDataset(now).check_subject("S_1_TA")
    assert (NowDataset(now).landmarks("S_1_TA") == before).all()
    (record,) = caplog.records
    assert f"{path}: holds 8 points, the first 7 count" == record.getMessage()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: (root / "scans/S_1_TA").rename(root / "elsewhere"),
            "S_1_TA: expected one scan",
        ),
        (
            lambda root: (root / "scans/S_1_TA/b.obj").write_text("v 0 0 0"),
            "expected one scan .* found 2",
        ),
        (
            lambda root: (root / "imagepathsvalidation.txt").unlink(),
            "expected imagepathsvalidation.txt",
        ),
    ],
)
def test_damaged_data_sets_are_explained(now, tmp_path, damage, message):
    copy = shutil.copytree(now, tmp_path / "copy")
    damage(copy)
    predictions = write_predictions(tmp_path / "p")
    with pytest.raises(UserError, match=message):
        evaluate(copy, predictions=predictions, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_scan_and_landmarks_in_different_frames_are_explained(now, tmp_path):
    path = next((now / "scans_lmks_onlypp/S_1_TA").iterdir())
    text = path.read_text()
    try:
        path.write_text(pp_text(NowDataset(now).landmarks("S_1_TA") + 500, "scan.obj"))
        with pytest.raises(UserError, match="expected both in the same frame"):
            NowDataset(now).scan("S_1_TA")
    finally:
        path.write_text(text)
