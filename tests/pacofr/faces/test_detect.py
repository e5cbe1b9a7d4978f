"""Face detection: the weights' gate, real photos with known landmarks, turned photos, choice."""

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pacofr.errors import UserError
from pacofr.faces.detect import detect, smallest_searched
from pacofr.faces.landmarks68 import five_points, inter_ocular, read_pts
from pacofr.faces.mtcnn import cascade, weights
from pacofr.faces.mtcnn.cascade import load_mtcnn
from pacofr.faces.mtcnn.networks import ONet, PNet, RNet
from pacofr.images import load_image


class Found:
    """Detection of one Helen photo: five-point error over the outer eye corners' distance."""

    def __init__(self, photo: Path) -> None:
        truth = read_pts(photo.with_suffix(".pts"))
        five, span = five_points(truth), inter_ocular(truth[None])[0]
        faces = detect(np.asarray(Image.open(photo).convert("RGB")))
        errors = [np.hypot(*(face.points - five).T).mean() / span for face in faces]
        self.error = min(errors, default=np.inf)
        self.hit = self.error < 0.5


def helen(shared_data: Path, step: int) -> list[Found]:
    photos = sorted((shared_data / "helen" / "testset").glob("*.jpg"))[::step]
    assert photos
    return [Found(photo) for photo in photos]


def check_helen(found: list[Found], recall: float) -> None:
    hits = [f.error for f in found if f.hit]
    print(f"recall {len(hits) / len(found):.4f}, five-point NME {np.mean(hits):.4f}")
    assert len(hits) >= recall * len(found)
    assert np.mean(hits) <= 0.040


def test_helen_sample(shared_data):
    check_helen(helen(shared_data, 8), 0.97)


@pytest.mark.slow
def test_helen_testset(shared_data):
    check_helen(helen(shared_data, 1), 0.99)


@pytest.fixture(scope="module")
def portrait(shared_data):
    photo = sorted((shared_data / "london" / "neutral_front").glob("*.jpg"))[0]
    return cv2.resize(np.asarray(Image.open(photo).convert("RGB")), (320, 320))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photo_gives_the_upright_ones_points_turned(portrait, quarters):
    wide = np.pad(portrait, ((0, 0), (30, 90), (0, 0)), mode="edge")
    upright = detect(wide)[0]
    turned = np.rot90(wide, quarters).copy()
    face = detect(turned)[0]
    for (x, y), (px, py) in zip(upright.points, face.points, strict=True):
        marks = np.zeros(wide.shape[:2], np.float32)
        marks[round(y), round(x)] = 1
        row, column = np.argwhere(np.rot90(marks, quarters) == 1)[0]
        assert np.hypot(px - column, py - row) < 5
    x0, y0, x1, y1 = face.box
    assert x0 < face.points[:, 0].min() < face.points[:, 0].max() < x1
    assert y0 < face.points[:, 1].min() < face.points[:, 1].max() < y1


