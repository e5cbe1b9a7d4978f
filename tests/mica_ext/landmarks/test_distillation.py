"""Labels of the teacher, and the crops drawn from them: geometry, visibility, determinism."""

import shutil

import cv2
import numpy as np
import pytest
import torch

from flame_assets.errors import UserError as FlameError
from mica_ext.data.augmentation import occlusion
from mica_ext.data.augmentation.augment import local_warp, photometric_augment
from mica_ext.errors import UserError
from mica_ext.landmarks.config import LandmarkTrainingConfig
from mica_ext.landmarks.distillation.data import (
    CropReader,
    decoder_regression,
    inference_crops,
    split_faces,
)
from mica_ext.landmarks.distillation.face_store import (
    join_stores,
    load_store,
    make_store,
    save_store,
)
from mica_ext.landmarks.distillation.face_surface import FaceSurface, yaw_of
from mica_ext.landmarks.distillation.labels import label_photos
from mica_ext.landmarks.distillation.losses import Targets, landmark_loss
from mica_ext.landmarks.distillation.rendered_heads import rendered_heads
from mica_ext.landmarks.distillation.samples import sample_crop
from mica_ext.landmarks.distillation.train import train
from mica_ext.landmarks.distillation.turning import CANVAS, turn_face
from mica_ext.landmarks.regions import KEY_POINTS, REGIONS
from mica_ext.landmarks.student.network import LandmarkOutput
from mica_ext.landmarks.student.patches import PARTS, Frames, PartOutput, frames_of, to_patch
from pacofr.engine.batches.sampling import RankBatch
from pacofr.faces.face_mesh.task_file import load_face_mesh
from pacofr.faces.face_mesh.topology import FACE_OVAL, IBUG68, MIRROR
from pacofr.faces.landmarks68 import nme, read_pts


@pytest.fixture(scope="module")
def teacher(shared_data):
    return load_face_mesh(shared_data / "face_mesh" / "face_landmarker.task")


@pytest.fixture(scope="module")
def photo_folder(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for path in sorted((shared_data / "helen" / "trainset").glob("*.jpg"))[:8]:
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def labels_folder(photo_folder, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    label_photos((photo_folder,), teacher, folder)
    return folder


@pytest.fixture(scope="module")
def store(photo_folder, teacher, labels_folder):
    return label_photos((photo_folder,), teacher, labels_folder)


@pytest.fixture(scope="module")
def surface(store):
    return FaceSurface.from_faces(store.points)


@pytest.fixture(scope="module")
def heads(head, teacher):
    return rendered_heads(head, teacher, 4, seed=1)


def dotted(face, points):
    """The face's picture in grey with a white dot at each of these points."""
    picture = np.full_like(face.picture, 90)
    for x, y in np.rint(points).astype(int):
        cv2.circle(picture, (int(x), int(y)), 2, (255, 255, 255), -1)
    return picture


def brightness_at(picture, points):
    columns, rows = np.clip(np.rint(points), 0, np.array(picture.shape[1::-1]) - 1).astype(int).T
    return picture[rows, columns, 0]


def test_the_teachers_points_lie_where_people_marked_them(store, photo_folder, shared_data):
    marked = [read_pts(p) for p in sorted((shared_data / "helen" / "trainset").glob("*.pts"))[:8]]
    assert 7 <= len(store) <= 10
    unmatched = 0
    for index in range(len(store)):
        face = store.face(index)
        own = face.points[IBUG68, :2]
        errors = []
        for truth in marked:  # the picture is a part of the photo, reduced: same shape up to scale
            scale = np.linalg.norm(own[36] - own[45]) / np.linalg.norm(truth[36] - truth[45])
            moved = scale * (truth - truth[27:].mean(0)) + own[27:].mean(0)
            errors.append(float(nme(own[None], moved[None])[0]))
        unmatched += min(errors) > 7
    assert unmatched <= 2  # faces in the background have no markup


def test_labels_are_kept_and_belong_to_their_photos(
    photo_folder, teacher, tmp_path, store, labels_folder
):
    shutil.copytree(labels_folder, tmp_path / "faces")
    path = tmp_path / "faces" / "00000.safetensors"
    written = path.stat().st_mtime_ns
    again = label_photos((photo_folder,), teacher, tmp_path / "faces")
    assert path.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.points, store.points)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_bytes(cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1])
    with pytest.raises(UserError, match="other photos"):
        label_photos((other,), teacher, tmp_path / "faces")
    with pytest.raises(UserError, match="found none"):
        label_photos((other,), teacher, tmp_path / "new")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="delete the file"):
        label_photos((photo_folder,), teacher, tmp_path / "faces")


