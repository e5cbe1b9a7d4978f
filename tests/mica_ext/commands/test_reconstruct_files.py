"""The files that `reconstruct` writes: kinds, units, faces, names."""

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh
from helpers.command_output import one_line, results
from helpers.mica_toy import toy_head
from PIL import Image

from eval_now.io.meshes import load_mesh
from mica_ext.cli import main
from mica_ext.commands.photo_run.output_plan import EXAMPLE


def test_one_photo_gives_all_the_files_asked_for(run, photo, tmp_path):
    code, out, _ = run(
        photo, "--out", tmp_path / "m.obj", "--params", tmp_path / "p.json",
        "--landmarks", tmp_path / "l.json", "--overlay", tmp_path / "o.png",
    )  # fmt: skip
    assert code == 0
    mesh = trimesh.load(tmp_path / "m.obj", process=False)
    assert 100 < np.ptp(mesh.vertices, axis=0).max() < 400  # a head in mm
    assert json.loads((tmp_path / "p.json").read_text())["units"]["length"] == "m"
    marks = json.loads((tmp_path / "l.json").read_text())
    keys = ("landmarks68", "landmarks68_px", "points478_px")
    assert [len(marks[key]) for key in keys] == [68, 68, 478]
    assert Image.open(tmp_path / "o.png").height == 640
    assert "model:" not in out
    assert f"-> {tmp_path / 'm.obj'}, {tmp_path / 'p.json'}" in out
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["model"] == {"name": "packed", "licence": "tests only"}
    assert content["head"]["licence"] == "none needed"


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_verbose_tells_what_was_used_and_its_licences(run, photo, tmp_path, flag):
    code, out, _ = run(photo, "-o", tmp_path / "m.obj", flag)
    assert code == 0
    told = dict(line.split(": ", 1) for line in out.splitlines()[-4:])
    assert told["model"] == "packed (tests only)"
    assert told["head"] == "toy 1 (none needed)"
    assert told["weights"].startswith("landmarks478 ")
    assert told["weights"].endswith("(untrained)")
    assert told["detector"].startswith("MTCNN")


@pytest.mark.parametrize(
    ("suffix", "pose"), [("obj", []), ("ply", ["--neutral"]), ("glb", ["--posed"])]
)
def test_the_parameter_file_rebuilds_the_same_bytes(
    run, photo, tmp_path, capsys, pack, suffix, pose
):
    assert (
        run(photo, "--out", tmp_path / f"a.{suffix}", "--params", tmp_path / "p.json", *pose)[0]
        == 0
    )
    arguments = ["rebuild", tmp_path / "p.json", "--out", tmp_path / f"b.{suffix}"]
    assert main([str(a) for a in arguments] + ["--head", str(pack / "head")]) == 0
    made, again = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    if suffix == "glb":  # all but the photo's texture, which only the photo can give
        first, second = (pygltflib.GLTF2().load(path) for path in (made, again))
        assert len(first.images) == 1
        assert not second.images
        assert first.meshes[0].weights == second.meshes[0].weights
        place = [file.meshes[0].primitives[0].attributes.POSITION for file in (first, second)]
        assert first.accessors[place[0]].max == second.accessors[place[1]].max
        assert first.accessors[place[0]].min == second.accessors[place[1]].min
    else:
        assert made.read_bytes() == again.read_bytes()


def test_units_scale_the_mesh_and_the_landmarks(run, photo, tmp_path):
    sizes, points = {}, {}
    for unit in ("mm", "cm", "m"):
        mesh, marks = tmp_path / f"{unit}.ply", tmp_path / f"{unit}.json"
        assert run(photo, "--out", mesh, "--landmarks", marks, "--unit", unit)[0] == 0
        sizes[unit] = np.ptp(trimesh.load(mesh).vertices)
        points[unit] = np.array(json.loads(marks.read_text())["landmarks68"])
    assert sizes["mm"] == pytest.approx(10 * sizes["cm"], rel=1e-5)
    assert sizes["cm"] == pytest.approx(100 * sizes["m"], rel=1e-5)
    np.testing.assert_allclose(points["mm"], 1000 * points["m"], rtol=1e-6)


