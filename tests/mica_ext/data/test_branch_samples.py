"""Samples' labels against independent projections, in tiny trees of the data sets' layouts."""

import json

import cv2
import numpy as np
import pytest
import torch
from helpers.command_output import one_line
from helpers.mica_toy import toy_head
from helpers.registered_heads import face_ball, sequence
from helpers.registration_trees import (
    COMA_SUBJECTS,
    FAMOS_SUBJECTS,
    PictureCamera,
    coma_tree,
    famos_pictures,
)
from scipy.spatial.transform import Rotation

from flame_assets.model.head import HeadModel
from flame_assets.model.head_io import save_head
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.cli import main
from mica_ext.data.branch.alignment import CameraPose, align_picture, move_camera
from mica_ext.data.branch.sample import BranchSample, decode_sample, encode_arrays
from mica_ext.data.branch.shards import BranchDataset
from mica_ext.data.branch.sources.mica_set import find_actors
from mica_ext.data.branch.sources.tsai import read_tka
from mica_ext.data.branch.splits import split_people
from mica_ext.data.skipped import SkipCounter
from mica_ext.errors import UserError
from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from pacofr.faces.landmarks68 import five_points


@pytest.fixture(scope="module")
def head() -> HeadModel:
    """A ball whose landmarks are those of a face: the adaptors crop by them."""
    return face_ball()


@pytest.fixture(scope="module")
def head_folder(head, tmp_path_factory):
    return save_head(head, tmp_path_factory.mktemp("head") / "head")


@pytest.fixture
def run(head_folder, tmp_path, capsys):
    """Run a command with the head; exit code, standard output and error."""

    def run(command, source, *arguments, out):
        flags = ["--head", str(head_folder), "--out", str(tmp_path / out), "--threads", "1"]
        code = main([command, source, *map(str, arguments), *flags])
        return code, *capsys.readouterr()

    return run


def decoded(head, sample: BranchSample):
    """Mesh and camera that a sample's labels give."""
    zero = np.zeros(3, np.float32)
    names = ("shape", "expression", "global_pose", "neck_pose", "jaw_pose")
    rows = [getattr(sample, name) for name in names]
    rows += [zero if e is None else e for e in (sample.left_eye_pose, sample.right_eye_pose)]
    parameters = HeadParameters(*(torch.from_numpy(row)[None] for row in rows))
    camera = (sample.focal_px, sample.centre_px[None], sample.translation[None])
    with torch.no_grad():
        return HeadDecoder(head)(parameters), Camera(*(torch.from_numpy(part) for part in camera))


def check_labels(head, sample: BranchSample, atol_px=0.3):
    """The labels' head, projected, has its five points where the sample's are."""
    mesh, camera = decoded(head, sample)
    if sample.posed_vertices is not None:
        np.testing.assert_allclose(mesh.vertices[0], sample.posed_vertices, atol=5e-5)
    landmarks = HeadDecoder(head).frontal_landmarks(mesh.vertices)
    points = five_points(project(camera, landmarks)[0].double().numpy())
    np.testing.assert_allclose(points, sample.five_points, atol=atol_px)
    eyes = np.linalg.norm(sample.five_points[1] - sample.five_points[0])
    assert 10 < eyes < 80
    assert (sample.five_points > 40).all()
    assert (sample.five_points < 280).all()


def split_sizes(out):
    about = json.loads((out / "samples.json").read_text())
    return about["samples"], about