def test_stores_keep_their_faces(store, heads, tmp_path):
    joined = join_stores([store, heads])
    save_store(joined, tmp_path / "faces")
    back = load_store(tmp_path / "faces")
    assert len(back) == len(store) + len(heads)
    for number, (source, index) in {2: (store, 2), len(store) + 1: (heads, 1)}.items():
        for one, other in zip(back.face(number), source.face(index), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(make_store([])) == 0


def test_mirrored_faces_turn_the_other_way(store):
    yaw = yaw_of(store.points)
    mirrored = store.points[:, MIRROR] * [-1, 1, 1]
    np.testing.assert_allclose(yaw_of(mirrored), -yaw, atol=1e-5)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.5, 0.0), (-0.9, 0.1), (0.0, -0.2)])
def test_a_turned_face_has_its_points_where_its_skin_went(store, surface, yaw, pitch):
    index = int(np.abs(yaw_of(store.points)).argmin())
    face = store.face(index)
    chosen = np.array([4, 152, 61, 291, 50, 280, 10, 105, 334])  # apart from each other
    dots = face._replace(picture=dotted(face, face.points[chosen, :2]))
    turned = turn_face(dots, surface, yaw, pitch)
    assert float(yaw_of(face.points) - yaw_of(turned.points)) == pytest.approx(yaw, abs=0.06)
    seen = surface.facing(turned.points)[chosen]
    assert seen.sum() >= 5
    assert (brightness_at(turned.picture, turned.points[chosen[seen], :2]) > 140).mean() > 0.6
    assert np.median(turned.picture) == 90
    assert turned.picture.shape == (CANVAS, CANVAS, 3)


def test_a_face_that_is_not_turned_stays(store, surface):
    face = store.face(0)
    still = turn_face(face, surface, 0.0, 0.0)
    across = [np.linalg.norm(p[263, :2] - p[33, :2]) for p in (face.points, still.points)]
    ratios = np.linalg.norm(still.points[:, None, :2] - still.points[None, ::40, :2], axis=2)
    before = np.linalg.norm(face.points[:, None, :2] - face.points[None, ::40, :2], axis=2)
    np.testing.assert_allclose(ratios, before * across[1] / across[0], atol=1e-3 * CANVAS)


def test_frontal_faces_show_nearly_all_points_and_profiles_half(store, surface):
    index = int(np.abs(yaw_of(store.points)).argmin())
    face = store.face(index)
    assert surface.facing(face.points).mean() > 0.9
    side = turn_face(face, surface, 1.4, 0.0)
    seen = surface.facing(side.points)
    contour = seen[FACE_OVAL]
    assert 0.3 < contour.mean() < 0.7
    left_contour = MIRROR[FACE_OVAL] > FACE_OVAL
    assert abs(seen[FACE_OVAL[left_contour]].mean() - seen[FACE_OVAL[~left_contour]].mean()) > 0.6


def test_warped_points_stay_on_their_skin(store):
    face = store.face(0)
    rng = np.random.default_rng(4)
    chosen = np.array([4, 152, 61, 291, 50, 280, 10, 105, 334, 33, 263])
    for _ in range(5):
        warped, points = local_warp(dotted(face, face.points[chosen, :2]), face.points[:, :2], rng)
        assert (brightness_at(warped, points[chosen]) > 140).all()


def test_every_occluder_tells_what_it_hides(store):
    face = store.face(0)
    crop = cv2.resize(face.picture, (160, 160))
    points = face.points[:, :2] * 160 / face.picture.shape[0]
    rng = np.random.default_rng(5)
    for kind, _ in occlusion.OCCLUDERS:
        for _ in range(6):
            scene = occlusion.Scene(crop, points, rng, lambda: face.picture)
            mask, paint, opacity, hides = kind(scene)
            assert mask.shape == (160, 160)
            assert paint.shape == crop.shape
            assert 0 < opacity <= 1
            assert hides or kind in (occlusion.spectacles, occlusion.sunglasses)
            covered = mask[np.clip(points[:, 1], 0, 159).astype(int), points[:, 0].astype(int)] > 0
            if kind is occlusion.sunglasses:
                assert covered[REGIONS["left_eye"]].mean() > 0.9
                assert covered[REGIONS["mouth"]].mean() == 0
            if kind is occlusion.face_mask:
                assert covered[REGIONS["mouth"]].all()
                assert not covered[REGIONS["right_brow"]].any()


def test_hidden_regions_are_not_visible(store, surface, monkeypatch):
    monkeypatch.setattr(occlusion, "OCCLUDERS", ((occlusion.face_mask, 1.0),))
    rng, mouths, brows = np.random.default_rng(6), [], []
    names = list(REGIONS)
    for _ in range(60):
        face = store.face(int(rng.integers(len(store))))
        sample = sample_crop(
            face,
            surface,
            rng,
            128,
            may_turn=False,
            other_photo=lambda: face.picture,  # noqa: B023
        )
        mouths.append(sample.visibility[names.index("mouth")])
        brows.append(sample.visibility[names.index("left_brow")])
    assert 0.25 < np.mean(np.array(mouths) < 0.2) < 0.65  # as often as anything is put on
    assert np.mean(brows) > 0.85


