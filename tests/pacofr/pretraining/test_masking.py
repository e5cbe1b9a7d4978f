"""Masks and candidates: exact counts, even distribution, functions of seed, epoch and sample."""

import numpy as np

from pacofr.faces.align import ffhq_matrix, move_points
from pacofr.pretraining import config
from pacofr.pretraining.method import masking


def test_draws_depend_on_seed_epoch_and_sample_only():
    alone = masking.sample_masks(
        7, 3, np.array([42]), config.PaCoFRConfig(), config.MaskingConfig()
    )
    order = np.array([5, 42, 11])
    batch = masking.sample_masks(7, 3, order, config.PaCoFRConfig(), config.MaskingConfig())
    for one, many in zip(alone, batch, strict=True):
        assert np.array_equal(one[0], many[1])
    for seed, epoch, index in ((8, 3, 42), (7, 4, 42), (7, 3, 43)):
        other = masking.sample_masks(
            seed, epoch, np.array([index]), config.PaCoFRConfig(), config.MaskingConfig()
        )
        assert not np.array_equal(other.mask, alone.mask)


def test_uniform_masks_are_exact_in_count_and_even_over_positions_and_pairs():
    images = 4000
    draws = masking.sample_masks(
        0, 0, np.arange(images), config.PaCoFRConfig(), config.MaskingConfig()
    )
    assert (draws.mask.sum(axis=1) == 147).all()
    assert (draws.use_random.sum(axis=1) == 110).all()
    assert not (draws.use_random & ~draws.mask).any()
    error = np.sqrt(0.75 * 0.25 / images)
    assert abs(draws.mask.mean(axis=0) - 0.75).max() < 4.5 * error
    both = draws.mask.T.astype(float) @ draws.mask / images
    expected = 0.75 * 146 / 195  # drawn without replacement
    assert abs(both[~np.eye(196, dtype=bool)] - expected).max() < 5.5 * error
    share = np.bincount(draws.random_token.ravel(), minlength=3) / draws.random_token.size
    assert abs(share - 1 / 3).max() < 4 * np.sqrt(2 / 9 / draws.random_token.size)
    dropped_given_mask = draws.use_random.sum(axis=0) / draws.mask.sum(axis=0)
    assert abs(dropped_given_mask - 110 / 147).max() < 5 * error


def test_region_masks_cover_whole_regions_but_one():
    draws = masking.sample_masks(
        0, 0, np.arange(50), config.PaCoFRConfig(), config.MaskingConfig(kind="regions")
    )
    regions = masking.face_regions(14)
    assert (draws.mask.sum(axis=1) == 147).all()
    for row in draws.mask:
        shares = [row[regions == r].mean() for r in range(regions.max() + 1)]
        assert sum(0 < share < 1 for share in shares) <= 1


def test_regions_lie_where_the_crop_shows_them():
    five = np.array([[30.3, 51.7], [65.5, 51.5], [48.0, 71.7], [33.5, 92.4], [62.7, 92.2]])
    eyes, nose, mouth = five[:2], five[2:3], five[3:].mean(axis=0, keepdims=True)
    places = move_points(ffhq_matrix(five), np.concatenate([eyes, nose, mouth]))
    column, row = (places // 16).astype(int).T
    assert masking.face_regions(14).reshape(14, 14)[row, column].tolist() == [7, 8, 9, 10]