def test_a_camera_moves_exactly_with_its_picture():
    rng = np.random.default_rng(0)
    points, root = rng.normal(0, 0.08, (30, 3)), rng.normal(0, 0.05, 3)
    rotation = Rotation.from_rotvec([0.2, -0.4, 0.1]).as_matrix()
    camera = CameraPose(rotation, 900.0, np.array([310.0, 190.0]), np.array([0.1, 0.05, -0.8]))
    turn = Rotation.from_euler("z", 25, degrees=True).as_matrix()[:2, :2]
    matrix = np.column_stack([0.6 * turn, [15.0, -40.0]])

    def pixels(camera):
        head = (points - root) @ camera.rotation.T + root + camera.translation
        x, y, z = head.T
        return camera.centre_px + camera.focal_px * np.stack([x, -y], 1) / -z[:, None]

    moved = pixels(move_camera(camera, root, matrix))
    np.testing.assert_allclose(moved, pixels(camera) @ matrix[:, :2].T + matrix[:, 2], atol=1e-9)


def test_samples_are_read_as_they_were_written():
    rng = np.random.default_rng(1)
    picture = np.zeros((320, 320, 3), np.uint8)
    vertices = rng.normal(0, 0.05, (50, 3)).astype(np.float32)
    sample = BranchSample(
        picture, np.ones((5, 2), np.float32), "anna", "here", 0.5, posed_vertices=vertices,
        shape=np.arange(4, dtype=np.float32),
    )  # fmt: skip
    about = {"subject": "anna", "source": "here", "confidence": 0.5}
    again = decode_sample(picture, about, encode_arrays(sample))
    np.testing.assert_allclose(again.posed_vertices, vertices, atol=6e-6)
    np.testing.assert_array_equal(again.shape, sample.shape)
    assert again.expression is None
    assert (again.subject, again.confidence) == ("anna", 0.5)
    with pytest.raises(UserError, match="damaged"):
        decode_sample(picture, about, b"no tensors")
    with pytest.raises(UserError, match=r"below 0\.65 m"):
        encode_arrays(sample._replace(posed_vertices=vertices * 50))


@pytest.mark.parametrize("count", [1, 2, 3, 12, 95])
def test_nobody_is_in_two_splits_and_order_does_not_matter(count):
    people = [f"person {number}" for number in range(count)]
    splits = split_people(people, 0.1, 0.1)
    assert splits == split_people(reversed(people), 0.1, 0.1)
    assert sorted(splits) == sorted(people)
    assert "train" in splits.values()
    if count >= 3:
        assert set(splits.values()) == {"train", "val", "test"}


def test_calibrations_project_and_undistort_as_tsai_says(tmp_path):
    camera = PictureCamera([0.2, 0.1, 1.0], distortion=(2e-3, 1e-6))
    camera.write(tmp_path / "view_C.tka")
    full = read_tka(tmp_path / "view_C.tka")
    quarter = full.scaled(300, 400)
    points = np.random.default_rng(2).normal(0, 0.1, (20, 3))
    np.testing.assert_allclose(quarter.project(points), camera.pixels(points), atol=1e-6)
    assert np.isnan(quarter.project(np.array([[0.4, 0.2, 2.0]]))).all()
    assert full.scaled(400, 400) is None

    def ramp(at):  # what the pinhole camera would see
        return 120 + 60 * np.sin(at[..., 0] / 25) + 50 * np.cos(at[..., 1] / 30)

    grid = np.stack(np.meshgrid(np.arange(300.0), np.arange(400.0)), -1)
    on_sensor = (4 * grid - camera.centre) * camera.pixel_mm
    square = np.square(on_sensor).sum(-1, keepdims=True)
    ideal = on_sensor * (1 + 2e-3 * square + 1e-6 * square**2)
    ideal = (ideal / camera.pixel_mm + camera.centre) / 4
    assert np.abs(ideal - grid).max() > 3
    taken = np.repeat(ramp(ideal)[..., None], 3, 2).astype(np.uint8)
    seen = quarter.undistort(taken)[20:-20, 20:-20, 0].astype(float)
    np.testing.assert_allclose(seen, ramp(grid)[20:-20, 20:-20], atol=3)


