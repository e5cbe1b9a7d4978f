"""`reconstruct --view` and `mica-ext view` as a user runs them."""

import importlib.util
import json
import shutil

import pytest
from helpers.command_output import one_line
from helpers.page_data import Page
from PIL import Image

from mica_ext.cli import main, reconstruct
from mica_ext.commands.photo_run.output_plan import EXAMPLE


@pytest.fixture(scope="module")
def face(pack, tmp_path_factory):
    """A parameter file with a page beside it."""
    folder = tmp_path_factory.mktemp("face")
    shutil.copy(EXAMPLE, folder / "photo.jpg")
    fixed = ["--model", pack, "--keep-unsure", "--view", "--no-open"]
    files = [folder / "photo.jpg", "--out", folder / "m.obj", "--params", folder / "p.json"]
    assert reconstruct([str(argument) for argument in files + fixed]) == 0
    return folder / "p.json"


def test_the_page_of_a_photo_and_of_its_parameters(face, pack, capsys):
    first = Page(face.with_name("m.view.html").read_bytes())
    arguments = ["view", face, "--head", pack / "head", "--no-open"]
    photo = ["--texture", face.with_name("photo.jpg")]
    assert main([str(argument) for argument in arguments + photo]) == 0
    assert "p.view.html (open it in a browser)" in capsys.readouterr().out
    assert Page(face.with_name("p.view.html").read_bytes()).data == first.data
    assert first.data["photo"]["size"][0] > 100
    assert first.title == "photo.jpg"
    assert main([str(argument) for argument in arguments]) == 0
    plain = Page(face.with_name("p.view.html").read_bytes()).data
    assert (plain["photo"], plain["texture"]) == (None, None)


def test_what_cannot_be_shown_is_one_line(face, pack, tmp_path, capsys):
    Image.new("RGB", (50, 60)).save(tmp_path / "other.png")
    (tmp_path / "no.json").write_text(json.dumps({"format": "else"}))
    head = ["--head", pack / "head", "--no-open"]
    for arguments, words in (
        ([face, "--texture", tmp_path / "other.png", *head], "50 x 60"),
        ([face, "--out", tmp_path / "page.pdf", *head], "ending in .html"),
        ([tmp_path / "no.json", *head], "reconstruct --params"),
        ([face, "--out", face.with_name("m.view.html"), *head], "--overwrite"),
        ([face, "--window", "--no-open"], "leave --out and --no-open out"),
    ):
        capsys.readouterr()
        assert main(["view", *map(str, arguments)]) == 2
        assert words in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--no-open"], "--no-open goes with --view"),
        (["--view", "film"], "film"),
        (["--view", "window", "--no-open"], "--no-open goes with --view"),
    ],
)
def test_options_that_do_not_fit_are_one_line(run, photo, tmp_path, options, words):
    code, _, err = run(photo, "--out", tmp_path / "m.obj", *options)
    assert code == 2
    assert words in one_line(err)
    assert not (tmp_path / "m.obj").exists()


def test_a_window_without_open3d_or_screen_is_one_line(run, photo, tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    code, _, err = run(photo, "--out", tmp_path / "m.obj", "--view", "window")
    assert code == 2
    installed = importlib.util.find_spec("open3d") is not None
    assert ("a screen" if installed else "pacofr[view]") in one_line(err)
    assert not (tmp_path / "m.obj").exists()
