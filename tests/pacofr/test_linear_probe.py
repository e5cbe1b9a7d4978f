"""The probe's arithmetic on made-up photos, and that it tells a seeing encoder from a blind one."""

import numpy as np
import pytest
import torch
from PIL import Image

from pacofr.analysis import linear_probe as probe
from pacofr.analysis.config import ProbeConfig
from pacofr.analysis.encoder_spec import load_encoder_spec
from pacofr.errors import UserError
from pacofr.faces.align import ffhq_matrix
from pacofr.faces.landmarks68 import read_pts, write_pts
from pacofr.models.config import VitConfig
from pacofr.models.encoders import FaceEncoder
from pacofr.models.vit import VisionTransformer

TINY = VitConfig(image_size=64, patch_size=8, width=32, depth=2, heads=2)


def face_points():
    """68 points in the iBUG order of an upright drawn face, 200 px wide, at the origin."""
    points = np.zeros((68, 2))
    points[:17] = [(100 - 90 * np.cos(t), 90 + 100 * np.sin(t)) for t in np.linspace(0, np.pi, 17)]
    points[17:27] = [(20 + 17 * i, 40) for i in range(10)]
    points[27:36] = [(100, 60 + 10 * i) for i in range(4)] + [(80 + 10 * i, 110) for i in range(5)]
    for start, x in ((36, 55), (42, 145)):
        ring = np.linspace(-np.pi, np.pi, 7)[:6]
        points[start : start + 6] = [(x + 15 * np.cos(t), 65 + 7 * np.sin(t)) for t in ring]
    ring = np.linspace(-np.pi, np.pi, 13)[:12]
    points[48:60] = [(100 + 30 * np.cos(t), 140 + 12 * np.sin(t)) for t in ring]
    points[60:68] = [(100 + 20 * np.cos(t), 140 + 5 * np.sin(t)) for t in ring[:8]]
    return points


def write_photos(folder, count, seed):
    """Grey photos with a dark dot on every landmark; the faces differ in place, size and shape."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        points = face_points() * random.uniform(0.9, 1.3) + random.uniform(20, 60, size=2)
        points[48:] += random.uniform(-12, 12, size=2)
        photo = np.full((340, 340, 3), 160, np.uint8)
        for x, y in np.rint(points).astype(int):
            photo[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = (30, 60, 90)
        Image.fromarray(photo).save(folder / f"{number:03d}.png")
        write_pts(folder / f"{number:03d}.pts", points)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder / "trainset", 60, seed=1)
    write_photos(folder / "testset", 20, seed=2)
    return ProbeConfig(photos=folder, copies=2)


def test_points_of_a_crop_lie_on_the_dots_they_mark(config):
    crops = probe.annotated_crops(config.photos / "trainset", 256, config, test=False)
    assert len(crops.images) == 120
    assert crops.photo.tolist() == [n for n in range(60) for _ in range(2)]
    for copy in (0, 1):  # plain and mirrored
        x, y = np.rint(crops.points[copy, [36, 45, 33]]).astype(int).T
        assert crops.images[copy, y, x].mean() < 80
        assert crops.points[copy, 36, 0] < crops.points[copy, 45, 0]


def test_crops_are_displaced_but_always_the_same(config):
    folder = config.photos / "testset"
    first, again = (probe.annotated_crops(folder, 64, config, test=True) for _ in range(2))
    assert np.array_equal(first.images, again.images)
    truth = read_pts(folder / "000.pts")
    matrix = ffhq_matrix(truth, 200, 256, 64)
    undisplaced = truth @ matrix[:, :2].T + matrix[:, 2]
    assert 0.3 < abs(first.points[0] - undisplaced).max() < 12


def test_a_photos_error_is_the_mean_of_its_crops():
    errors = probe.mean_per_photo(np.array([1.0, 3.0, 5.0, 9.0]), np.array([0, 0, 1, 1]))
    assert errors == pytest.approx([2.0, 7.0])


def test_kernel_ridge_equals_the_normal_equations():
    random = np.random.default_rng(0)
    features, other = random.normal(size=(30, 8)), random.normal(size=(5, 8))
    target = random.normal(size=(30, 3))
    kernel, ridge_lambda = features @ features.T, 0.1
    ours = probe._ridge(kernel, target, other @ features.T, [ridge_lambda])[0]
    penalty = ridge_lambda * np.trace(kernel) / 30 * np.eye(8)
    mean = target.mean(axis=0)
    weights = np.linalg.solve(features.T @ features + penalty, features.T @ (target - mean))
    assert np.allclose(ours, other @ weights + mean)


def test_a_seeing_encoder_beats_the_mean_shape_and_a_blind_one_does_not(config):
    torch.manual_seed(0)
    sees = FaceEncoder(VisionTransformer(TINY), (1, 2))
    result = probe.probe(sees, config)
    assert result.low < result.nme < result.high
    assert result.nme < 0.75 * result.mean_shape_nme
    assert len(result.per_image_nme) == 20
    blind = FaceEncoder(VisionTransformer(TINY), (1, 2))
    torch.nn.init.zeros_(blind.vit.patch_embed.proj.weight)
    unseen = probe.probe(blind, config)
    assert unseen.nme == pytest.approx(unseen.mean_shape_nme, rel=1e-3)


def test_encoders_by_one_word(tmp_path):
    assert load_encoder_spec("scratch:micro").config.image_size == 112
    with pytest.raises(UserError, match="PRESET"):
        load_encoder_spec("scratch:huge")
    with pytest.raises(UserError, match="no such file"):
        load_encoder_spec(f"mae:{tmp_path / 'none'}")
    with pytest.raises(UserError, match=r"config\.json"):
        load_encoder_spec(str(tmp_path))
