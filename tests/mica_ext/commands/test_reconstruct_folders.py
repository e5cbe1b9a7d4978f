"""Folders of photos: what is taken, what is skipped and said, where the results lie."""

import json
import os
import shutil

import pytest
from helpers.command_output import one_line, results

from mica_ext.commands.photo_run.photo_list import list_photos
from mica_ext.commands.photo_run.progress import Progress


def test_a_folder_goes_on_past_a_bad_file_and_exits_3(run, photo, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photo, folder / "a.jpg")
    shutil.copy(photo, folder / "a.jpeg")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not even by name")
    out = tmp_path / "meshes.v2"  # a folder's name may hold a dot
    code, said, err = run(folder, "--out", out, "--overlay", out, "--format", "ply")
    assert code == 3
    assert results(out) == [
        "a.overlay.png", "a.ply", "a_2.overlay.png", "a_2.ply",
    ]  # fmt: skip
    assert "error: " in err
    assert "2 of 3 photos" in err
    assert "broken.png" in err
    assert "skipped: 1 not named like a photo (notes.txt)\n" in err


def test_its_own_pictures_are_no_photos(run, photo, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photo, folder / "a.jpg")
    for _ in range(2):
        code, _, _ = run(folder, "--out", folder, "--overlay", folder, "--overwrite")
        assert code == 0
        assert results(folder) == ["a.jpg", "a.obj", "a.overlay.png"]
    (folder / "a.jpg").unlink()
    code, _, err = run(folder, "--out", tmp_path / "out")
    assert code == 2
    assert "holds no photo; skipped: 1 not named like a photo (a.obj), 1 own" in one_line(err)


def test_several_photos_need_a_folder_and_a_folder_needs_photos(run, photo, tmp_path):
    code, _, err = run(photo, photo, "--out", tmp_path / "m.obj")
    assert code == 2
    assert "need a folder" in one_line(err)
    (tmp_path / "empty").mkdir()
    code, _, err = run(tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2
    assert "holds no image" in one_line(err)
    assert run("--out", tmp_path / "m.obj")[0] == 2


@pytest.fixture
def tree(photo, tmp_path):
    """A folder with everything that a folder of photos may hold; only names count here."""
    root = tmp_path / "in"
    (root / "trip" / "day 2").mkdir(parents=True)
    for name in ("b.JPG", "Photo 2021.05.01.jpg", "trip/a.png", "trip/day 2/a.jpg", "._b.jpg"):
        shutil.copy(photo, root / name)
    for name in ("notes.txt", "clip.mp4", "b.overlay.png", "trip/c.cr2"):
        (root / name).write_bytes(b"x")
    (root / "again").symlink_to(root, target_is_directory=True)
    (root / "gone.jpg").symlink_to(root / "nothing.jpg")
    os.mkfifo(root / "pipe.png")
    return root


def test_what_is_skipped_is_counted_by_reason_with_an_example(tree):
    listed = list_photos([tree], recursive=False)
    assert [str(photo.relative) for photo in listed.photos] == ["Photo 2021.05.01.jpg", "b.JPG"]
    assert {(skipped.reason, skipped.count, skipped.example) for skipped in listed.skipped} == {
        ("hidden", 1, "._b.jpg"),
        ("subfolders without --recursive", 2, "again"),
        ("own overlay pictures", 1, "b.overlay.png"),
        ("not named like a photo", 2, "clip.mp4"),
        ("broken links or special files", 2, "gone.jpg"),
    }


def test_recursive_takes_subfolders_once_and_counts_what_is_in_them(tree):
    listed = list_photos([tree], recursive=True)
    assert [photo.relative.as_posix() for photo in listed.photos] == [
        "Photo 2021.05.01.jpg", "b.JPG", "trip/a.png", "trip/day 2/a.jpg",
    ]  # fmt: skip
    assert ("folders met before", 1) in {row[:2] for row in listed.skipped}
    assert ("not named like a photo", 3) in {row[:2] for row in listed.skipped}


def test_folders_may_be_nested_deeper_than_python_calls(tmp_path):
    folder = tmp_path / "top"
    folder.mkdir()
    (folder / "face.jpg").touch()
    for _ in range(1010):
        folder /= "d"
        folder.mkdir()
    (folder / "face.png").touch()
    try:
        listed = list_photos([tmp_path / "top"], recursive=True)
    finally:
        (folder / "face.png").unlink()
        os.removedirs(folder)  # rmtree would call itself as deeply
    assert [photo.path.suffix for photo in listed.photos] == [".png", ".jpg"]


def test_recursive_results_lie_in_subfolders_of_the_same_names(run, tree, tmp_path):
    out = tmp_path / "out"
    code, said, err = run(tree, "--out", out, "--recursive", "--json")
    assert code == 0
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.obj"))
    assert made == ["Photo 2021.05.01.obj", "b.obj", "trip/a.obj", "trip/day 2/a.obj"]
    assert err.startswith("skipped: 1 hidden (._b.jpg), ")
    assert len(json.loads(said)["skipped"]) == 5
    code, _, err = run(tree, "--out", out, "--recursive")
    assert code == 0
    assert "4 of 4 photos are done already;" in err


def test_all_faces_of_one_photo_go_into_a_folder_that_is_made(run, crowd, tmp_path):
    out = tmp_path / "new" / "faces"
    code, said, _ = run(crowd, "--face", "all", "--out", out, "--params", out)
    assert code == 0
    names = [
        f"crowd{face}{kind}"
        for face in ("", "_face2", "_face3")
        for kind in (".obj", ".params.json")
    ]
    assert results(out) == sorted(names)
    assert "3 faces found of those of 32 px and more" in said


def test_faces_smaller_than_asked_for_are_left_out_with_their_number(run, crowd, tmp_path):
    code, said, _ = run(crowd, "--face", "all", "-o", tmp_path / "m.obj", "--min-face", "80")
    assert code == 0
    assert "3 faces found" in said
    assert "1 left out as too small" in said
    code, _, err = run(crowd, "-o", tmp_path / "n.obj", "--min-face", "500")
    assert code == 2
    assert "no face found of at least 500 pixels" in one_line(err)


def test_progress_in_a_pipe_is_a_line_now_and_then(capsys):
    times = iter([0.0, 4.0, 12.0, 20.0, 30.0, 41.0])
    with Progress(5, clock=lambda: next(times)) as progress:
        for number in range(5):
            progress.advance()
            progress.say(f"photo {number}")
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"photo {number}" for number in range(5)]
    assert err.splitlines() == [
        "2 of 5 photos, 0.2 a second, 18 s left",
        "4 of 5 photos, 0.1 a second, 8 s left",
    ]
