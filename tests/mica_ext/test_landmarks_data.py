"""Crops for the landmark network: points stay on what they mark, and agree with the product's."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.landmarks.annotated_photos import LabelledPhoto, read_labelled
from mica_ext.landmarks.augment import local_warp
from mica_ext.landmarks.network import crop_view
from mica_ext.landmarks.samples import sample_crop
from mica_ext.landmarks.view import view_to_crop
from mica_ext.preprocess.crop import crop_points, move_points
from pacofr.errors import UserError as FaceError
from pacofr.faces.landmarks68 import MIRROR, five_points, write_pts
from pacofr.images import load_image


def smooth_photo(seed=0, size=320):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (12, 12, 3), np.uint8)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def face_points(turn=0.2, scale=1.0, at=(160.0, 170.0)):
    """68 points with eyes, nose and mouth where a face has them."""
    rng = np.random.default_rng(1)
    points = rng.uniform(-55, 55, (68, 2))
    points[36:42] = [-30, -25] + rng.uniform(-6, 6, (6, 2))
    points[42:48] = [30, -25] + rng.uniform(-6, 6, (6, 2))
    points[[48, 54]] = [[-24, 38], [24, 40]]
    c, s = np.cos(turn), np.sin(turn)
    return (scale * points @ np.array([[c, s], [-s, c]]) + at).astype(np.float32)


def test_an_upright_crop_is_the_products_crop():
    photo = LabelledPhoto(smooth_photo(), face_points())
    crop = sample_crop([photo], 0, np.random.default_rng(0), augment=False)
    product = crop_points(photo.image, five_points(photo.points))
    in_photo = move_points(product.crop_to_image, torch.from_numpy(crop.points))
    np.testing.assert_allclose(in_photo, photo.points, atol=1e-3)
    seen = crop_view(product.face[None])[0].permute(1, 2, 0).numpy() * 255
    inside = (slice(8, 120), slice(8, 120))  # all photo, no border
    assert np.abs(seen[inside] - crop.view[inside]).mean() < 1.0
    shifted = np.roll(crop.view, 1, axis=1)[inside]
    assert np.abs(seen[inside] - shifted).mean() > 2.0


def test_points_stay_on_what_they_mark_through_turns_shifts_and_mirroring():
    points = face_points()
    image = np.full((320, 320, 3), 30, np.uint8)
    for number, (x, y) in enumerate(points):  # the mirror image of a point has the same shade
        shade = 120 + 2 * min(number, int(MIRROR[number]))
        cv2.circle(image, (round(float(x)), round(float(y))), 3, (shade,) * 3, -1)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        crop = sample_crop([LabelledPhoto(image, points)], 0, rng, warp_probability=0.3)
        view = (crop.points - 15.5) / 1.5 - 0.5
        np.testing.assert_allclose(view_to_crop(view), crop.points, atol=1e-4)
        inside = (view > 6).all(1) & (view < 121).all(1)
        tone = crop.view.astype(float).mean(2)
        lit = [tone[int(y + 0.5), int(x + 0.5)] for x, y in view[inside]]
        assert np.median(lit) > np.median(tone) + 5 or tone.std() < 8


def test_warping_moves_points_with_what_they_mark():
    rng = np.random.default_rng(3)
    spots = rng.uniform(25, 100, (68, 2))
    for seed in range(5):
        view = np.zeros((128, 128, 3), np.uint8)
        cv2.circle(view, [round(v) for v in spots[50]], 4, (255, 255, 255), -1)
        spots[50] = spots[50].round()
        warped, moved = local_warp(view, spots, np.random.default_rng(seed))
        weight = warped[:, :, 0].astype(float)
        ys, xs = np.mgrid[:128, :128]
        found = np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()
        np.testing.assert_allclose(moved[50], found, atol=0.5)
        assert np.abs(moved - spots).max() > 1


def test_mirrored_landmarks_of_a_symmetric_head_trade_places():
    head = load_head("anthro")
    points = HeadDecoder(head)(HeadParameters.zeros(head)).landmarks[0].numpy()
    np.testing.assert_allclose(points[MIRROR] * [-1, 1, 1], points, atol=1e-3)


def test_a_crop_is_a_function_of_its_generator_alone():
    photos = [LabelledPhoto(smooth_photo(i), face_points()) for i in range(2)]
    first = sample_crop(photos, 1, np.random.default_rng(5))
    again = sample_crop(photos, 1, np.random.default_rng(5))
    other = sample_crop(photos, 1, np.random.default_rng(6))
    assert (first.view == again.view).all()
    assert (first.points == again.points).all()
    assert not (first.points == other.points).all()


def test_border_colour_of_the_crop_is_not_seen():
    from mica_ext.landmarks.network import LandmarkNetwork

    torch.manual_seed(0)
    network = LandmarkNetwork().eval()
    face = torch.rand(1, 3, 224, 224)
    other = face.clone()
    mask = torch.ones(224, 224, dtype=torch.bool)
    mask[24:200, 24:200] = False
    other[:, :, mask] = 0.3
    with torch.inference_mode():
        torch.testing.assert_close(network(face), network(other), atol=1e-3, rtol=0)


def test_folders_without_usable_labels_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no .pts file"):
        read_labelled(tmp_path)
    (tmp_path / "a.pts").write_text("version: 1\nn_points: 2\n{\n1 2\n3 4\n}\n")
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth_photo())
    with pytest.raises(FaceError, match="68 points"):
        read_labelled(tmp_path)
    (tmp_path / "a.pts").write_text("nonsense")
    with pytest.raises(FaceError, match="iBUG"):
        read_labelled(tmp_path)


def labelled(folder, name, points):
    write_pts(folder / f"{name}.pts", points)
    return folder / f"{name}.jpg"


def test_photos_are_read_by_the_safe_loader_in_the_grid_of_their_points(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imread", None)  # fails on names such as these on Windows
    points = face_points()
    upright = Image.fromarray(smooth_photo())
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    path = labelled(tmp_path, "Zoë", points)
    upright.rotate(90, expand=True).save(path, exif=exif, quality=95)
    ((found, photo),) = read_labelled(tmp_path)
    assert found == path
    assert np.abs(photo.image.astype(int) - np.asarray(upright)).mean() < 4
    np.testing.assert_allclose(photo.points, points, atol=1e-3)


def test_a_label_without_a_whole_photo_is_refused_in_one_line(tmp_path):
    path = labelled(tmp_path, "a", face_points())
    for content in (None, b"", b"no image"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.jpg .*belongs to a\.pts") as caught:
            read_labelled(tmp_path)
        assert "\n" not in str(caught.value)


def test_helen_photos_keep_their_pixels(shared_data):
    for path in sorted((shared_data / "helen" / "testset").glob("*.jpg"))[:10]:
        assert (load_image(path) == cv2.imread(str(path))[:, :, ::-1]).all(), path
