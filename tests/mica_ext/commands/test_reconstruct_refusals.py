"""What `reconstruct` refuses: one line, exit code 2, nothing written."""

import json

import pytest
from helpers.command_output import one_line
from PIL import Image

from mica_ext.cli import reconstruct
from mica_ext.commands.photo_run.output_plan import EXAMPLE, PICTURES
from mica_ext.models.pack import load_pack
from mica_ext.render.pictures import SUFFIXES

BAD_FILES = {
    "empty.jpg": b"",
    "text.jpg": b"this is no image, whatever its name says",
    "cut.jpg": EXAMPLE.read_bytes()[:30000],
}


@pytest.mark.parametrize(
    "name", [*BAD_FILES, "missing.jpg", "loop.jpg", "long" * 70, "bomb.png", "wall.png"]
)
def test_bad_photos_are_refused_in_one_line_with_nothing_written(run, tmp_path, name):
    path = tmp_path / name
    if name in BAD_FILES:
        path.write_bytes(BAD_FILES[name])
    elif name == "loop.jpg":
        path.symlink_to(name)
    elif name == "bomb.png":
        Image.new("1", (20000, 20000)).save(path)
    elif name == "wall.png":
        Image.new("RGB", (300, 300), (90, 120, 90)).save(path)
    out = tmp_path / "out"
    out.mkdir()
    code, _, err = run(
        path, "--out", out / "m.obj", "--params", out / "p.json", "--overlay", out / "o.png"
    )
    assert code == 2
    assert name in one_line(err)
    assert list(out.iterdir()) == []


def test_existing_and_unwritable_outputs_are_refused_before_the_work(run, photo, tmp_path):
    taken = tmp_path / "m.obj"
    taken.write_text("precious")
    code, _, err = run(photo, "--out", taken)
    assert code == 2
    assert "--overwrite" in one_line(err)
    assert taken.read_text() == "precious"
    assert run(photo, "--out", taken, "--overwrite")[0] == 0
    assert taken.read_text() != "precious"
    assert run(photo, "--out", tmp_path / "no" / "such" / "m.obj")[0] == 0
    assert (tmp_path / "no" / "such" / "m.obj").exists()
    code, _, err = run(photo, "--out", f"{photo}/m.obj")
    assert code == 2
    assert "is a file" in one_line(err)
    code, _, err = run(photo, "--out", tmp_path / "m2.obj", "--overlay", photo, "--overwrite")
    assert code == 2
    assert "given as input" in one_line(err)
    code, _, err = run(photo, "--params", tmp_path / "a.json", "--landmarks", tmp_path / "a.json")
    assert code == 2
    assert "two results" in one_line(err)


def test_a_folder_without_rights_is_refused(run, photo, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # tests may run as root
    code, _, err = run(photo, "--out", tmp_path / "m.obj")
    assert code == 2
    assert "no right to write" in one_line(err)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "nothing to write"),
        (("--out", "m.fbx"), ".obj .ply .stl .glb .off .3mf .dae"),
        (("--out", "m.obj", "--overlay", "o.gif"), ".png"),
        (("--out", "m.obj", "--params", "p.txt"), ".json"),
        (("--out", "m.glb", "--unit", "mm"), "metres by definition"),
        (("--out", "m.obj", "--device", "tpu"), "--device"),
        (("--out", "m.obj", "--face", "best"), "--face: expected largest"),
        (("--out", "m.obj", "--neutral", "--posed"), "exclude each other"),
        (("--out", "m.obj", "--min-face", "0"), "--min-face: expected a number of pixels above 0"),
        (("--out", "m.obj", "--min-face", "nan"), "--min-face: expected"),
        (("--out", "m.obj", "--threads", "0"), "--threads: expected 1 or more"),
        (("--out", "m.obj", "--head", "nobody"), "no head 'nobody'"),
    ],
)
def test_options_that_cannot_work_are_refused(run, photo, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, _, err = run(photo, *arguments)
    assert code == 2
    assert word in one_line(err)
    assert sorted(tmp_path.iterdir()) == before


def test_a_pack_is_read_strictly(pack, tmp_path, run, photo):
    assert load_pack(pack).landmarks == pack / "points"
    content = json.loads((pack / "pack.json").read_text())
    for change in (
        {"extra": 1},
        {"format": "x"},
        {"version": 2},
        {"landmarks": "nowhere"},
        {"head": 3},
    ):
        (tmp_path / "pack.json").write_text(
            json.dumps(content | {"landmarks": str(pack / "points")} | change)
        )
        code = reconstruct([str(photo), "--out", str(tmp_path / "m.obj"), "--model", str(tmp_path)])
        assert code == 2, change
    assert not (tmp_path / "m.obj").exists()


def test_names_of_pictures_are_known_without_what_draws_them():
    assert PICTURES == SUFFIXES  # repeated, for the overlay module imports numba
