"""A folder run goes on where it stopped, and reuses files only for the same settings."""

import dataclasses
import json
import os
import shutil

import pytest
from helpers.command_output import one_line
from helpers.mica_toy import toy_head

from flame_assets.model.head_io import save_head
from mica_ext.cli import reconstruct
from mica_ext.commands.config import ReconstructConfig
from mica_ext.commands.photo_run.output_plan import EXAMPLE, make_plan
from mica_ext.commands.photo_run.reuse import FolderRecords, select_jobs
from mica_ext.commands.photo_run.run_record import RECORD_FILE
from mica_ext.errors import UserError


def test_a_folder_run_goes_on_where_it_stopped(run, photo, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(photo, folder / "a.jpg")
    asked = (folder, "--out", out, "--params", out)
    assert run(*asked)[0] == 0
    for name in ("b.jpg", "c.jpg"):
        shutil.copy(photo, folder / name)
    (out / "a.obj").write_text("not made anew")
    code, said, err = run(*asked, "--json")
    assert code == 0
    assert err == "1 of 3 photos are done already; --overwrite does them anew\n"
    report = json.loads(said)
    assert [face["photo"][-5:] for face in report["faces"]] == ["b.jpg", "c.jpg"]
    assert report["done_before"] == [str(folder / "a.jpg")]
    assert (out / "a.obj").read_text() == "not made anew"
    code, said, err = run(*asked)
    assert code == 0
    assert "3 of 3 photos are done" in err
    (out / "b.params.json").unlink()
    code, _, err = run(*asked)
    assert code == 2
    assert "b.params.json of the same photo does not" in one_line(err)
    assert run(*asked, "--overwrite")[0] == 0
    assert (out / "a.obj").read_text() != "not made anew"
    assert (out / "b.params.json").exists()


def test_files_of_photos_of_one_name_are_done_together_or_not(photo, tmp_path):
    """Of files without a record, as older versions left them."""

    def jobs():
        return make_plan(ReconstructConfig(photos=(tmp_path / "in",), out=tmp_path)).jobs

    def select():
        return select_jobs(jobs(), {}, FolderRecords())

    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "a_2.jpg"):
        shutil.copy(photo, tmp_path / "in" / name)
    meshes = [job.outputs.mesh.name for job in jobs()]
    assert meshes == ["a.obj", "a_2.obj"]
    (tmp_path / "a.obj").write_text("of a.jpg")
    (tmp_path / "a_2.obj").write_text("of a_2.jpg")
    shutil.copy(photo, tmp_path / "in" / "a.jpeg")  # comes first now, and would be a.obj
    with pytest.raises(UserError, match=r"a_3.obj of a photo of the same name does not"):
        select()
    (tmp_path / "a_3.obj").write_text("by hand")
    assert (len(select().done), select().unrecorded) == (3, 3)


@pytest.fixture(scope="module")
def two_done(pack, tmp_path_factory):
    """A folder `in` of two photos, and `out` with their results."""
    place = tmp_path_factory.mktemp("two")
    (place / "in").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(EXAMPLE, place / "in" / name)
    asked = [place / "in", "--out", place / "out", "--params", place / "out"]
    assert reconstruct([*map(str, asked), "--model", str(pack), "--keep-unsure"]) == 0
    return place


@pytest.fixture
def made(two_done, tmp_path):
    """The command's arguments that made two photos' results, in a folder of this test's own."""
    shutil.copytree(two_done, tmp_path, dirs_exist_ok=True)
    return (tmp_path / "in", "--out", tmp_path / "out", "--params", tmp_path / "out")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--neutral",), "pose expressive (now neutral)"),
        (("--posed",), "pose expressive (now posed)"),
        (("--unit", "cm"), "unit mm (now cm)"),
        (("--face", "center"), "face largest (now center)"),
        (("--min-face", "90"), "min-face default (now 90.0)"),
        (("--neutral", "--unit", "m"), "pose expressive (now neutral), unit mm (now m)"),
    ],
)
def test_changed_settings_are_said_in_one_line_and_nothing_is_kept_or_lost(
    run, made, tmp_path, flags, word
):
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    code, out, err = run(*made, *flags)
    assert code == 2
    assert f"a.obj: was made with {word}; choose another folder, or give --over" in one_line(err)
    assert "(2 photos are concerned)" in err
    assert out == ""
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    code, _, err = run(*made, *flags, "--overwrite")
    assert (code, err) == (0, "")
    assert run(*made, *flags)[2].startswith("2 of 2 photos are done already;")
    assert "(now" in run(*made)[2]


