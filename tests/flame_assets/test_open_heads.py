"""`flame-assets convert` and `status` with heads other than FLAME."""

import gnm_weights
import pytest

from flame_assets import store
from flame_assets.cli import main

SEED = 1


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "home"))


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_a_gnm_file_is_told_by_its_content(run, tmp_path):
    """A renamed file converts all the same, with the landmarks that are named."""
    gnm_weights.write_gnm_npz(tmp_path / "model.npz", SEED, "small", "zero")
    gnm_weights.write_landmarks(tmp_path / "points.txt", SEED, "small", "2026-07")
    code, out, err = run("convert", tmp_path / "model.npz", "--landmarks", tmp_path / "points.txt")
    assert code == 0, err
    assert "Apache-2.0" in out
    assert store.load_head("gnm").shape_count == 253
    code, out, _ = run("status")
    assert code == 0
    assert "--head gnm" in out


def test_status_says_what_is_missing_and_how_to_get_it(run):
    code, out, _ = run("status")
    assert code == 0
    for words in (
        "anthro  not here: nothing to do",
        "gnm  not here: flame-assets get gnm",
        "ict  not here: flame-assets get ict",
        "flame2020-generic  not here: flame-assets download flame2020",
        "flame2023-open  not here: flame-assets download flame2023-open",
        "mica-ext import",
        "content only: no hash is published",
        "licence: MIT",
    ):
        assert words in out


def test_a_folder_of_something_else_is_one_line(run, tmp_path):
    (tmp_path / "folder").mkdir()
    code, _, err = run("convert", tmp_path / "folder")
    assert (code, err.count("\n")) == (2, 1)


def test_an_ict_folder_with_one_file_only_names_the_missing(run, tmp_path):
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    (folder / "jawOpen.obj").write_text("v 0 0 0\nvt 0 0\n")
    code, _, err = run("convert", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "generic_neutral_mesh.obj and 152 more" in err
