"""eval-now from the outside: a small set with known truth, scored, refused, compared, packed."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.spatial.transform import Rotation

import eval_now.predictors
from eval_now.boxes import Box
from eval_now.cli import main
from eval_now.config import CompareConfig, EvalConfig
from eval_now.dataset import NowDataset
from eval_now.errors import UserError
from eval_now.heatmaps import choose
from eval_now.meshes import Mesh, save_obj, save_ply
from eval_now.predictors import NoFaceError, Photo, Prediction, save_npy
from eval_now.result import load_distances, load_result
from eval_now.run import run
from eval_now.score import ImageScore, ScoredImage
from eval_now.synthetic import (
    Damage,
    make_scan,
    pp_text,
    write_image_list,
    write_photo,
    write_scan,
    write_truth,
)

NAMES = [
    f"S_{subject}_TA/{challenge}/IMG_{subject}{number}.jpg"
    for subject in (1, 2, 3)
    for number, challenge in enumerate(("multiview_neutral", "selfie"))
]


def face(seed: int) -> tuple[Mesh, np.ndarray]:
    """A face-like surface [mm] and its seven landmarks, which lie on it."""
    random = np.random.default_rng(seed)
    amounts = random.normal(0, 1, 6)

    def height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        bowl = 60 - (x / 11) ** 2 - (y / 14) ** 2
        nose = 25 * np.exp(-((x / 11) ** 2) - ((y + 8) / 14) ** 2)
        bumps = sum(
            amount * np.cos(x / (14 + k) + k) * np.cos(y / (17 - k) + k * amount)
            for k, amount in enumerate(amounts)
        )
        lopsided = 2 * np.exp(-(((x - 30) / 15) ** 2) - ((y + 30) / 20) ** 2)
        return bowl + nose + bumps + lopsided

    x, y = np.meshgrid(np.linspace(-85, 85, 45), np.linspace(-110, 100, 55))
    vertices = np.stack([x, y, height(x, y)], axis=2).reshape(-1, 3)
    corner = (np.arange(54)[:, None] * 45 + np.arange(44)).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + 45], axis=1),
            np.stack([corner + 1, corner + 46, corner + 45], axis=1),
        ]
    )
    flat = np.array(
        [[-45, 32], [-16, 31], [17, 31], [46, 32], [0, -20], [-26, -48], [27, -48]], float
    )
    return Mesh(vertices, triangles), np.column_stack([flat, height(flat[:, 0], flat[:, 1])])


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three subjects, with the clean faces under truth/."""
    root = tmp_path_factory.mktemp("now")
    for subject in (1, 2, 3):
        mesh, landmarks = face(subject)
        unseen = "a side" if subject == 2 else "nothing"
        damage = Damage(spacing=8.0, spikes=5, loose_points=5, patch=subject == 3, unseen=unseen)
        write_scan(root, f"S_{subject}_TA", make_scan(mesh, landmarks, subject, damage))
        write_truth(root, f"S_{subject}_TA", mesh, landmarks)
    for name in NAMES:
        write_photo(root, name, np.full((64, 48, 3), 128, np.uint8), Box(5, 6, 40, 50))
    write_image_list(root, "val", NAMES)
    write_image_list(root, "test", NAMES[:2])
    return root


def write_predictions(folder: Path, *, unit_mm: float = 1.0, names: list[str] = NAMES) -> Path:
    """The truth itself, turned and in some unit, as a person would hand it in."""
    turn = Rotation.from_rotvec([0.3, -0.2, 0.1]).as_matrix()
    for name in names:
        mesh, landmarks = face(int(name[2]))
        moved = Mesh((mesh.vertices @ turn.T + [5, 6, 7]) / unit_mm, mesh.triangles)
        base = folder / name.removesuffix(".jpg")
        save_obj(base.with_suffix(".obj"), moved, decimals=7)
        save_npy(base.with_suffix(".npy"), (landmarks @ turn.T + [5, 6, 7]) / unit_mm)
    return folder


def evaluate(now: Path, **settings):
    console = Console(width=100, record=True)
    settings.setdefault("jobs", 1)
    return run(EvalConfig(dataset=now, **settings), console), console.export_text()


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
    save_npy(path.with_suffix(".npy"), face(1)[1])
    evaluate(now, predictions=folder, image_list=listed, out=tmp_path / "o", heatmaps=3)
    (picture,) = (tmp_path / "o/heatmaps/non-metrical").iterdir()
    assert picture.name == "worst_1_S_1_TA_multiview_neutral_IMG_10.png"
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    front = pixels[:, 970:1250]  # the fourth of five panels
    dark_red = (front[:, :, 0] < 200) & (front[:, :, 0] > 90) & (front[:, :, 1] < 40)
    rows, columns = np.nonzero(dark_red)
    assert len(rows) > 200
    assert columns.mean() > 160  # the dent is on the face's left, the picture's right


