"""The test split of eval_now: packed as the organisers' own reader needs it, and not scored."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.eval_toy import NAMES, evaluate, face, write_now, write_predictions

from eval_now.config import EvalConfig
from eval_now.errors import UserError
from eval_now.io.meshes import load_mesh


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set."""
    return write_now(tmp_path_factory.mktemp("now"), NAMES[:2])


def test_the_test_split_is_packed_and_not_scored(now, tmp_path):
    predictions = write_predictions(tmp_path / "p", names=NAMES[:2])
    settings = {"predictions": predictions, "split": "test"}
    result, text = evaluate(now, **settings, unit="mm", out=tmp_path / "o")
    assert result is None
    assert not (tmp_path / "o/result.json").exists()
    with zipfile.ZipFile(tmp_path / "o/submission.zip") as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    stems = {name.removesuffix(".jpg") for name in NAMES[:2]}
    assert names == {stem + end for stem in stems for end in (".ply", ".npy")}
    assert all((tmp_path / "o/submission" / name).is_file() for name in names)
    text = " ".join(text.split())
    assert "2 of 2 listed images packed" in text
    assert "the meshes are in mm" in text
    assert "ringnet@tue.mpg.de" in text
    other = tmp_path / "o/submission/S_1_TA/selfie/IMG_99.obj"
    other.touch()
    with pytest.raises(UserError, match=r"holds 1 other files, e\.g\. S_1_TA/selfie/IMG_99\.obj"):
        evaluate(now, **settings, out=tmp_path / "o")


def test_nothing_unreadable_is_packed_in_silence(now, tmp_path):
    predictions = write_predictions(tmp_path / "p", names=NAMES[:2])
    settings = {"predictions": predictions, "split": "test", "out": tmp_path / "o"}
    (predictions / NAMES[1]).with_suffix(".obj").write_text("v 0 0\n")
    with pytest.raises(UserError, match=r"1 of 2 images .*IMG_11\.obj line 1"):
        evaluate(now, **settings)
    _, text = evaluate(now, **settings, allow_missing=True)
    assert "1 of 2 listed images packed" in " ".join(text.split())
    assert "state the meshes' unit" in " ".join(text.split())
    (predictions / NAMES[0]).with_suffix(".npy").unlink()
    with pytest.raises(UserError, match="none of the 2 listed images .*no landmarks"):
        evaluate(now, **{**settings, "out": tmp_path / "o2"}, allow_missing=True)
    assert not (tmp_path / "o2").exists()


def test_the_archive_holds_only_what_the_official_reader_understands(now, tmp_path):
    predictions = write_predictions(tmp_path / "p", names=NAMES[:2])
    base = (predictions / NAMES[0]).with_suffix("")
    mesh, landmarks = face(1)
    count = len(mesh.vertices)
    coloured = "".join(f"v {x!r} {y!r} {z!r} 0.5 0.5 0.5\n" for x, y, z in mesh.vertices.tolist())
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in (mesh.triangles[:-2] - count).tolist())
    quad = "f 1 2 47 46\n"
    base.with_suffix(".obj").write_text(coloured + faces + quad)
    base.with_suffix(".npy").unlink()
    lines = "# x, y, z\n" + "".join(
        f"{x:.5f}, {y:.5f}, {z:.5f}\n" for x, y, z in landmarks.tolist()
    )
    base.with_suffix(".txt").write_text(lines)
    np.save((predictions / NAMES[1]).with_suffix(".npy"), face(1)[1][None].astype(np.float32))
    evaluate(now, predictions=predictions, split="test", out=tmp_path / "o")
    packed = (tmp_path / "o/submission" / NAMES[0]).with_suffix("")
    assert b"color" not in packed.with_suffix(".ply").read_bytes()[:300]
    read = trimesh.load(packed.with_suffix(".ply"), process=False)
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-5)
    np.testing.assert_array_equal(read.faces, load_mesh(base.with_suffix(".obj")).triangles)
    np.testing.assert_allclose(np.load(packed.with_suffix(".npy")), landmarks, atol=1e-4)
    other = (tmp_path / "o/submission" / NAMES[1]).with_suffix(".npy")
    assert np.load(other).shape == (7, 3)


def test_warnings_of_the_meshes_are_told(now, tmp_path):
    predictions = write_predictions(tmp_path / "p", names=NAMES[:2])
    (predictions / NAMES[0]).with_suffix(".ply").touch()
    manifest = {"version": 1, "predictor": "p", "unit": "cm", "failed": []}
    manifest["not_neutral"] = [NAMES[1], "S_9/other/IMG.jpg"]
    (predictions / "predictions.json").write_text(json.dumps(manifest))
    _, text = evaluate(now, predictions=predictions, split="test", out=tmp_path / "o")
    assert "warning two_meshes" in text
    assert "warning not_neutral" in text
    assert "the meshes are in cm" in " ".join(text.split())


@pytest.mark.parametrize("flags", [{"heatmaps": 2}, {"protocol": "both", "unit": "mm"}])
def test_flags_without_effect_are_refused(flags):
    with pytest.raises(ValueError, match="expected no --heatmaps and no --protocol"):
        EvalConfig(predictions=Path("p"), split="test", **flags)
