"""`mica-ext rebuild` with edits and `mica-ext sheet`, as a user runs them."""

import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from helpers.arkit_faces import WEIGHTS, of_weights
from helpers.clips import toy_clip
from helpers.command_output import one_line
from helpers.mica_toy import toy_face, toy_head
from PIL import Image
from scipy.spatial import KDTree

from flame_assets.arkit import EXPRESSIONS
from flame_assets.model.head_io import save_head
from flame_assets.model.head_module import HeadDecoder
from mica_ext.cli import main
from mica_ext.export.clip_json import save_clip
from mica_ext.export.face_json import load_face, save_face
from mica_ext.models.pose import in_pose
from mica_ext.models.types import Camera, FaceParameters
from pacofr.images.load import load_image

PHOTO = (96, 80)


@pytest.fixture
def files(head, tmp_path):
    """a.json of a face of Anthro beside its photo, and b.json of another with an expression."""
    camera = Camera(torch.tensor([120.0]), torch.tensor([[48.0, 40.0]]), torch.zeros(1, 3))
    camera = camera._replace(translation=torch.tensor([[0.0, 0.05, -0.5]]))
    for name, weights in (("a", {"browInnerUp": 0.5}), ("b", WEIGHTS)):
        parameters = FaceParameters(of_weights(head, weights), camera)
        face = toy_face(head)._replace(parameters=parameters, photo="a.png", photo_size=PHOTO)
        save_face(tmp_path / f"{name}.json", face)
    Image.new("RGB", PHOTO, (190, 150, 130)).save(tmp_path / "a.png")
    return tmp_path


@pytest.fixture
def run(capsys, files):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_edits_reach_every_file(run, files):
    """The mesh, its weights, the parameters and the pictures tell of the same edited face."""
    edits = ("--expression-from", files / "b.json", "--expression-scale", 0.5)
    out = (
        "--out",
        files / "e.glb",
        "--write-params",
        files / "e.json",
        "--overlay",
        files / "e.png",
    )
    options = (*edits, "--set", "jawOpen=0.4", *out, "--photo", files / "a.png")
    code, said, err = run("rebuild", files / "a.json", *options)
    assert code == 0, err
    assert "e.glb" in said
    wanted = {name: weight if "Look" in name else weight / 2 for name, weight in WEIGHTS.items()}
    wanted |= {"jawOpen": 0.4}
    glb = pygltflib.GLTF2().load(files / "e.glb")
    names = glb.meshes[0].extras["targetNames"]
    weights = dict(zip(names, glb.meshes[0].weights, strict=True))
    for name in EXPRESSIONS:
        assert weights.get(name, 0.0) == pytest.approx(wanted.get(name, 0.0), abs=1e-6), name
    assert len(glb.images) == 1
    ours, theirs = (load_face(files / name).parameters.head for name in ("e.json", "a.json"))
    assert torch.equal(ours.shape, theirs.shape)
    assert load_image(files / "e.png").shape[0] == 640