def test_worst_best_and_median_images_are_chosen_once():
    blank = ImageScore(
        image="", subject="s", challenge="c", protocol="metrical", count=1, median=0.0, mean=0.0,
        std=0.0, largest=0.0, steps=1, turn_degrees=0.0, reflected=False, scale=1.0,
        rotation=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), shift=(0.0, 0.0, 0.0),
    )  # fmt: skip

    def one(image: str, median: float) -> ScoredImage:
        return ScoredImage(replace(blank, image=image, median=median), np.zeros(1, np.float32))

    scored = [
        one(name, median) for name, median in zip("abcde", (3.0, 1.0, 2.0, 5.0, 4.0), strict=True)
    ]
    assert [(name, one.score.image) for name, one in choose(scored, 1)] == [
        ("worst 1", "d"),
        ("best 1", "b"),
        ("median 1", "a"),
    ]
    assert len(choose(scored, 4)) == 5


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


def test_an_unreadable_file_among_many_is_named(now, tmp_path):
    predictions = write_predictions(tmp_path / "p")
    broken = (predictions / NAMES[2]).with_suffix(".obj")
    broken.write_text(broken.read_text().replace("v ", "v nan ", 1))
    with pytest.raises(UserError, match=r"IMG_20\.obj line 1: expected 3 finite numbers") as caught:
        evaluate(now, predictions=predictions, out=tmp_path / "o")
    assert "\n" not in str(caught.value)
    result, _ = evaluate(now, predictions=predictions, out=tmp_path / "o", allow_missing=True)
    assert result.protocols[0].pooled.images == 5
    assert not result.complete


def warnings_for(now: Path, tmp_path: Path, change, **settings) -> set[str]:
    """Names of the warnings after one prediction's landmarks or vertices were changed."""
    folder = write_predictions(tmp_path / "p", names=NAMES[:1])
    listed = tmp_path / "list.txt"
    listed.write_text(NAMES[0])
    base = folder / NAMES[0].removesuffix(".jpg")
    mesh, landmarks = face(1)
    vertices, points = change(mesh.vertices.copy(), landmarks.copy())
    save_ply(base.with_suffix(".ply"), Mesh(vertices, mesh.triangles))
    base.with_suffix(".obj").unlink()
    save_npy(base.with_suffix(".npy"), points)
    result, _ = evaluate(now, predictions=folder, image_list=listed, out=tmp_path / "o", **settings)
    return {warning.name for warning in result.warnings}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda v, p: (v, p), set()),
        (lambda v, p: (v * [-1, 1, 1], p * [-1, 1, 1]), {"reflection"}),
        (lambda v, p: (v, p[[3, 2, 1, 0, 4, 6, 5]]), {"landmark_order", "reflection"}),
        (lambda v, p: (v, p[[0, 1, 2, 3, 4, 6, 5]]), {"landmark_order"}),
        (lambda v, p: (v, p / 1000), {"landmarks_off_surface"}),
    ],
)
def test_guards_name_what_is_wrong(now, tmp_path, change, expected):
    assert expected <= warnings_for(now, tmp_path, change)
    if not expected:
        assert not warnings_for(now, tmp_path / "again", change)


@pytest.mark.parametrize(("factor", "unit"), [(0.001, "mm"), (0.1, "mm"), (1, "m"), (1, "cm")])
def test_wrong_units_are_named(now, tmp_path, factor, unit):
    names = warnings_for(
        now, tmp_path, lambda v, p: (v * factor, p * factor), unit=unit, protocol="metrical"
    )
    assert "unit" in names


def test_a_mesh_far_away_is_scored_and_named(now, tmp_path):
    assert "landmarks_off_surface" in warnings_for(now, tmp_path, lambda v, p: (v + 1e6, p))
    (image,) = load_result(tmp_path / "o").protocols[0].images
    assert image.scale > 0
    assert image.median > 0


def test_a_turned_refinement_is_named(now, tmp_path):
    turn = Rotation.from_rotvec([0, 0, np.radians(50)]).as_matrix()
    names = warnings_for(now, tmp_path, lambda v, p: (v, (p - p[4]) @ turn.T + p[4]))
    assert "large_turn" in names


@pytest.mark.parametrize("protocol", ["metrical", "both"])
def test_metrical_needs_a_unit(now, tmp_path, protocol):
    predictions = write_predictions(tmp_path / "p")
    with pytest.raises(UserError, match="add --unit"):
        evaluate(now, predictions=predictions, out=tmp_path / "o", protocol=protocol)


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

    monkeypatch.setattr(eval_now.predictors, "find_predictor", lambda name: predict)
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
    with pytest.raises(UserError, match="holds predictions of 'mine', not 'other'"):
        evaluate(now, predictor="other", out=tmp_path / "o")


def test_an_unreadable_photo_is_a_missing_prediction(now, tmp_path, monkeypatch):
    def predict(photo: Photo) -> Prediction:
        if photo.name == NAMES[0]:
            raise UserError(f"{photo.path}: not a picture")
        mesh, landmarks = face(int(photo.name[2]))
        return Prediction(mesh.vertices, mesh.triangles, landmarks, "mm", True)

    monkeypatch.setattr(eval_now.predictors, "find_predictor", lambda name: predict)
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


