"""eval-now from the outside: a small set with known truth, scored, compared."""

from pathlib import Path

import numpy as np
import pytest
from helpers.eval_toy import NAMES, ToyPredictors, evaluate, face, write_now, write_predictions
from PIL import Image
from rich.console import Console

from eval_now.config import CompareConfig, EvalConfig
from eval_now.data.boxes import Box
from eval_now.data.dataset import NowDataset
from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.landmarks import save_landmarks
from eval_now.io.meshes import save_obj, save_ply
from eval_now.predictions.files import find_prediction
from eval_now.predictions.predictors import NoFaceError, Photo, Prediction
from eval_now.report.tables import table_rows
from eval_now.scoring.result_files import load_distances, load_result
from eval_now.scoring.score import SubjectTask, score_subject


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set."""
    return write_now(tmp_path_factory.mktemp("now"))


def test_true_faces_score_at_the_noise(now, tmp_path):
    predictions = write_predictions(tmp_path / "p", unit_mm=1000)
    result, text = evaluate(
        now, predictions=predictions, unit="m", protocol="both", out=tmp_path / "o"
    )
    assert result.complete
    assert not result.warnings
    scaled, metrical = result.protocols
    for entry in (scaled, metrical):
        assert 0.05 < entry.pooled.median < 0.25  # noise of 0.15 mm and waves of 0.1 mm
        assert entry.pooled.mean > entry.pooled.median  # spikes, loose points and a floating patch
        assert entry.pooled.images == 6
        assert entry.pooled.median_ci.low < entry.pooled.median < entry.pooled.median_ci.high
        assert [one.challenge for one in entry.challenges] == ["multiview_neutral", "selfie"]
        assert all(abs(image.scale / 1000 - 1) < 0.01 for image in entry.images)
        stored = load_distances(tmp_path / "o", entry.protocol)
        together = np.concatenate([stored[name] for name in NAMES])
        assert np.median(together) == pytest.approx(entry.pooled.median)
        assert together.mean(dtype=float) == pytest.approx(entry.pooled.mean)
    assert "NoW, metrical, mm" in text
    assert load_result(tmp_path / "o") == result
    table = (tmp_path / "o/table.md").read_text()
    assert f"| {scaled.pooled.median:.3f} | {scaled.pooled.mean:.3f} |" in table
    assert r"\bottomrule" in (tmp_path / "o/table.tex").read_text()


def test_heat_maps_show_the_error_where_it_is(now, tmp_path):
    folder = write_predictions(tmp_path / "p", names=NAMES[:1])
    listed = tmp_path / "list.txt"
    listed.write_text(NAMES[0])
    mesh, _ = face(1)
    dent = 12 * np.exp(-((mesh.vertices[:, :2] - [35, -20]) ** 2).sum(axis=1) / 15**2)
    path = (folder / NAMES[0]).with_suffix(".obj")
    save_obj(path, Mesh(mesh.vertices - dent[:, None] * [0, 0, 1], mesh.triangles))
    save_landmarks(path.with_suffix(".npy"), face(1)[1])
    evaluate(now, predictions=folder, image_list=listed, out=tmp_path / "o", heatmaps=3)
    (picture,) = (tmp_path / "o/heatmaps/non-metrical").iterdir()
    assert picture.name == "worst_1_S_1_TA_multiview_neutral_IMG_10.png"
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    front = pixels[:, 970:1250]  # the fourth of five panels
    dark_red = (front[:, :, 0] < 200) & (front[:, :, 0] > 90) & (front[:, :, 1] < 40)
    rows, columns = np.nonzero(dark_red)
    assert len(rows) > 200
    assert columns.mean() > 160  # the dent is on the face's left, the picture's right


def test_processes_and_order_change_nothing(now, tmp_path):
    predictions = write_predictions(tmp_path / "p")
    one, _ = evaluate(now, predictions=predictions, out=tmp_path / "a")
    listed = tmp_path / "list.txt"
    listed.write_text("\r\n".join(reversed(NAMES)))
    two, _ = evaluate(now, predictions=predictions, out=tmp_path / "b", jobs=2, image_list=listed)
    assert sorted(one.protocols[0].images, key=str) == sorted(two.protocols[0].images, key=str)
    first, second = one.protocols[0].pooled, two.protocols[0].pooled
    assert (first.median, first.count) == (second.median, second.count)
    assert (first.mean, first.std) == pytest.approx((second.mean, second.std), rel=1e-12)


def test_an_image_is_done_once_whatever_became_of_it(now, tmp_path):
    folder = write_predictions(tmp_path / "p")
    images = [image for image in NowDataset(now).images("val") if image.subject == "S_1_TA"]
    files = [find_prediction(folder, image) for image in images]
    files[1].mesh.unlink()  # after it was checked
    pairs = list(zip(images, files, strict=True))
    result = score_subject(SubjectTask(now, "S_1_TA", pairs, ("non-metrical", "metrical"), 1.0))
    assert [len(result.scored), len(result.failures), result.images_done] == [2, 1, 2]


def test_missing_predictions_stop_the_run(now, tmp_path):
    predictions = write_predictions(tmp_path / "p", names=NAMES[1:])
    (predictions / NAMES[3]).with_suffix(".npy").unlink()
    out = tmp_path / "o"
    with pytest.raises(UserError, match=r"2 of 6 images .*--allow-missing") as caught:
        evaluate(now, predictions=predictions, out=out)
    assert f"{NAMES[0]} (no prediction)" in str(caught.value)
    assert f"{NAMES[3]} (no landmarks (.npy or .txt))" in str(caught.value)
    assert not out.exists()
    result, text = evaluate(now, predictions=predictions, out=out, allow_missing=True)
    assert not result.complete
    assert [entry.image for entry in result.missing] == [NAMES[0], NAMES[3]]
    assert "incomplete" in text
    assert "* incomplete" in (out / "table.md").read_text()


def test_an_unreadable_file_among_many_is_named_before_scoring(now, tmp_path):
    predictions = write_predictions(tmp_path / "p")
    broken = (predictions / NAMES[2]).with_suffix(".obj")
    broken.write_text(broken.read_text().replace("v ", "v nan ", 1))
    message = r"IMG_20\.obj line 1: expected 3 finite numbers"
    with pytest.raises(UserError, match=message) as caught:
        evaluate(now, predictions=predictions, out=tmp_path / "o")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "o").exists()
    result, _ = evaluate(now, predictions=predictions, out=tmp_path / "o", allow_missing=True)
    assert result.protocols[0].pooled.images == 5
    assert not result.complete


def test_a_predictor_runs_resumes_and_reports(now, tmp_path, monkeypatch):
    calls: list[str] = []

    def predict(photo: Photo) -> Prediction:
        assert photo.path.is_file()
        assert photo.box == Box(5, 6, 40, 50)
        calls.append(photo.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        if photo.name == NAMES[4]:
            raise NoFaceError("no face in it")
        mesh, landmarks = face(int(photo.name[2]))
        neutral = photo.name != NAMES[1]
        return Prediction(mesh.vertices / 10, mesh.triangles, landmarks / 10, "cm", neutral)

    ToyPredictors(tmp_path / "site", monkeypatch).use(predict)
    settings = {"predictor": "mine", "out": tmp_path / "o", "protocol": "metrical"}
    with pytest.raises(KeyboardInterrupt):
        evaluate(now, **settings)
    with pytest.raises(UserError, match=r"1 of 6 .* \(no face in it\)"):
        evaluate(now, **settings)
    assert calls == [*NAMES[:4], *NAMES[3:]]
    result, _ = evaluate(now, **settings, allow_missing=True)
    assert calls[-1] == NAMES[4]  # asked again, the others were not
    assert len(calls) == 8
    assert [(one.name, one.image) for one in result.warnings] == [("not_neutral", NAMES[1])]
    assert result.protocols[0].pooled.median < 0.25
    assert result.settings.unit == "mm"


def test_an_unreadable_photo_is_a_missing_prediction(now, tmp_path, monkeypatch):
    def predict(photo: Photo) -> Prediction:
        if photo.name == NAMES[0]:
            raise UserError(f"{photo.path}: not a picture")
        mesh, landmarks = face(int(photo.name[2]))
        return Prediction(mesh.vertices, mesh.triangles, landmarks, "mm", True)

    ToyPredictors(tmp_path / "site", monkeypatch).use(predict)
    result, text = evaluate(now, predictor="mine", out=tmp_path / "o", allow_missing=True)
    (missing,) = result.missing
    assert missing.image == NAMES[0]
    assert "not a picture" in missing.reason
    assert "missing" in text
    with pytest.raises(ValueError, match="no --unit with --predictor"):
        EvalConfig(predictor="mine", unit="m")


def test_a_run_takes_the_place_of_the_last(now, tmp_path):
    folder = write_predictions(tmp_path / "p", names=NAMES[:1])
    listed = tmp_path / "list.txt"
    listed.write_text(NAMES[0])
    settings = {"predictions": folder, "image_list": listed, "out": tmp_path / "o"}
    old = [
        tmp_path / "o" / name
        for name in ("distances_metrical.npz", "heatmaps/metrical/worst_1_S.png")
    ]
    old[1].parent.mkdir(parents=True)
    for path in old:
        path.touch()
    _, text = evaluate(now, **settings, name="[red]mine[/blue]")
    assert "[red]mine[/blue]" in text
    assert not any(path.exists() for path in old)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is not a folder that can be written to"):
        evaluate(now, **{**settings, "out": tmp_path / "file/out"})


def test_unknown_predictors_are_answered_with_the_known(now, tmp_path):
    with pytest.raises(UserError, match=r"--predictor nobody: not registered .*known: mica_ext"):
        evaluate(now, predictor="nobody", out=tmp_path / "o")


def test_runs_are_compared_in_curves_and_a_table(now, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    from eval_now.report.curves import compare_runs

    shown: list[str] = []
    savefig = Figure.savefig

    def noting(self, *places, **options):
        shown.extend(text.get_text() for text in self.axes[0].get_legend().get_texts())
        savefig(self, *places, **options)

    monkeypatch.setattr(Figure, "savefig", noting)

    exact = write_predictions(tmp_path / "p")
    evaluate(now, predictions=exact, out=tmp_path / "exact", name="_exact_$50%$_$")
    for name in NAMES:
        mesh, landmarks = face(9)
        base = tmp_path / "q" / name.removesuffix(".jpg")
        save_ply(base.with_suffix(".ply"), mesh)
        save_landmarks(base.with_suffix(".npy"), landmarks)
    evaluate(now, predictions=tmp_path / "q", out=tmp_path / "other")
    out = tmp_path / "c"
    both = (tmp_path / "other", tmp_path / "exact")
    compare_runs(CompareConfig(runs=both, out=out), Console())
    assert (out / "curves_non-metrical.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "curves_non-metrical.pdf").read_bytes().startswith(b"%PDF")
    assert [label.split(",")[0] for label in shown] == ["other", "_exact_$50%$_$"] * 2
    lines = (out / "table.md").read_text().splitlines()
    assert "_exact_$50%$_$" in lines[2]  # the better one first
    assert r"\_exact\_\$50\%\$\_\$" in (out / "table.tex").read_text()
    broken = tmp_path / "other/distances_non-metrical.npz"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(
        UserError, match=r"distances_non-metrical\.npz is .*run `eval-now` for this folder again"
    ):
        compare_runs(CompareConfig(runs=both[:1], out=out), Console())
    few, _ = evaluate(now, predictions=exact, out=tmp_path / "few", challenge=("selfie",))
    assert [(row.challenge, row.whole) for row in table_rows([few])] == [("selfie", True)]
    mixed = (tmp_path / "exact", tmp_path / "few")
    with pytest.raises(UserError, match="measured other images"):
        compare_runs(CompareConfig(runs=mixed, out=out), Console())


@pytest.mark.parametrize("protocol", ["metrical", "both"])
def test_metrical_needs_a_unit(now, tmp_path, protocol):
    predictions = write_predictions(tmp_path / "p")
    with pytest.raises(UserError, match="add --unit"):
        evaluate(now, predictions=predictions, out=tmp_path / "o", protocol=protocol)