def test_on_another_head_the_mesh_is_the_person(run, files, flame_like_store, monkeypatch, head):
    monkeypatch.setenv("PACOFR_HOME", str(flame_like_store))
    (flame_like_store / "heads" / "anthro").symlink_to(flame_like_store / "source")
    try:
        code, said, err = run(
            "rebuild", files / "a.json", "--head", "flame-like", "--pose", "neutral", "--unit", "m",
            "--out", files / "other.ply",
        )  # fmt: skip
    finally:
        (flame_like_store / "heads" / "anthro").unlink()
    assert code == 0, err
    assert "anthro -> flame-like: skins 0." in said
    mesh = trimesh.load(files / "other.ply", process=False)
    options = ("--pose", "neutral", "--unit", "m", "-o", files / "own.ply")
    assert run("rebuild", files / "a.json", *options)[0] == 0
    own = trimesh.load(files / "own.ply", process=False)
    skin = head.regions["face"]
    assert np.median(KDTree(own.vertices).query(mesh.vertices[skin])[0]) < 0.001


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "jawopen=1"), "near it: jawOpen"),
        (("--set", "jawOpen=2"), "from 0 to 1"),
        (("--expression-scale", "9"), "expected a factor from 0 to 3"),
        (("--expression-scale", "nan"), "expected a factor from 0 to 3"),
        (("--expression-from", "none.json"), "none.json"),
        (("--overlay", "x.bmp"), "ending in .png"),
        (("--overlay", "x.obj.png", "--photo", "none.png"), "none.png"),
        (("--write-params", "x.obj"), "are the same"),
        (("--head", "nobody"), "no head 'nobody'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(run, files, monkeypatch, arguments, words):
    monkeypatch.chdir(files)
    code, _, err = run("rebuild", "a.json", "--out", "x.obj", *arguments)
    assert code == 2
    assert words in one_line(err)
    assert sorted(path.name for path in files.iterdir()) == ["a.json", "a.png", "b.json"]


def test_another_photo_and_a_missing_one_are_one_line(run, files):
    Image.new("RGB", (50, 50)).save(files / "small.png")
    code, _, err = run(
        "sheet", files / "a.json", "-o", files / "s.png", "--photo", files / "small.png"
    )
    assert code == 2
    assert "50 x 50 pixels, the face was reconstructed from a.png of 96 x 80" in one_line(err)
    (files / "a.png").unlink()
    code, _, err = run("sheet", files / "a.json", "-o", files / "s.png", "--style", "textured")
    assert code == 2
    assert "expected the photo a.png; give it with --photo" in one_line(err)
    assert not (files / "s.png").exists()


def test_a_head_that_is_no_face_has_no_arkit_weights(run, files):
    save_head(toy_head(), files / "head")
    save_face(files / "toy.json", toy_face(toy_head()))
    options = ("--head", files / "head", "--set", "jawOpen=1", "-o", files / "x.obj")
    code, _, err = run("rebuild", files / "toy.json", *options)
    assert code == 2
    assert "expected a face" in one_line(err)


def test_the_sheet_shows_twelve_faces(run, files):
    """The wink is on the person's left, the picture's right, and differs from rest nowhere else."""
    code, said, err = run("sheet", files / "a.json", "-o", files / "s.png", "--size", 128)
    assert code == 0, err
    assert "twelve expressions, textured" in said
    code, said, err = run(
        "sheet", files / "a.json", "-o", files / "c.png", "--size", 128, "--style", "clay"
    )
    assert code == 0, err
    sheet = load_image(files / "c.png").astype(int)
    width, label, gap = 110, 16, 6
    assert sheet.shape == (3 * (128 + label + gap) + gap, 4 * (width + gap) + gap, 3)

    def picture(row, column):
        top, left = gap + row * (128 + label + gap), gap + column * (width + gap)
        name = sheet[top + 128 : top + 128 + label, left : left + width]
        assert name.min() < 120  # written on
        return sheet[top : top + 128, left : left + width]

    rest = picture(0, 0)
    pictures = [picture(*divmod(index, 4)) for index in range(1, 12)]
    assert all(np.abs(other - rest).max() > 30 for other in pictures)
    winked = np.abs(picture(2, 1) - rest).sum((0, 2))
    assert winked[width // 2 :].sum() > 3 * winked[: width // 2].sum()


def test_frames_of_videos_are_faces_too(run, files, head):
    """A frame's mesh, its expression on another person, and what is said of a missing moment."""
    clip = toy_clip(head)
    save_clip(files / "clip.json", clip)
    assert run("rebuild", f"{files}/clip.json@0.11", "-o", files / "f.ply")[0] == 0
    assert run("view", f"{files}/clip.json@0.11", "--no-open")[0] == 0
    assert (files / "clip.json@0.11.view.html").is_file()
    one = in_pose(clip.parameters.select(3).head, "expressive")
    wanted = HeadDecoder(head)(one).vertices[0].numpy()
    found = trimesh.load(files / "f.ply", process=False).vertices / 1000
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    options = ("--expression-from", f"{files}/clip.json@0", "--write-params", files / "g.json")
    assert run("rebuild", files / "a.json", *options, "-o", files / "g.ply")[0] == 0
    moved = load_face(files / "g.json").parameters.head
    torch.testing.assert_close(
        moved.expression, clip.parameters.head.expression[:1], rtol=0, atol=2e-6
    )
    assert torch.equal(moved.shape, load_face(files / "a.json").parameters.head.shape)
    for name, words in (
        ("clip.json", "clip.json@1.5"),
        ("clip.json@9", "from 0 to"),
        ("clip.json@x", "from 0 to"),
    ):
        code, _, err = run("sheet", files / name, "-o", files / "s.png")
        assert code == 2
        assert words in one_line(err)
