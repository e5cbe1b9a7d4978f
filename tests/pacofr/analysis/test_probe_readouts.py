"""Readouts against closed forms, and that they tell a seeing encoder from a blind one."""

import numpy as np
import pytest
import torch
from helpers.crops import write_annotated_photos
from helpers.task_trees import write_lapa

from pacofr.analysis.config import ProbeConfig
from pacofr.analysis.probe.crops import annotated_crops, labelled_crops, subset
from pacofr.analysis.probe.features import (
    NotFiniteFeaturesError,
    RawPixels,
    features,
    load_probed_encoder,
    patch_features,
)
from pacofr.analysis.probe.readouts import (
    expected_points,
    heatmap_cross_entropy,
    heatmap_targets,
    new_readout,
    region_logits,
    region_targets,
)
from pacofr.analysis.probe.run import EncoderProbes, ProbeScore, difference, interval
from pacofr.cli import main
from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.models.encoders import FaceEncoder
from pacofr.models.vit import VisionTransformer

TINY = VitConfig(image_size=64, patch_size=8, width=32, depth=2, heads=2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_annotated_photos(folder / "trainset", 60, seed=1)
    write_annotated_photos(folder / "testset", 20, seed=2)
    return folder


def settings(photos, **changes):
    given = {"probes": ("linear",), "labels": (60,), "copies": 2, "subsets": 2, "steps": 25}
    return ProbeConfig(photos=photos, **{**given, **changes})


def test_heat_maps_of_a_points_own_weights_decode_to_the_point():
    points = torch.rand(5, 68, 2) * 48 + 8  # between the centres of the outermost patches
    targets = heatmap_targets(points, 64, 8)
    assert torch.allclose(targets.weight.sum(-1), torch.ones(5, 68))
    chance = torch.zeros(5, 68, 64).scatter_add_(2, targets.cell, targets.weight)
    decoded = expected_points(chance.clamp_min(1e-30).log(), 64, 8)
    assert torch.allclose(decoded, points, atol=1e-3)


def test_a_point_outside_the_patches_centres_moves_to_the_border():
    targets = heatmap_targets(torch.tensor([[[-20.0, 90.0]]]), 64, 8)
    chance = torch.zeros(1, 1, 64).scatter_add_(2, targets.cell, targets.weight)
    assert chance.view(8, 8)[7, 0] == 1.0


def test_the_cross_entropy_is_least_at_the_targets_and_is_their_entropy_there():
    targets = heatmap_targets(torch.rand(3, 68, 2) * 64, 64, 8)
    chance = torch.zeros(3, 68, 64).scatter_add_(2, targets.cell, targets.weight)
    entropy = -torch.special.xlogy(chance, chance).sum(-1).mean()
    least = heatmap_cross_entropy(chance.clamp_min(1e-20).log(), targets)
    assert torch.allclose(least, entropy, atol=1e-4)
    assert heatmap_cross_entropy(torch.zeros(3, 68, 64), targets) == pytest.approx(np.log(64))


def test_features_are_standardised_and_every_patch_has_its_own_bias():
    tokens = torch.randn(50, 16, 6) * torch.tensor([1.0, 5, 0.1, 1, 1, 1]) + 3
    readout = new_readout(tokens, 4, conv=False, seed=0)
    seen = []
    readout.map.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert torch.equal(readout(tokens), torch.zeros(50, 4, 16))
    assert torch.allclose(seen[0].mean(dim=(0, 2, 3)), torch.zeros(6), atol=1e-5)
    assert torch.allclose(seen[0].std(dim=(0, 2, 3)), torch.ones(6), atol=1e-3)


def test_places_of_a_region_readout_lie_where_its_targets_do():
    """A class per quarter of the second patch of the first row, and nothing else."""
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[0, :4, 8:12], labels[0, :4, 12:16], labels[0, 4:8, 8:12] = 1, 2, 3
    targets = region_targets(labels, 4)
    assert targets[0, 0, 4:8].tolist() == [1, 1, 2, 2]
    assert targets[0, 2, 4:8].tolist() == [3, 3, 0, 0]
    logits = torch.zeros(1, 4 * 16, 16)
    logits[0, 2 * 16 + 3, 1] = 1.0  # class 2, first row and last column of places, second patch
    where = region_logits(logits, 4, 4).nonzero()
    assert where.tolist() == [[0, 2, 0, 7]]


def test_a_seeing_encoder_beats_a_blind_one(photos):
    torch.manual_seed(0)
    probes = EncoderProbes(64, settings(photos, probes=("linear", "conv")))
    sees = FaceEncoder(VisionTransformer(TINY), (1, 2))
    blind = FaceEncoder(VisionTransformer(TINY), (1, 2))
    torch.nn.init.zeros_(blind.vit.patch_embed.proj.weight)
    for ours, theirs in zip(probes.scores(sees), probes.scores(blind), strict=True):
        assert ours.errors.shape == (1, 20)
        apart = difference(ours, theirs)
        assert apart.mean < -4 * apart.half_interval
        assert theirs.mean == pytest.approx(probes.mean_shape_nme(), rel=0.3)


def test_tuning_an_encoder_leaves_it_as_it_was(photos):
    torch.manual_seed(0)
    config = settings(photos, probes=("tuned",), labels=(20,), tuned_epochs=2)
    encoder = FaceEncoder(VisionTransformer(TINY), (1, 2))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    (score,) = EncoderProbes(64, config).scores(encoder)
    assert score.errors.shape == (2, 20)
    assert np.isfinite(score.errors).all()
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_subsets_are_of_photos_nested_and_differ_by_seed():
    photo = np.repeat(np.arange(30), 3)
    small, large = subset(photo, 5, 0), subset(photo, 12, 0)
    assert len(small) == 15
    assert len(np.unique(photo[small])) == 5
    assert set(small) < set(large)
    assert set(small) != set(subset(photo, 5, 1))


def test_an_interval_covers_photos_and_subsets():
    random = np.random.default_rng(0)
    inside, trials = 0, 400
    for _ in range(trials):
        of_subset = random.normal(0, 0.3, (3, 1))
        of_photo = random.normal(0, 1.0, (1, 50))
        apart = interval(0.7 + of_subset + of_photo + random.normal(0, 0.5, (3, 50)))
        inside += abs(apart.mean - 0.7) < apart.half_interval
    assert 0.93 < inside / trials <= 1.0


def test_the_parsing_probe_reads_regions_of_lapas_layout(tmp_path):
    write_lapa(tmp_path / "heads", count=8, classes=13)
    config = ProbeConfig(
        photos=tmp_path, heads=tmp_path / "heads", probes=("parsing",), labels=(8,), steps=40
    )
    crops = labelled_crops(tmp_path / "heads", 64, config, test=False)
    assert crops.labels.shape == (24, 64, 64)
    inside = crops.images[crops.labels == 1].mean()
    assert inside > 140  # the disc that is class 1; its ground is 40
    probes = EncoderProbes(64, config)
    (score,) = probes.scores(RawPixels(TINY))
    assert score.errors.shape == (1, 8)
    assert (score.errors < 100).all()
    with pytest.raises(UserError, match="needs --heads"):
        EncoderProbes(64, ProbeConfig(photos=tmp_path, probes=("parsing",)))


def test_raw_pixels_are_an_encoder(photos):
    crops = annotated_crops(photos / "testset", 64, settings(photos), test=True)
    pixels = RawPixels(TINY)
    tokens = patch_features(features(pixels, crops.images, settings(photos), "crops"))
    assert tokens.shape == (80, 64, 192)
    assert load_probed_encoder("pixels:micro").config.image_size == 112


def test_an_encoder_that_has_diverged_is_one_line(photos):
    diverged = FaceEncoder(VisionTransformer(TINY), (1, 2))
    torch.nn.init.constant_(diverged.vit.patch_embed.proj.weight, 1e38)
    with pytest.raises(NotFiniteFeaturesError, match="features are not finite"):
        list(EncoderProbes(64, settings(photos)).scores(diverged))


def test_equal_encoders_differ_by_nothing():
    score = ProbeScore("linear", 100, np.random.default_rng(0).normal(size=(3, 20)))
    assert difference(score, score) == (0.0, 0.0)


def test_the_command_compares_with_the_first_encoder(photos, tmp_path, capsys):
    out = tmp_path / "scores.json"
    flags = f"--photos {photos} --probes linear --labels 20 --subsets 2 --steps 2 --copies 1"
    flags += f" --test-copies 1 --threads 1 --out {out}"
    assert main(["probe", "pixels:micro", "scratch:micro", *flags.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pixels:micro: linear, 20 labels (2 subsets): NME")
    assert "to the first encoder" in lines[1]
    assert "to the first encoder" not in lines[0]