def test_crops_follow_from_seed_epoch_and_index(store, heads):
    faces = split_faces(store, heads, holdout=2, seed=0)
    assert not set(faces.held_out) & {*faces.common, *faces.rare}
    read = CropReader(faces, 128, seed=0)
    rows = RankBatch(np.array([0, 1, 2]), np.array([0, 3, 1]), np.array([1, 0, 2]))
    one, same = read(rows), read(rows)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    other = read(rows._replace(epoch=rows.epoch + 1))
    assert not torch.equal(one.crops, other.crops)
    assert one.crops.shape == (3, 128, 128, 3)
    assert one.visibility.min() >= 0
    assert one.visibility.max() <= 1


def test_photometric_changes_keep_the_picture_recognisable(store):
    rng = np.random.default_rng(7)
    crop = cv2.resize(store.face(0).picture, (128, 128))
    small = cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA).astype(float).ravel()
    similar = []
    for _ in range(40):
        changed = photometric_augment(crop, rng)
        tiny = cv2.resize(changed, (16, 16), interpolation=cv2.INTER_AREA).astype(float).ravel()
        similar.append(np.corrcoef(small, tiny)[0, 1])
    assert np.median(similar) > 0.8
    assert min(similar) < 0.99


def test_rendered_heads_carry_the_teachers_points_to_any_yaw(heads):
    yaw = np.degrees(yaw_of(heads.points))
    assert np.ptp(yaw) > 60
    for index in range(len(heads)):
        face = heads.face(index)
        eyes = face.points[[33, 133, 362, 263]]
        widths = np.linalg.norm(eyes[[0, 2]] - eyes[[1, 3]], axis=1)
        assert abs(np.log(widths[0] / widths[1])) < 0.25  # in 3D both eyes are equally wide
        mouth_to_eyes = face.points[[61, 291]].mean(0) - eyes.mean(0)
        assert mouth_to_eyes[1] > 0
        near = face.visible[FACE_OVAL].mean()
        assert (0.25 if abs(yaw[index]) > 60 else 0.4) < near <= 1


def test_inference_crops_hold_the_teachers_points(store):
    crops = inference_crops(store, np.arange(4), 160)
    assert crops.crops.shape == (4, 160, 160, 3)
    assert crops.points.abs().max() < 1.05
    eyes = (crops.points[:, 263] - crops.points[:, 33]).norm(dim=1)
    assert ((eyes > 0.6) & (eyes < 1.0)).all()


def test_all_points_are_linear_in_the_key_points():
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(600, len(KEY_POINTS), 2, generator=generator)
    mixing = torch.randn(478, len(KEY_POINTS), generator=generator) / 12
    mixing[KEY_POINTS] = torch.eye(len(KEY_POINTS))
    points = torch.einsum("pk,nkc->npc", mixing, keys) + 0.3
    points[:, KEY_POINTS] = keys
    weight, bias = decoder_regression(points)
    predicted = keys.flatten(1) @ weight.T + bias
    torch.testing.assert_close(predicted.unflatten(1, (478, 2)), points, atol=2e-3, rtol=0)


def perfect_output(points, sharpness=4.0, side=32):
    centres = (torch.arange(side) + 0.5) * (2 / side) - 1
    keys = points[:, KEY_POINTS]
    maps = (-sharpness * (side / 2 * (centres - keys[..., None])).square()).softmax(-1)
    count = len(points)
    zeros = torch.zeros(count, len(REGIONS))
    return LandmarkOutput(
        points=points,
        whole_points=points,
        keys=keys,
        columns=maps[:, :, 0],
        rows=maps[:, :, 1],
        visibility_logits=zeros,
        log_errors=zeros,
        face_logit=torch.zeros(count),
        features=torch.zeros(count, 1),
    )


def test_the_loss_is_least_at_the_truth():
    generator = torch.Generator().manual_seed(0)
    points = 0.6 * torch.randn(3, 478, 2, generator=generator).clamp(-1, 1)
    targets = Targets(points, torch.ones(3, 7), torch.ones(3))
    best = landmark_loss(perfect_output(points), targets)
    assert best.error < 0.1  # a hundredth of a cell, where lengths are smoothed
    off = points.clone()
    off[:, KEY_POINTS[0]] += 0.02
    assert landmark_loss(perfect_output(off), targets).loss > best.loss
    eye, nose = points.clone(), points.clone()
    eye[:, 159] += 0.02
    nose[:, 4] += 0.02
    output = perfect_output(points)
    losses = [landmark_loss(output._replace(whole_points=p), targets).loss for p in (eye, nose)]
    assert losses[0] > losses[1] > best.loss  # lids count more
    seen = output._replace(parts=perfect_parts(points))
    moved = [landmark_loss(seen._replace(points=p), targets).loss for p in (points, eye)]
    assert moved[1] > moved[0]