def test_another_head_is_another_setting(run, made, pack, tmp_path):
    wider = dataclasses.replace(toy_head(), name="wider", template=toy_head().template * 1.01)
    code, _, err = run(*made, "--head", save_head(wider, tmp_path / "wider"))
    assert code == 2
    assert "was made with head toy 1 " in one_line(err)
    assert "(now wider 1)" in err
    same_name = dataclasses.replace(wider, name="toy")
    code, _, err = run(*made, "--head", save_head(same_name, tmp_path / "toy"))
    assert code == 2
    assert "was made with head geometry " in one_line(err)
    assert run(*made, "--head", pack / "head")[0] == 0  # the pack's own, by its path


def test_a_photo_with_other_content_is_not_taken_for_the_old_one(run, made, photo, tmp_path):
    picture = tmp_path / "in" / "b.jpg"
    os.utime(picture, (1, 1))  # another time alone is no other content
    assert run(*made)[2].startswith("2 of 2 photos are done")
    picture.write_bytes(picture.read_bytes()[:-2] + b"xx")
    os.utime(picture, (2, 2))
    code, _, err = run(*made)
    assert code == 2
    assert "b.obj: was made of an earlier content of this photo" in one_line(err)


def test_a_photo_that_takes_the_name_of_another_is_told_apart(run, made, photo, tmp_path):
    shutil.copy(photo, tmp_path / "in" / "a.jpeg")  # comes first now, and would be a.obj
    code, _, err = run(*made)
    assert code == 2
    assert "a.obj: was made of the photo a.jpg" in one_line(err)


def test_files_of_a_killed_process_are_made_again(run, made, tmp_path):
    out = tmp_path / "out"
    records = FolderRecords()
    records.start([out / "a.obj", out / "a.params.json"], create=True)  # killed while replacing
    (out / "a.params.json").unlink()
    (out / "a.obj").write_text("half a mesh")
    with (out / RECORD_FILE).open("ab") as stream:
        stream.write(b'{"made":["b.obj"],"pho')  # killed while writing the record
    code, said, err = run(*made, "--json")
    assert code == 0
    assert err == "1 of 2 photos are done already; --overwrite does them anew\n"
    (face,) = json.loads(said)["faces"]
    assert face["photo"].endswith("a.jpg")
    assert (out / "a.obj").read_text().startswith("# head: toy")
    assert run(*made)[2].startswith("2 of 2 photos are done already;")


def test_files_of_older_versions_are_kept_and_said_to_be_of_unknown_settings(run, made, tmp_path):
    (tmp_path / "out" / RECORD_FILE).unlink()
    code, _, err = run(*made, "--neutral")
    assert code == 0
    assert err == (
        "2 of 2 photos are done already (2 of them with unknown settings); --overwrite does them "
        "anew\n"
    )


def test_the_record_follows_a_single_file_that_is_replaced(run, made, photo, tmp_path):
    out = tmp_path / "out"
    one = ("--out", out / "a.obj", "--params", out / "a.params.json", "--overwrite")
    assert run(tmp_path / "in" / "a.jpg", *one, "--neutral")[0] == 0
    code, _, err = run(*made)
    assert code == 2
    assert "a.obj: was made with pose neutral (now expressive)" in one_line(err)
    alone = tmp_path / "alone"
    assert run(photo, "--out", alone / "m.obj")[0] == 0
    assert [path.name for path in alone.iterdir()] == ["m.obj"]  # no record for single files


def test_further_faces_belong_to_what_is_done(run, crowd, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(crowd, folder / "crowd.png")
    asked = (folder, "--out", out, "--face", "all")
    assert run(*asked)[0] == 0
    (out / "crowd_face2.obj").unlink()
    code, _, err = run(*asked)
    assert code == 2
    assert "crowd_face2.obj of the same photo does not" in one_line(err)


def test_records_hold_no_path_of_the_machine(run, made, tmp_path):
    record = (tmp_path / "out" / RECORD_FILE).read_text()
    assert '"name":"a.jpg"' in record
    assert str(tmp_path) not in record


def test_a_record_that_is_a_device_or_foreign_is_no_trap(run, made, tmp_path):
    record = tmp_path / "out" / RECORD_FILE
    record.write_bytes(
        b"[" * 5000 + b"\n5\nnull\n" + b'{"made":5,"photo":[],"by":{}}\n' + b"\0" * 99
    )
    assert run(*made)[2].startswith("2 of 2 photos are done already (2 of them with unknown")
    record.unlink()
    os.mkfifo(record)
    code, _, err = run(*made)
    assert code == 2
    assert "is a FIFO: expected a regular file" in one_line(err)