def test_a_glb_and_the_landmarks_beside_it_are_in_metres(run, photo, tmp_path):
    mesh, marks = tmp_path / "m.glb", tmp_path / "l.json"
    code, said, _ = run(photo, "--out", mesh, "--landmarks", marks, "--json")
    assert code == 0
    assert json.loads(said)["faces"][0]["unit"] == "m"
    content = json.loads(marks.read_text())
    assert content["unit"] == "m"
    head = trimesh.load(mesh, force="mesh")
    low, high = head.bounds
    assert np.ptp(head.vertices, axis=0).max() < 0.4
    assert (content["landmarks68"] >= low - 0.01).all()
    assert (content["landmarks68"] <= high + 0.01).all()


def test_several_photos_report_as_json(run, photo, tmp_path):
    code, out, err = run(photo, tmp_path / "missing.jpg", "--out", tmp_path / "out", "--json")
    report = json.loads(out)
    assert code == 3
    assert [face["files"] for face in report["faces"]] == [[str(tmp_path / "out" / "photo.obj")]]
    assert "does not exist" in report["failures"][0]["error"]
    assert report["head"]["name"] == "toy"
    assert report["model"] == {"name": "packed", "licence": "tests only"}
    assert {"name", "version", "licence"} <= report["weights"].keys()
    assert "missing.jpg" in err


def test_with_several_faces_it_says_so_and_takes_the_one_asked_for(run, crowd, tmp_path):
    boxes = {}
    for choice in ("largest", "center", "2"):
        out = tmp_path / f"{choice}.obj"
        code, said, _ = run(
            crowd, "--out", out, "--face", choice, "--params", tmp_path / f"{choice}.json"
        )
        assert code == 0
        assert "3 faces found" in said
        boxes[choice] = json.loads((tmp_path / f"{choice}.json").read_text())["photo"]["box"]
    assert boxes["largest"][0] > 550
    assert 330 < boxes["center"][0] < 520
    assert boxes["2"] == boxes["center"]  # the middle one is the smallest
    code, said, _ = run(crowd, "--out", tmp_path / "all.obj", "--face", "all")
    assert code == 0
    assert {"all.obj", "all_face2.obj", "all_face3.obj"} <= {p.name for p in tmp_path.iterdir()}
    code, _, err = run(crowd, "--out", tmp_path / "x.obj", "--face", "3")
    assert code == 2
    assert "3 found" in one_line(err)


def test_faces_of_photos_of_one_name_never_share_a_file(run, crowd, tmp_path):
    other = tmp_path / "other" / "crowd.jpg"
    other.parent.mkdir()
    Image.open(crowd).save(other)
    code, said, _ = run(crowd, other, "--out", tmp_path / "out", "--face", "all", "--json")
    files = [file for face in json.loads(said)["faces"] for file in face["files"]]
    assert code == 0
    assert len(set(files)) == len(results(tmp_path / "out")) == 6