REST_OF_TKA = "%X 0\n%Y 0\n%Z 0\n%f 1\n%K 0\n%K2 0\n%x 1\n%y 1\n%a 0\n%b 0\n%is 4 4\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty|lacks the rotation"),
        ("%M\n1 0 0\n0 1 0\n0 0 1\n", "lacks %K"),
        ("%M\n1 0 0\n0 1\n0 0 1\n", "expected a camera calibration"),
        ("%M\n1 0 0\n0 2 0\n0 0 1\n" + REST_OF_TKA, "rotation"),
        ("%f nan\n", "no number of %f"),
        ("%f 1e300\n", "no number of %f below 100000"),
        (
            "%M\n1 0 0\n0 1 0\n0 0 1\n" + REST_OF_TKA.replace("%x 1", "%x 1e-320"),
            "pixel and picture sizes",
        ),
    ],
)  # fmt: skip
def test_files_that_are_no_calibration(tmp_path, text, message):
    (tmp_path / "bad.tka").write_text(text)
    with pytest.raises(UserError, match=message):
        read_tka(tmp_path / "bad.tka")


def test_coma_is_rendered(run, head, tmp_path):
    coma_tree(tmp_path / "data", head, frames=2)
    assert run("fit", "coma", tmp_path / "data", out="fits")[0] == 0
    flags = ("--fits", tmp_path / "fits", "--every", "2")
    assert run("samples", "coma", tmp_path / "data", *flags, out="samples")[0] == 0
    sizes, about = split_sizes(tmp_path / "samples")
    assert sum(sizes.values()) == 4
    assert "VOCASET" in about["card"]
    seen = set()
    for split in sizes:
        samples = BranchDataset(tmp_path / "samples" / split)
        for index in range(len(samples)):
            check_labels(head, samples[index])
            assert samples[index].picture.std() > 5
        people = {samples[index].subject for index in range(len(samples))}
        assert not people & seen
        seen |= people
    assert seen == set(COMA_SUBJECTS)
    markers = sorted((tmp_path / "samples").rglob("*.tar"))
    before = [path.read_bytes() for path in markers]
    (tmp_path / "samples/.parts/000001.json").unlink()  # as if stopped there
    assert run("samples", "coma", tmp_path / "data", *flags, out="samples")[0] == 0
    assert [path.read_bytes() for path in markers] == before
    code, _, err = run("samples", "coma", tmp_path / "data", *flags[:2], out="samples")
    assert code == 2
    assert "other settings" in one_line(err)


@pytest.fixture
def famos(head, tmp_path):
    """A tree with pictures of two cameras; the heads look towards them."""
    return famos_pictures(tmp_path / "famos", head)


def test_famos_pictures_with_their_calibrations(run, head, famos, tmp_path):
    assert run("fit", "famos", famos, out="fits")[0] == 0
    flags = ("--fits", tmp_path / "fits", "--max-yaw", "85")
    assert run("samples", "famos", famos, *flags, out="samples")[0] == 0
    sizes, about = split_sizes(tmp_path / "samples")
    assert sizes == {"train": 8, "val": 8}  # by the published lists; from behind left out
    assert about["skipped"]["head turned away from the camera"]["count"] == 8
    assert "NoW benchmark" in about["card"]
    assert "share people" in about["card"]
    for split, subject in zip(("train", "val"), FAMOS_SUBJECTS, strict=True):
        samples = BranchDataset(tmp_path / "samples" / split)
        for index in range(len(samples)):
            sample = samples[index]
            check_labels(head, sample)
            assert sample.subject == subject
            assert "_C.png" in sample.source
            at = np.round(sample.five_points).astype(int)
            assert sample.picture[at[:, 1], at[:, 0]].min() > 180  # the dots of the picture


