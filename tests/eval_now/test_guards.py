"""eval-now on wrong input: what is refused, what is scored with a warning, and in which words."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.eval_toy import NAMES, evaluate, face, write_now, write_predictions
from scipy.spatial.transform import Rotation

from eval_now.cli import main
from eval_now.data.dataset import NowDataset
from eval_now.data.synthetic import pp_text
from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.landmarks import save_landmarks
from eval_now.io.meshes import save_ply
from eval_now.scoring.result_files import load_result


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set."""
    return write_now(tmp_path_factory.mktemp("now"))


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
    save_landmarks(base.with_suffix(".npy"), points)
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
    assert warnings_for(now, tmp_path, change) == expected


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


def test_command_line_errors_are_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("NOW_DATASET", raising=False)
    assert main(["--predictions", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "eval-now data" in error
    assert error.count("\n") == 1
    monkeypatch.setenv("NOW_DATASET", str(tmp_path / "absent"))
    assert main(["--predictions", str(tmp_path)]) == 2
    assert "absent: no such folder" in capsys.readouterr().err
    assert main(["compare", str(tmp_path)]) == 2
    assert "result.json: cannot be read" in capsys.readouterr().err
    assert main(["data"]) == 0
    assert "NOW_DATASET" in capsys.readouterr().out


def test_foreign_results_are_refused(tmp_path):
    for content in ("{}", "[", json.dumps({"format": "eval-now result", "version": 99})):
        (tmp_path / "result.json").write_text(content)
        with pytest.raises(UserError, match="result.json"):
            load_result(tmp_path)


def test_help_and_package_stay_light():
    check = (
        "import sys\n"
        "from eval_now.cli import main\n"
        "assert not {'tyro', 'logging', 'numpy'} & set(sys.modules)\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy={'torch','numba','scipy','numpy','matplotlib'}&set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import eval_now.run, eval_now.report.heatmaps, eval_now.report.curves\n"
        "import eval_now.data.synthetic\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
