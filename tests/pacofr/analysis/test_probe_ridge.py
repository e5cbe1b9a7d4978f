"""The ridge probe's crops and arithmetic on made-up photos; a blind encoder gets the mean shape."""

import numpy as np
import pytest
import torch
from helpers.crops import write_annotated_photos

from pacofr.analysis.config import ProbeConfig
from pacofr.analysis.probe import crops as probe_crops
from pacofr.analysis.probe import ridge
from pacofr.analysis.probe.run import EncoderProbes
from pacofr.errors import UserError
from pacofr.faces.align import ffhq_matrix
from pacofr.faces.landmarks68 import read_pts
from pacofr.models.config import VitConfig
from pacofr.models.encoders import FaceEncoder
from pacofr.models.vit import VisionTransformer
from pacofr.pretraining.encoder_spec import load_encoder_spec

TINY = VitConfig(image_size=64, patch_size=8, width=32, depth=2, heads=2)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_annotated_photos(folder / "trainset", 60, seed=1)
    write_annotated_photos(folder / "testset", 20, seed=2)
    return ProbeConfig(photos=folder, copies=2)


def test_points_of_a_crop_lie_on_the_dots_they_mark(config):
    crops = probe_crops.annotated_crops(config.photos / "trainset", 256, config, test=False)
    assert len(crops.images) == 120
    assert crops.photo.tolist() == [n for n in range(60) for _ in range(2)]
    for copy in (0, 1):  # plain and mirrored
        x, y = np.rint(crops.points[copy, [36, 45, 33]]).astype(int).T
        assert crops.images[copy, y, x].mean() < 80
        assert crops.points[copy, 36, 0] < crops.points[copy, 45, 0]


def test_crops_are_displaced_but_always_the_same(config):
    folder = config.photos / "testset"
    first, again = (probe_crops.annotated_crops(folder, 64, config, test=True) for _ in range(2))
    assert np.array_equal(first.images, again.images)
    truth = read_pts(folder / "000.pts")
    matrix = ffhq_matrix(truth, 200, 256, 64)
    undisplaced = truth @ matrix[:, :2].T + matrix[:, 2]
    assert 0.3 < abs(first.points[0] - undisplaced).max() < 12


def test_a_photos_error_is_the_mean_of_its_crops():
    errors = probe_crops.mean_per_photo(np.array([1.0, 3.0, 5.0, 9.0]), np.array([0, 0, 1, 1]))
    assert errors == pytest.approx([2.0, 7.0])


def test_kernel_ridge_equals_the_normal_equations():
    random = np.random.default_rng(0)
    features, other = random.normal(size=(30, 8)), random.normal(size=(5, 8))
    target = random.normal(size=(30, 3))
    kernel, ridge_lambda = features @ features.T, 0.1
    ours = ridge._ridge(kernel, target, other @ features.T, [ridge_lambda])[0]
    penalty = ridge_lambda * np.trace(kernel) / 30 * np.eye(8)
    mean = target.mean(axis=0)
    weights = np.linalg.solve(features.T @ features + penalty, features.T @ (target - mean))
    assert np.allclose(ours, other @ weights + mean)


def test_a_seeing_encoder_beats_the_mean_shape_and_a_blind_one_does_not(config):
    torch.manual_seed(0)
    probes = EncoderProbes(64, config)
    result = probes.ridge(FaceEncoder(VisionTransformer(TINY), (1, 2)))
    assert result.low < result.nme < result.high
    assert result.nme < 0.75 * result.mean_shape_nme
    assert len(result.per_image_nme) == 20
    blind = FaceEncoder(VisionTransformer(TINY), (1, 2))
    torch.nn.init.zeros_(blind.vit.patch_embed.proj.weight)
    unseen = probes.ridge(blind)
    assert unseen.nme == pytest.approx(unseen.mean_shape_nme, rel=1e-3)


def test_encoders_by_one_word(tmp_path):
    assert load_encoder_spec("scratch:micro").config.image_size == 112
    with pytest.raises(UserError, match="PRESET"):
        load_encoder_spec("scratch:huge")
    with pytest.raises(UserError, match="no such file"):
        load_encoder_spec(f"mae:{tmp_path / 'none'}")
    with pytest.raises(UserError, match=r"config\.json"):
        load_encoder_spec(str(tmp_path))