def test_famos_with_parts_missing(run, head, famos, tmp_path):
    assert run("fit", "famos", famos, out="fits")[0] == 0
    first, second = FAMOS_SUBJECTS
    images, calibrations = famos / "train_images_4", famos / "train_calibrations"
    stranger = images / first / "anger/000099"
    stranger.mkdir()
    (images / first / "anger/000001/anger.000001.26_C.png").write_bytes(b"no picture")
    for path in (images / second / "anger/000002").iterdir():
        path.unlink()
    (calibrations / second / "head_rotation_left_right/26_C.tka").unlink()
    PictureCamera([0.1, 0.0, 1.1]).write(calibrations / first / "anger/27_C.tka", size=(1600, 1200))
    away = PictureCamera([0.5, 0.0, 1.0])
    away.rotation = PictureCamera([0.5, 0.0, -1.0]).rotation
    flags = ("--fits", tmp_path / "fits", "--max-yaw", "85")
    code, out, _ = run("samples", "famos", famos, *flags, out="samples")
    assert code == 0
    sizes, about = split_sizes(tmp_path / "samples")
    skipped = {reason: each["count"] for reason, each in about["skipped"].items()}
    assert skipped.pop("head turned away from the camera") > 0
    assert skipped == {
        "picture without its mesh": 1,
        "unreadable picture": 1,
        "calibration for another camera": 2,
        "mesh without its picture": 1,
        "picture without its calibration": 2,
    }
    assert sum(sizes.values()) == 16 - 1 - 2 - 2 - 2
    assert sum(line.startswith("left out: ") for line in out.splitlines()) == 6
    code, _, err = run("samples", "coma", famos, *flags[:2], out="other")
    assert code == 2
    assert "expected fits of coma, got famos" in one_line(err)


@pytest.mark.slow
def test_people_who_look_like_a_scan_are_left_out(run, head, famos, tmp_path):
    """A scan of one of them, by the benchmark's own layout."""
    from eval_now.data.scan_degradation import ScanDegradation, degrade_to_scan
    from eval_now.data.synthetic import write_scan
    from eval_now.geometry.mesh import Mesh

    assert run("fit", "famos", famos, out="fits")[0] == 0
    shape = sequence(head, 1, seed=1).parameters.shape
    zero = HeadParameters.zeros(head)
    with torch.no_grad():
        mesh = HeadDecoder(head)(zero._replace(shape=shape))
    truth = Mesh(1000 * mesh.vertices[0].double().numpy(), head.triangles.astype(np.int64))
    landmarks = 1000 * mesh.landmarks7[0].double().numpy()
    scan = degrade_to_scan(truth, landmarks, 5, ScanDegradation(max_edge_mm=6.0, holes=0, spikes=0))
    write_scan(tmp_path / "now", "FaMoS_180424_03335_TA", scan)
    flags = ("--fits", tmp_path / "fits", "--exclude-like", tmp_path / "now")
    code, out, _ = run("samples", "famos", famos, *flags, out="samples")
    assert code == 0
    assert f"left out: {FAMOS_SUBJECTS[1]}, 0." in out
    sizes, about = split_sizes(tmp_path / "samples")
    assert list(sizes) == ["train"]
    assert [each["subject"] for each in about["excluded"]] == [FAMOS_SUBJECTS[1]]
    assert "FaMoS_180424_03335_TA" in about["card"]


def test_rendered_heads_know_everything(tmp_path, capsys):
    from flame_assets.store import load_head

    flags = ["--count", "3", "--val", "0", "--test", "0", "--head", "anthro", "--threads", "1"]
    assert main(["samples", "heads", "--out", str(tmp_path / "heads"), *flags]) == 0
    assert "3 in train (3 people)" in capsys.readouterr().out
    samples, anthro = BranchDataset(tmp_path / "heads/train"), load_head("anthro")
    for index in range(3):
        sample = samples[index]
        mesh, camera = decoded(anthro, sample)
        points = five_points(project(camera, mesh.landmarks)[0].double().numpy())
        np.testing.assert_allclose(points, sample.five_points, atol=0.3)


