"""`reconstruct` and `mica-ext` from outside: files, exit codes, one clear line on bad input.

The mechanics run with an untrained landmark network and a toy head; what the faces look like is
tested in test_mica_reconstruct.py.
"""

import json
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh
from helpers.mica_toy import toy_head
from PIL import Image

from flame_assets.model.head_io import save_head
from mica_ext.cli import main, reconstruct
from mica_ext.commands.config import ReconstructConfig
from mica_ext.commands.output_plan import EXAMPLE, PICTURES, make_plan
from mica_ext.errors import UserError
from mica_ext.landmarks.network import LandmarkNetwork
from mica_ext.landmarks.weights import save_landmark_network
from mica_ext.models.pack import Pack, load_pack, save_pack
from mica_ext.reconstruct import Reconstructor
from mica_ext.render import overlay as figure

LOADED: dict = {}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack whose network has not learned anything, with the toy head."""
    folder = tmp_path_factory.mktemp("pack")
    torch.manual_seed(0)
    save_landmark_network(
        LandmarkNetwork(), folder / "points", name="untrained", command="-", seed=0, score="none"
    )
    head = save_head(toy_head(), folder / "head")
    save_pack(
        Pack(name="packed", licence="tests only", head=str(head), landmarks=folder / "points"),
        folder,
    )
    return folder


@pytest.fixture
def run(pack, capsys, monkeypatch):
    """Run `reconstruct` with the test pack, loaded once; exit code, standard output and error."""
    load = Reconstructor.load

    def load_once(model, *, head, device):
        key = (model, head, device)
        if key not in LOADED:
            LOADED[key] = load(model, head=head, device=device)
        return LOADED[key]

    monkeypatch.setattr(Reconstructor, "load", load_once)

    def run(*arguments):
        code = reconstruct([str(a) for a in arguments] + ["--model", str(pack)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def photo(tmp_path):
    return shutil.copy(EXAMPLE, tmp_path / "photo.jpg")


def one_line(err):
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def test_one_photo_gives_all_the_files_asked_for(run, photo, tmp_path):
    code, out, _ = run(
        photo, "--out", tmp_path / "m.obj", "--params", tmp_path / "p.json",
        "--landmarks", tmp_path / "l.json", "--overlay", tmp_path / "o.png",
    )  # fmt: skip
    assert code == 0
    mesh = trimesh.load(tmp_path / "m.obj", process=False)
    assert 100 < np.ptp(mesh.vertices, axis=0).max() < 400  # a head in mm
    assert json.loads((tmp_path / "p.json").read_text())["units"]["length"] == "m"
    assert len(json.loads((tmp_path / "l.json").read_text())["landmarks68"]) == 68
    assert Image.open(tmp_path / "o.png").height == 640
    for word in ("model: packed (tests only)", "toy", "none needed", "untrained", "MTCNN", "MIT"):
        assert word in out


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
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


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
    assert sorted(p.name for p in out.iterdir()) == [
        "a.overlay.png", "a.ply", "a_2.overlay.png", "a_2.ply",
    ]  # fmt: skip
    assert "error: " in err
    assert "2 of 3 photos" in err
    assert "broken.png" in err
    assert "notes" not in err + said


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


@pytest.fixture
def crowd(tmp_path):
    """The example portrait three times, in three sizes."""
    portrait = Image.open(EXAMPLE).convert("RGB").crop((100, 0, 360, 300))
    canvas = Image.new("RGB", (900, 420), (120, 130, 140))
    canvas.paste(portrait, (10, 60))
    canvas.paste(portrait.resize((182, 210)), (330, 100))
    canvas.paste(portrait.resize((338, 390)), (550, 10))
    canvas.save(tmp_path / "crowd.png")
    return tmp_path / "crowd.png"


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
    assert len(set(files)) == len(list((tmp_path / "out").iterdir())) == 6


@pytest.mark.parametrize(("certainty", "warned"), [(0.0912, True), (0.1012, False)])
def test_doubts_about_a_face_are_told(run, photo, tmp_path, monkeypatch, certainty, warned):
    sure = Reconstructor.faces

    def faces(*arguments):
        doubts = {"confidence": certainty, "residual": 0.04567}
        return [face._replace(**doubts) for face in sure(*arguments)]

    monkeypatch.setattr(Reconstructor, "faces", faces)
    asked = (photo, "--out", tmp_path / "m.obj", "--overwrite")
    (record,) = json.loads(run(*asked, "--json")[1])["faces"]
    assert record["certainty"] == certainty
    assert record["residual"] == 0.0457
    warnings = [line for line in run(*asked)[1].splitlines() if "unsure" in line]
    assert len(warnings) == warned
    assert all("(0.091; faces have 0.10 or more)" in line for line in warnings)


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


def test_its_own_pictures_are_no_photos(run, photo, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photo, folder / "a.jpg")
    for _ in range(2):
        code, _, _ = run(folder, "--out", folder, "--overlay", folder, "--overwrite")
        assert code == 0
        assert sorted(p.name for p in folder.iterdir()) == ["a.jpg", "a.obj", "a.overlay.png"]
    (folder / "a.jpg").unlink()
    code, _, err = run(folder, "--out", tmp_path / "out")
    assert code == 2
    assert "holds no photo" in one_line(err)


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
    def plan():
        return make_plan(ReconstructConfig(photos=(tmp_path / "in",), out=tmp_path))

    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "a_2.jpg"):
        shutil.copy(photo, tmp_path / "in" / name)
    meshes = [job.outputs.mesh.name for job in plan().jobs]
    assert meshes == ["a.obj", "a_2.obj"]
    (tmp_path / "a.obj").write_text("of a.jpg")
    (tmp_path / "a_2.obj").write_text("of a_2.jpg")
    shutil.copy(photo, tmp_path / "in" / "a.jpeg")  # comes first now, and would be a.obj
    with pytest.raises(UserError, match=r"a_3.obj of a photo of the same name does not"):
        plan()
    (tmp_path / "a_3.obj").write_text("by hand")
    assert len(plan().done) == 3


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


def test_a_reader_that_has_had_enough_ends_the_run_quietly():
    script = (
        "from mica_ext.errors import run_command;exit(run_command(lambda: print('x' * 2**20) or 0))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


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


def test_existing_and_unwritable_outputs_are_refused_before_the_work(run, photo, tmp_path):
    taken = tmp_path / "m.obj"
    taken.write_text("precious")
    code, _, err = run(photo, "--out", taken)
    assert code == 2
    assert "--overwrite" in one_line(err)
    assert taken.read_text() == "precious"
    assert run(photo, "--out", taken, "--overwrite")[0] == 0
    assert taken.read_text() != "precious"
    code, _, err = run(photo, "--out", tmp_path / "no" / "m.obj")
    assert code == 2
    assert "make it first" in one_line(err)
    assert "mkdir" not in err  # which makes a folder called -p on Windows
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
        (("--out", "m.fbx"), ".obj .ply .stl .glb"),
        (("--out", "m.obj", "--overlay", "o.gif"), ".png"),
        (("--out", "m.obj", "--params", "p.txt"), ".json"),
        (("--out", "m.glb", "--unit", "mm"), "metres by definition"),
        (("--out", "m.obj", "--device", "tpu"), "--device"),
        (("--out", "m.obj", "--face", "best"), "--face: expected largest"),
        (("--out", "m.obj", "--neutral", "--posed"), "exclude each other"),
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


def test_several_photos_need_a_folder_and_a_folder_needs_photos(run, photo, tmp_path):
    code, _, err = run(photo, photo, "--out", tmp_path / "m.obj")
    assert code == 2
    assert "need a folder" in one_line(err)
    (tmp_path / "empty").mkdir()
    code, _, err = run(tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2
    assert "holds no image" in one_line(err)
    assert run("--out", tmp_path / "m.obj")[0] == 2


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
    assert PICTURES == figure.SUFFIXES  # repeated in outputs, for figure imports torch


@pytest.mark.parametrize("command", ["reconstruct", "mica-ext"])
def test_help_imports_nothing_heavy(command):
    name = {"reconstruct": "reconstruct", "mica-ext": "main"}[command]
    script = (
        "import sys, mica_ext.cli as cli\n"
        f"try: cli.{name}(['--help'])\n"
        "except SystemExit as end: assert end.code in (0, None)\n"
        "heavy = {'torch', 'numba', 'scipy', 'cv2', 'numpy', 'PIL', 'trimesh'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert "usage: " in done.stdout


def test_the_package_offers_the_reconstructor_without_loading_it_first():
    script = (
        "import sys, mica_ext\n"
        "print('torch' in sys.modules)\n"
        "from mica_ext import Reconstructor\n"
        "from mica_ext.reconstruct import Reconstructor as same\n"
        "print(Reconstructor is same, hasattr(mica_ext, 'Reconstruct'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True", "False"]


def test_importing_the_programs_costs_no_library():
    script = (
        "import sys; before = set(sys.modules); import mica_ext.cli\n"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    own = {"mica_ext"} | set(sys.stdlib_module_names)
    assert set(done.stdout.split()) <= own