def test_a_large_photo_gives_points_in_its_own_pixels(portrait):
    large = cv2.resize(portrait, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    small_face, large_face = detect(portrait)[0], detect(large)[0]
    shift = (large_face.points + 0.5) / 6 - 0.5 - small_face.points
    assert np.abs(shift).max() < 0.02 * small_face.size


def test_several_faces_come_largest_first(portrait):
    half = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    sheet = np.full((320, 640, 3), 128, np.uint8)
    sheet[:160, 40:200] = half
    sheet[:, 320:] = portrait
    faces = detect(sheet)
    assert len(faces) == 2
    assert faces[0].points[2, 0] > 320 > faces[1].points[2, 0]
    assert faces[0].size > 1.5 * faces[1].size


def tight(photo: Path, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """The landmarks' bounding box with a margin, and the landmarks in it."""
    image, truth = load_image(photo), read_pts(photo.with_suffix(".pts"))
    low, high = truth.min(0), truth.max(0)
    border = margin * (high - low)
    x0, y0 = np.maximum(low - border, 0).astype(int)
    x1, y1 = (high + border).astype(int)
    return image[y0:y1, x0:x1].copy(), truth - [x0, y0]


def test_a_face_that_fills_the_frame_is_found(shared_data):
    """79 in a hundred are found without mirroring the borders."""
    photos = sorted((shared_data / "helen" / "testset").glob("*.jpg"))[::5]
    found = 0
    for photo in photos:
        crop, truth = tight(photo, -0.05)
        five, span = five_points(truth), inter_ocular(truth[None])[0]
        faces = detect(crop, rotations=False)
        found += any(np.hypot(*(f.points - five).T).mean() / span < 0.5 for f in faces)
    print(f"{found} of {len(photos)} found")
    assert found >= 0.84 * len(photos)


def without_faces(shared_data: Path, step: int) -> list[np.ndarray]:
    """Walls, hair and clothes beside the faces of real photos, and textures."""
    random = np.random.default_rng(0)
    crops = []
    for photo in sorted((shared_data / "london" / "smiling_front").glob("*.jpg"))[::step]:
        image = load_image(photo)
        crops += [image[:140, :140], image[-90:, :], image[:, -120:]]
    for side in range(2, 200 // step):
        coarse = random.integers(0, 256, (side, side, 3), np.uint8)
        crops.append(cv2.resize(coarse, (300, 240), interpolation=cv2.INTER_CUBIC))
    return [np.ascontiguousarray(crop) for crop in crops]


@pytest.mark.parametrize(("step", "allowed"), [(20, 0), pytest.param(1, 0, marks=pytest.mark.slow)])
def test_mirrored_borders_raise_no_false_alarm(shared_data, step, allowed):
    crops = without_faces(shared_data, step)
    alarms = [faces for crop in crops if (faces := detect(crop, rotations=False))]
    print(f"{len(alarms)} alarms in {len(crops)} crops")
    assert len(alarms) <= allowed


def test_many_small_faces_of_a_large_photo_are_found(portrait):
    """24 faces of 100 px in 24 megapixels."""
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    assert 90 < detect(cv2.copyMakeBorder(small, *[200] * 4, cv2.BORDER_REPLICATE))[0].size < 130
    ramp = np.linspace(90, 160, 6000, dtype=np.uint8)[None, :, None]
    photo = np.broadcast_to(ramp, (4000, 6000, 3)).copy()
    places = [(400 + 900 * row, 300 + 950 * column) for row in range(4) for column in range(6)]
    for y, x in places:
        photo[y : y + 256, x : x + 256] = small
    faces = detect(photo, min_face=80.0)
    assert smallest_searched(photo.shape) > 100
    assert smallest_searched(photo.shape, 80.0) == 80.0
    noses = np.array([face.points[2] for face in faces])
    for y, x in places:
        assert (np.abs(noses - [x + 128, y + 128]).max(1) < 60).sum() == 1
    assert len(faces) == 24


def test_bands_of_a_large_photo_give_what_the_whole_gives(portrait, monkeypatch):
    photo = np.tile(cv2.resize(portrait, (250, 250)), (2, 3, 1))
    whole = load_mtcnn()(photo[None], 20.0)
    monkeypatch.setattr(cascade, "BAND_PIXELS", 5000)
    monkeypatch.setattr(cascade, "CHUNK_PATCHES", 7)
    bands = load_mtcnn()(photo[None], 20.0)
    assert len(whole.boxes) == len(bands.boxes) > 5
    assert np.allclose(whole.boxes, bands.boxes, atol=1e-2)
    assert np.allclose(whole.points, bands.points, atol=1e-2)


@pytest.mark.parametrize(("quarters", "degrees"), [(0, 0), (1, -90), (2, 180), (3, 90)])
def test_how_far_a_face_is_turned(portrait, quarters, degrees):
    face = detect(np.rot90(portrait, quarters).copy())[0]
    apart = (face.roll_degrees - degrees + 180) % 360 - 180
    assert abs(apart) < 8


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (11, 30), (64, 64), (300, 200)])
def test_photos_without_a_face_give_none(shape):
    assert detect(np.full((*shape, 3), 90, np.uint8)) == []


def test_weights_of_another_file_are_refused_before_they_are_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path(tmp_path / "sprung").touch, ())

    (tmp_path / "pnet.lz4").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="not the file of mtcnn 1.0.0.*pip install"):
        weights.read_weights("pnet", tmp_path)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(UserError, match="cannot read.*pip install"):
        weights.read_weights("rnet", tmp_path)


def test_one_flipped_bit_in_the_weights_is_noticed(tmp_path):
    shutil.copy(weights.weights_folder() / "onet.lz4", tmp_path)
    data = bytearray((tmp_path / "onet.lz4").read_bytes())
    data[900_000] ^= 1
    (tmp_path / "onet.lz4").chmod(0o644)
    (tmp_path / "onet.lz4").write_bytes(bytes(data))
    with pytest.raises(UserError, match="sha256"):
        weights.read_weights("onet", tmp_path)


def test_a_missing_wheel_is_explained(monkeypatch):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install"):
        weights.weights_folder()


@pytest.mark.parametrize(("name", "net"), [("pnet", PNet), ("rnet", RNet), ("onet", ONet)])
def test_every_array_is_used_and_none_overlaps(name, net):
    state = weights.read_weights(name)
    assert set(state) == set(net().state_dict())
    assert all(torch.isfinite(value).all() for value in state.values())
    places = weights.FILES[name].arrays
    for one, other in zip(places, places[1:], strict=False):
        assert one.offset + 4 * np.prod(one.shape) < other.offset


def test_a_batch_gives_what_single_photos_give(portrait):
    blank = np.full_like(portrait, 200)
    mirrored = portrait[:, ::-1].copy()
    found = load_mtcnn()(np.stack([portrait, blank, mirrored]), 40.0)
    assert sorted(set(found.image[found.scores > 0.9].tolist())) == [0, 2]
    alone = load_mtcnn()(mirrored[None], 40.0)
    assert np.allclose(found.points[found.image == 2][0], alone.points[0], atol=1e-2)
