"""Face alignment against insightface's matrices and crops, and FFHQ's construction."""

import cv2
import numpy as np
import parity_compare
import parity_weights
import pytest

from pacofr.faces.align import (
    CROP_CONTENT,
    IMAGENET_MEAN_COLOUR,
    CropWindow,
    arcface_crop,
    arcface_matrix,
    compose,
    encoder_crop,
    ffhq_crop,
    ffhq_matrix,
    ffhq_quad,
    move_points,
    similarity,
)
from pacofr.faces.landmarks68 import five_points
from pacofr.faces.warp import warp_face

SEED = 1


@pytest.fixture(scope="module")
def norm_crop(parity_folder):
    return parity_compare.load(parity_folder, "norm_crop")


def test_arcface_matrices_are_insightfaces(norm_crop):
    spec, want = norm_crop
    for size in (112, 224):
        for i, points in enumerate(parity_weights.five_points(SEED)):
            error = np.abs(arcface_matrix(points, size) - want[f"matrix_{size}"][i]).max()
            assert error < spec["tolerance"]["matrix"]


def test_arcface_crops_are_insightfaces(norm_crop):
    spec, want = norm_crop
    noise = parity_weights.image01("norm_crop", SEED, 600)[0]
    image = np.floor(noise * 255.999).astype(np.uint8).transpose(1, 2, 0).copy()
    for i, points in enumerate(parity_weights.five_points(SEED)):
        crop = arcface_crop(image, points)
        difference = crop[::5, ::5].astype(int) - want[f"crop112/{i}/stride5"].astype(int)
        assert np.abs(difference).max() <= spec["tolerance"]["crop_grey_levels"]


def test_ffhq_quads_follow_the_construction(parity_folder):
    spec, want = parity_compare.load(parity_folder, "ffhq")
    for i, landmarks in enumerate(parity_weights.landmarks68(SEED)):
        quad = ffhq_quad(landmarks)
        assert np.abs(quad - want["quads"][i]).max() < spec["tolerance"]["pixels"]
        assert np.allclose(ffhq_quad(five_points(landmarks)), quad)


def test_similarity_recovers_a_known_one_and_never_mirrors():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(5, 2)) * 30
    turn = np.deg2rad(160)
    truth = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    found = similarity(source, source @ truth.T + [5, -9])
    assert np.allclose(found, np.column_stack([truth, [5, -9]]))
    assert np.linalg.det(similarity(source, source * [-1, 1])[:, :2]) > 0


def face_photo(height=480, width=640, angle=0.3, distance=60.0, centre=(320, 240)):
    """A smooth photo with a dark dot at each of five points, and the points."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flat = np.array([[-0.5, 0], [0.5, 0], [0, 0.55], [-0.4, 1.05], [0.4, 1.05]])
    points = flat * distance @ turn.T + centre
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width, 3), 200.0)
    for px, py in points:
        spot = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (0.08 * distance) ** 2))
        image -= 180 * spot[..., None]
    return np.clip(image, 0, 255).astype(np.uint8), points


def darkest(image, near, radius=9):
    """Centre of mass of the darkness around a point."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = (200.0 - image[..., 0]).clip(0) * (np.hypot(x - near[0], y - near[1]) < radius)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("distance", [15.0, 60.0, 150.0, 320.0])
def test_crop_pixels_lie_where_the_matrix_says(distance):
    side = int(distance * 8)
    image, points = face_photo(side, side, 0.3, distance, (side / 2, side / 2 - distance / 2))
    crop = ffhq_crop(image, points)
    matrix = ffhq_matrix(points, output=256)
    assert crop.shape == (256, 256, 3)
    for point in points:
        there = matrix[:, :2] @ point + matrix[:, 2]
        assert np.abs(darkest(crop, there) - there).max() < 0.35


def test_eyes_and_mouth_land_where_ffhq_has_them():
    _, points = face_photo()
    matrix = ffhq_matrix(points, output=224)
    there = (points @ matrix[:, :2].T + matrix[:, 2] + 0.5) / 224 * 256 / 200 - 28 / 200
    assert abs(there[:2, 1].mean() - 0.474) < 0.03
    assert abs(there[3:, 1].mean() - 0.731) < 0.03
    assert np.abs(there[:, 0].mean() - 0.5) < 0.01


def test_a_face_at_the_edge_is_mirrored_and_the_border_is_uniform():
    image, points = face_photo(centre=(20, 30))
    crop = ffhq_crop(image, points)
    inside = crop[28:228, 28:228]
    assert inside.min() > 0  # no black wedge
    outside = crop.copy()
    outside[28:228, 28:228] = crop[0, 0]
    assert (outside == crop[0, 0]).all()


def test_shrinking_does_not_alias():
    stripes = np.zeros((2000, 2000, 3), np.uint8)
    stripes[:, ::2] = 255
    _, points = face_photo(2000, 2000, 0.0, 400.0, (1000, 800))
    face = ffhq_crop(stripes, points)[60:190, 60:190].astype(float)
    assert abs(face.mean() - 127.5) < 3
    assert face.std() < 12


def test_small_warps_are_opencvs():
    image, points = face_photo()
    matrix = ffhq_matrix(points, 200, 200, 200)
    want = cv2.warpAffine(image, matrix, (200, 200), borderMode=cv2.BORDER_REFLECT_101)
    assert np.array_equal(warp_face(image, matrix, 200), want)


def test_other_counts_of_points_are_refused():
    with pytest.raises(ValueError, match="5 or 68"):
        ffhq_quad(np.zeros((7, 2)))


def test_the_encoder_crop_shows_photo_where_the_geometry_says():
    assert CROP_CONTENT == (24.5, 199.5)
    image, points = face_photo()
    crop = encoder_crop(np.full_like(image, 255), points)
    start, end = int(CROP_CONTENT.start), int(CROP_CONTENT.end)
    assert (crop[:start] == IMAGENET_MEAN_COLOUR).all()
    assert (crop[start + 1 : end, start + 1 : end] == 255).all()
    edge = (np.array(IMAGENET_MEAN_COLOUR) + 255) / 2  # pixels 24 and 199 are half photo
    assert np.abs(crop[start, 100] - edge).max() <= 1
    assert np.abs(crop[100, end] - edge).max() <= 1


def test_a_window_of_the_crop_and_its_two_matrices():
    window = CropWindow(start=16, side=192, pixels=128)
    assert window.content == pytest.approx(((24.5 - 16) / 1.5, (199.5 - 16) / 1.5))
    points = np.random.default_rng(0).uniform(0, 128, (9, 2))
    in_crop = move_points(window.to_crop, points)
    assert np.allclose(in_crop, (points + 0.5) * 1.5 + 16 - 0.5)
    assert np.allclose(move_points(window.from_crop, in_crop), points)
    both = compose(window.from_crop, window.to_crop)
    assert np.allclose(both, [[1, 0, 0], [0, 1, 0]])
    crop = np.random.default_rng(1).integers(0, 255, (224, 224)).astype(np.uint8)
    crop = cv2.GaussianBlur(crop, (0, 0), 8)
    seen = cv2.resize(crop[16:208, 16:208], (128, 128), interpolation=cv2.INTER_LINEAR)
    x, y = np.meshgrid(np.arange(2, 126), np.arange(2, 126))
    at = move_points(window.to_crop, np.stack([x, y], -1)).astype(np.float32)
    sampled = cv2.remap(crop, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
    assert np.abs(sampled.astype(int) - seen[2:126, 2:126]).max() <= 1