def test_a_further_face_leaves_its_name_to_the_photo_of_that_name(run, crowd, photo, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(crowd, folder / "ann.png")
    shutil.copy(photo, folder / "ann_Face2.jpg")
    out = tmp_path / "out"
    code, said, _ = run(folder, "--out", out, "--overlay", out, "--face", "all", "--json")
    assert code == 0
    made = {}
    for face in json.loads(said)["faces"]:
        made.setdefault(face["photo"], []).append([file.split("/")[-1] for file in face["files"]])
    assert made == {
        str(folder / "ann.png"): [
            ["ann.obj", "ann.overlay.png"],
            ["ann_face3.obj", "ann_face3.overlay.png"],
            ["ann_face4.obj", "ann_face4.overlay.png"],
        ],
        str(folder / "ann_Face2.jpg"): [["ann_Face2.obj", "ann_Face2.overlay.png"]],
    }


def test_a_photo_that_fails_half_way_leaves_nothing(run, photo, tmp_path):
    """The overlay, written last, exceeds the limit that mesh and parameters keep within."""
    out = tmp_path / "out"
    out.mkdir()
    old = out / "old.json"
    old.write_text("precious")
    names = ("--out", out / "m.obj", "--params", old, "--overlay", out / "o.png", "--overwrite")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        code, _, err = run(photo, *names)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert f"{out / 'o.png'}: cannot be written (File too large)" in one_line(err)
    assert list(out.iterdir()) == [old]
    assert old.read_text() == "precious"


@pytest.mark.parametrize("kind", ["grey16", "cmyk", "alpha", "exif"])
def test_odd_but_good_photos_work(run, tmp_path, kind):
    portrait = Image.open(EXAMPLE).convert("RGB")
    path = tmp_path / {"cmyk": "p.jpg", "exif": "p.jpg"}.get(kind, "p.png")
    if kind == "grey16":
        grey = np.asarray(portrait.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(path)
    elif kind == "cmyk":
        portrait.convert("CMYK").save(path)
    elif kind == "alpha":
        portrait.putalpha(255)
        portrait.save(path)
    else:
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying on its side
        portrait.rotate(90, expand=True).save(path, exif=exif)
    code, _, _ = run(path, "--out", tmp_path / "m.obj", "--params", tmp_path / "p.json")
    assert code == 0
    box = json.loads((tmp_path / "p.json").read_text())["photo"]["box"]
    np.testing.assert_allclose(box, [180, 62, 266, 172], atol=14)


def test_a_textured_obj_names_its_material_and_picture(run, photo, tmp_path):
    out = tmp_path / "m.obj"
    code, said, _ = run(photo, "--out", out, "--texture", "--json")
    assert code == 0
    names = ["m.obj", "m.mtl", "m.texture.png"]
    assert [Path(file).name for file in json.loads(said)["faces"][0]["files"]] == names
    assert "mtllib m.mtl" in out.read_text()
    assert "map_Kd m.texture.png" in (tmp_path / "m.mtl").read_text()
    read = trimesh.load(out, force="mesh", process=False)
    assert read.visual.material.image.size == (1024, 1024)
    code, _, err = run(photo, "--out", out, "--texture")
    assert code == 2
    assert "exists" in err


def test_a_textured_ply_shows_its_picture_in_trimesh_too(run, photo, tmp_path):
    assert run(photo, "--out", tmp_path / "m.ply", "--texture")[0] == 0
    read = trimesh.load(tmp_path / "m.ply", process=False)
    assert read.visual.kind == "texture"
    assert len(load_mesh(tmp_path / "m.ply").vertices) == toy_head().vertices_count
    assert (tmp_path / "m.texture.png").is_file()
    assert not (tmp_path / "m.mtl").exists()


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--out", "m.stl", "--texture"), "--texture goes with .obj .ply .glb"),
        (("--out", "m.glb", "--solid"), "--solid goes with"),
        (("--params", "p.json", "--texture"), "give --out mesh.obj"),
        (("--out", "m.obj", "--texture", "--solid"), "exclude each other"),
    ],
)
def test_textures_and_closed_meshes_that_cannot_be_are_refused(run, photo, tmp_path, flags, word):
    paths = [tmp_path / flag if "." in flag else flag for flag in flags]
    code, _, err = run(photo, *paths)
    assert code == 2
    assert word in err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_names_that_end_a_line_do_not_end_one_in_files_or_on_screen(run, photo, tmp_path):
    odd = tmp_path / "a\nv 9 9 9.obj"
    code, out, err = run(photo, "--out", odd, "--texture")
    assert code == 2
    assert "expected a name without line ends" in err
    assert len(err.splitlines()) == 1
    code, out, _ = run(photo, "--out", odd, "--params", tmp_path / "\x1b[31m.json")
    assert code == 0
    assert all(line.startswith(f"{photo}: ") for line in out.splitlines())
    assert "a\\nv 9 9 9.obj" in out
    assert "\\x1b[31m.json" in out


def test_solid_meshes_are_watertight(run, photo, tmp_path):
    assert run(photo, "--out", tmp_path / "m.stl", "--solid")[0] == 0
    read = trimesh.load(tmp_path / "m.stl")
    assert read.is_watertight
    assert read.volume > 0