def perfect_parts(points, shift=0.0, side=28):
    centres = (torch.arange(side) + 0.5) * (2 / side) - 1
    parts = []
    for part in PARTS:
        frames = frames_of(part, points)
        local = to_patch(part, points[:, part.points], frames) + shift
        maps = (-4 * (side / 2 * (centres - local[..., None])).square()).softmax(-1)
        unused = torch.zeros(len(points), 1)
        columns, rows = maps[:, :, 0], maps[:, :, 1]
        parts.append(PartOutput(local, local, columns, rows, unused, unused, frames))
    return tuple(parts)


def test_what_patches_show_is_learned_in_their_own_frames():
    generator = torch.Generator().manual_seed(1)
    points = 0.1 * torch.randn(2, 478, 2, generator=generator)
    points[:, [33, 263, 133, 362]] += torch.tensor([[-0.4, 0], [0.4, 0], [-0.2, 0], [0.2, 0]])
    targets = Targets(points, torch.ones(2, 7), torch.ones(2))
    output = perfect_output(points)
    best, worse = (
        landmark_loss(output._replace(parts=perfect_parts(points, shift)), targets).loss
        for shift in (0.0, 0.2)
    )
    assert best < worse
    seen = perfect_parts(points)
    frames = Frames(seen[2].frames.centre + 0.1, seen[2].frames.half)
    elsewhere = (*seen[:2], seen[2]._replace(frames=frames))
    assert landmark_loss(output._replace(parts=elsewhere), targets).loss > best


def test_points_count_for_nothing_where_there_is_no_face():
    generator = torch.Generator().manual_seed(0)
    points = 0.5 * torch.randn(2, 478, 2, generator=generator)
    other = points.clone()
    other[1] += 0.3
    output = perfect_output(points)
    face = torch.tensor([1.0, 0.0])
    a = landmark_loss(output, Targets(points, torch.ones(2, 7), face))
    b = landmark_loss(output, Targets(other, torch.ones(2, 7), face))
    assert torch.equal(a.loss, b.loss)
    assert torch.equal(a.error, b.error)


def test_the_expected_error_is_the_mean_error():
    points = torch.zeros(1, 478, 2)
    wrong = points + torch.tensor([0.03, 0.04])  # .05 of .78, 6.41 %
    targets = Targets(points, torch.ones(1, 7), torch.ones(1))
    expected = torch.full((1, 7), np.log(100 * 0.05 / 0.78))
    output = perfect_output(points)._replace(points=wrong)
    at = [
        float(landmark_loss(output._replace(log_errors=expected + change), targets).loss)
        for change in (-0.2, 0.0, 0.2)
    ]
    assert at[1] < min(at[0], at[2])


def config(photo_folder, out, task, **changes):
    options = {
        "photos": (photo_folder,),
        "out": out,
        "teacher_file": task,
        "whole_steps": 1,
        "parts_steps": 1,
        "confidence_steps": 1,
        "heads": 1,
        "batch": 8,
        "holdout": 2,
        "validate_every": 2,
    }
    return LandmarkTrainingConfig(**(options | changes))


def test_a_training_ends_with_weights_and_refuses_other_options(
    photo_folder, shared_data, tmp_path, monkeypatch
):
    task = shared_data / "face_mesh" / "face_landmarker.task"
    assert train(config(photo_folder, tmp_path / "run", task)) == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_size < 4_000_000
    assert train(config(photo_folder, tmp_path / "run", task)) == 0  # done: nothing more to do
    with pytest.raises(Exception, match="learning.rate") as caught:
        train(config(photo_folder, tmp_path / "run", task, learning_rate=1e-3))
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match="lower --holdout"):
        train(config(photo_folder, tmp_path / "run", task, holdout=500))
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "home"))
    with pytest.raises(FlameError, match="get face-mesh"):
        train(config(photo_folder, tmp_path / "new", None))


def test_options_that_make_no_sense_are_one_line(tmp_path):
    for change in (
        {"photos": ()},
        {"batch": 2},
        {"parts_steps": 0},
        {"learning_rate": 0.0},
        {"workers": -1},
    ):
        options = {"photos": (tmp_path,), "out": tmp_path} | change
        with pytest.raises(UserError, match="expected"):
            LandmarkTrainingConfig(**options)