def test_the_test_split_is_packed_and_not_scored(now, tmp_path):
    predictions = write_predictions(tmp_path / "p", names=NAMES[:2])
    result, text = evaluate(now, predictions=predictions, split="test", out=tmp_path / "o")
    assert result is None
    assert not (tmp_path / "o/result.json").exists()
    with zipfile.ZipFile(tmp_path / "o/submission.zip") as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    stems = {name.removesuffix(".jpg") for name in NAMES[:2]}
    assert names == {stem + end for stem in stems for end in (".obj", ".npy")}
    assert all((tmp_path / "o/submission" / name).is_file() for name in names)
    assert "ringnet@tue.mpg.de" in text
    other = tmp_path / "o/submission/S_1_TA/selfie/IMG_99.obj"
    other.touch()
    with pytest.raises(UserError, match=r"holds 1 other files, e\.g\. S_1_TA/selfie/IMG_99\.obj"):
        evaluate(now, predictions=predictions, split="test", out=tmp_path / "o")
    (predictions / NAMES[1]).with_suffix(".obj").write_text("v 0 0\n")
    with pytest.raises(UserError, match=r"1 of 2 images .*IMG_11\.obj line 1"):
        evaluate(now, predictions=predictions, split="test", out=tmp_path / "o2")
    (predictions / NAMES[0]).with_suffix(".npy").unlink()
    with pytest.raises(UserError, match="1 of 2 images"):
        evaluate(now, predictions=predictions, split="test", out=tmp_path / "o2")
    assert not (tmp_path / "o2").exists()


def test_runs_are_compared_in_curves_and_a_table(now, tmp_path):
    from eval_now.compare import compare_runs

    exact = write_predictions(tmp_path / "p")
    evaluate(now, predictions=exact, out=tmp_path / "exact", name="exact_50%")
    for name in NAMES:
        mesh, landmarks = face(9)
        base = tmp_path / "q" / name.removesuffix(".jpg")
        save_ply(base.with_suffix(".ply"), mesh)
        save_npy(base.with_suffix(".npy"), landmarks)
    evaluate(now, predictions=tmp_path / "q", out=tmp_path / "other")
    out = tmp_path / "c"
    compare_runs([tmp_path / "other", tmp_path / "exact"], CompareConfig(out=out), Console())
    assert (out / "curves_non-metrical.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "curves_non-metrical.pdf").read_bytes().startswith(b"%PDF")
    lines = (out / "table.md").read_text().splitlines()
    assert "exact_50%" in lines[2]  # the better one first
    assert r"exact\_50\%" in (out / "table.tex").read_text()
    broken = tmp_path / "other/distances_non-metrical.npz"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"distances_non-metrical\.npz: not readable"):
        compare_runs([tmp_path / "other"], CompareConfig(out=out), Console())
    evaluate(now, predictions=exact, out=tmp_path / "few", challenge=("selfie",))
    with pytest.raises(UserError, match="measured other images"):
        compare_runs([tmp_path / "exact", tmp_path / "few"], CompareConfig(out=out), Console())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: (root / "scans/S_2_TA").rename(root / "elsewhere"),
            "S_2_TA: expected one scan",
        ),
        (
            lambda root: (root / "scans/S_2_TA/b.obj").write_text("v 0 0 0"),
            "expected one scan .* found 2",
        ),
        (
            lambda root: (root / "imagepathsvalidation.txt").unlink(),
            "expected imagepathsvalidation.txt",
        ),
    ],
)
def test_damaged_data_sets_are_explained(now, tmp_path, damage, message):
    import shutil

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


def call(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["eval-now", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_command_line_errors_are_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("NOW_DATASET", raising=False)
    assert call(monkeypatch, "--predictions", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert "eval-now data" in error
    assert error.count("\n") == 1
    monkeypatch.setenv("NOW_DATASET", str(tmp_path / "absent"))
    assert call(monkeypatch, "--predictions", str(tmp_path)) == 2
    assert "absent: no such folder" in capsys.readouterr().err
    assert call(monkeypatch, "compare", str(tmp_path)) == 2
    assert "result.json: cannot be read" in capsys.readouterr().err
    assert call(monkeypatch, "data") == 0
    assert "NOW_DATASET" in capsys.readouterr().out


def test_foreign_results_are_refused(tmp_path):
    for content in ("{}", "[", json.dumps({"format": "eval-now result", "version": 99})):
        (tmp_path / "result.json").write_text(content)
        with pytest.raises(UserError, match="result.json"):
            load_result(tmp_path)


def test_help_and_package_stay_light():
    check = (
        "import sys; sys.argv=['eval-now','--help']\n"
        "from eval_now.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy={'torch','numba','scipy','numpy','matplotlib'}&set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import eval_now.run, eval_now.heatmaps, eval_now.synthetic, eval_now.compare\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