def test_photos_get_pseudo_labels(shared_data, tmp_path, capsys):
    from flame_assets.store import load_head

    photos = tmp_path / "photos"
    (photos / "person").mkdir(parents=True)
    some = sorted((shared_data / "helen/trainset").glob("*.jpg"))[:2]
    for path in some:
        (photos / "person" / path.name).write_bytes(path.read_bytes())
    (photos / "empty.png").write_bytes(cv2.imencode(".png", np.zeros((90, 90, 3)))[1].tobytes())
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    flags = ["--val", "0", "--test", "0", "--head", "anthro", "--threads", "1"]
    assert main(["samples", "photos", str(photos), "--out", str(tmp_path / "out"), *flags]) == 0
    out = capsys.readouterr().out
    assert "1 x no face" in out
    assert "1 x unreadable photo" in out
    samples, anthro = BranchDataset(tmp_path / "out/train"), load_head("anthro")
    assert len(samples) == 2
    for index in range(2):
        sample = samples[index]
        assert sample.subject == "person"
        assert 0.3 < sample.confidence <= 1
        mesh, camera = decoded(anthro, sample)
        points = five_points(project(camera, mesh.landmarks)[0].double().numpy())
        eyes = np.linalg.norm(sample.five_points[1] - sample.five_points[0])
        assert np.abs(points - sample.five_points).mean() < 0.15 * eyes
        assert sample.points_px.shape == (478, 2)
        nose = sample.points_px[1]
        assert np.linalg.norm(nose - sample.five_points[2]) < 0.3 * eyes


def test_people_of_micas_data_set(tmp_path):
    """The neutral fit of several, photos or else their crops; what is missing is counted."""
    head = toy_head(2, shape_count=300, expression_count=100)
    betas = np.random.default_rng(4).normal(size=400)
    for actor, fit in (("F0001", "a_AN01"), ("F0001", "b_NE00WH"), ("F0002", "c"), ("F0003", "d")):
        place = tmp_path / "BU3DFE/FLAME_parameters" / actor
        place.mkdir(parents=True, exist_ok=True)
        np.savez(place / f"{fit}.npz", betas=betas * (fit != "a_AN01"), pose=np.zeros(15))
    (tmp_path / "BU3DFE/FLAME_parameters/F0003/d.npz").write_bytes(b"PK no archive")
    for path in ("images/F0001/1.jpg", "images/F0001/2.png", "images/F0001/.x.jpg"):
        (tmp_path / "BU3DFE" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "BU3DFE" / path).touch()
    (tmp_path / "BU3DFE/arcface_input/F0003").mkdir(parents=True)
    (tmp_path / "BU3DFE/arcface_input/F0003/3.jpg").touch()
    skipped = SkipCounter()
    (actor,) = find_actors(tmp_path, head, skipped)
    assert actor.name == "BU3DFE/F0001"
    assert [path.name for path in actor.photos] == ["1.jpg", "2.png"]
    np.testing.assert_allclose(actor.shape, betas[:300], rtol=1e-6)
    assert {reason: each.count for reason, each in skipped.counts.items()} == {
        "person without photos": 1,
        "unreadable FLAME parameters": 1,
    }
    with pytest.raises(UserError, match="expected NAME/FLAME_parameters/ACTOR"):
        find_actors(tmp_path / "BU3DFE/images", head, skipped)
    with pytest.raises(UserError, match="give --head flame2020"):
        find_actors(tmp_path, toy_head(2), skipped)


def test_aligned_pictures_keep_what_surrounds_the_face():
    photo = np.zeros((400, 400, 3), np.uint8)
    five = np.array([[170, 180], [230, 180], [200, 215], [175, 250], [225, 250]], float)
    for x, y in five.astype(int):
        cv2.circle(photo, (x, y), 4, (255, 255, 255), -1)
    aligned = align_picture(photo, five)
    at = np.round(aligned.five_points).astype(int)
    assert aligned.picture[at[:, 1], at[:, 0]].min() > 200
    np.testing.assert_allclose(aligned.five_points.mean(0), 160, atol=25)
    with_border = align_picture(photo, five * 0.3)
    assert (with_border.picture[0, 0] == 128).all()  # outside of the photo
