"""`--points`: which network reads the points, and what is said when it cannot."""

import pytest
from helpers.command_output import one_line
from helpers.rights import unprivileged

from flame_assets.errors import UserError
from mica_ext.cli import main
from mica_ext.landmarks.readers import open_reader


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The folder of Face Mesh's file in an empty store."""
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "assets" / "face-mesh"
    folder.mkdir(parents=True)
    return folder


def test_without_face_mesh_the_student_reads(run, store, photo, tmp_path):
    code, out, _ = run(photo, "-o", tmp_path / "m.obj", "-v")
    assert code == 0
    assert "weights: landmarks478 " in out
    code, _, err = run(photo, "-o", tmp_path / "n.obj", "--points", "face-mesh")
    assert code == 2
    assert "face-mesh is not on this machine: get it with `flame-assets get" in one_line(err)


@pytest.mark.parametrize("points", ["auto", "face-mesh"])
def test_a_file_of_another_version_is_not_read(run, store, photo, tmp_path, points):
    (store / "face_landmarker.task").write_bytes(b"PK\5\6" + bytes(18))
    code, _, err = run(photo, "-o", tmp_path / "m.obj", "--points", points)
    assert code == 2
    assert "damaged or of another version: fetch it anew with `flame-assets get" in one_line(err)
    assert not (tmp_path / "m.obj").exists()


def test_face_mesh_is_read_from_the_store(run, store, photo, tmp_path, shared_data):
    whole = (shared_data / "face_mesh" / "face_landmarker.task").read_bytes()
    (store / "face_landmarker.task").write_bytes(whole)
    for points, weights in (("auto", "Face Mesh V2"), ("student", "landmarks478")):
        code, out, _ = run(photo, "-o", tmp_path / f"{points}.obj", "--points", points, "-v")
        assert code == 0
        assert f"weights: {weights} " in out
    (store / "face_landmarker.task").write_bytes(whole[:-1])
    code, _, err = run(photo, "-o", tmp_path / "m.obj")
    assert code == 2
    assert "damaged or of another version" in one_line(err)


@pytest.mark.parametrize("choice", ["auto", "face-mesh"])
def test_a_store_without_rights_is_one_line(store, pack, choice):
    (store / "face_landmarker.task").write_bytes(b"anything")
    with unprivileged(store), pytest.raises(UserError, match="cannot be read .*: allow it") as told:
        open_reader(choice, pack / "points")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("cut", [0, 1000])
def test_training_refuses_a_teacher_that_is_cut_short(cut, tmp_path, capsys, photo, shared_data):
    whole = (shared_data / "face_mesh" / "face_landmarker.task").read_bytes()
    teacher = tmp_path / "cut.task"
    teacher.write_bytes(whole[:cut])
    command = ("train-landmarks", "--photos", photo.parent, "--out", tmp_path / "run")
    assert main([*map(str, command), "--teacher-file", str(teacher)]) == 2
    assert "expected face_landmarker.task of Face Mesh V2" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
