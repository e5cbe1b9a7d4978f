"""Heat maps, their decoding and losses against the official ones."""

from pathlib import Path

import numpy as np
import parity_compare
import parity_weights
import pytest
import torch
import torch.nn.functional as F

from pacofr.tasks.alignment.heatmaps import heatmap_loss, point_loss, soft_argmax, target_heatmaps

WANT = parity_compare.load(Path(parity_compare.__file__).parent, "heatmaps")[1]
LOGITS = torch.from_numpy(parity_weights.heatmap_logits(1))
POINTS = torch.from_numpy(parity_weights.heatmap_points(1))


def test_decoded_points_are_the_official_ones():
    np.testing.assert_allclose(soft_argmax(LOGITS).numpy(), WANT["decode/sigmoid"], atol=1e-5)


def test_target_maps_are_the_official_ones():
    maps = target_heatmaps(POINTS, 128, 128, 5.0).numpy()
    want = np.zeros_like(maps)
    want[tuple(WANT["gt/nonzero_index"].T)] = WANT["gt/nonzero_value"]
    np.testing.assert_allclose(maps, want, atol=1e-6)


def test_target_maps_of_another_shape_are_the_official_ones():
    maps = target_heatmaps(POINTS, 96, 160, 16.0).numpy()
    np.testing.assert_allclose(maps.sum((2, 3)), WANT["gt_96x160_r16/sum"], rtol=1e-5)
    counts = (maps > 0).sum((2, 3))
    np.testing.assert_array_equal(counts, WANT["gt_96x160_r16/nonzero_count"])


def test_losses_are_the_official_ones():
    logits, points = LOGITS[..., :24], POINTS[:, :6]
    target = target_heatmaps(POINTS, 128, 128, 5.0)[:, :6]
    for row in range(2):
        one = slice(row, row + 1)
        entropy = heatmap_loss(logits[one], target[one])
        distance = point_loss(soft_argmax(logits[one]), points[one])
        assert entropy == pytest.approx(WANT["loss/heatmap_ce"][row], rel=1e-5)
        assert distance == pytest.approx(WANT["loss/coord"][row], rel=1e-5)


def test_a_point_is_read_where_its_map_was_painted():
    points = torch.tensor([[[0.31, 0.7], [0.5, 0.5]]])
    maps = target_heatmaps(points, 128, 128)
    logits = torch.logit(maps.clamp(1e-9, 1 - 1e-6))
    np.testing.assert_allclose(soft_argmax(logits).numpy(), points.numpy(), atol=1e-3)


def test_maps_that_are_distributions():
    """Of flat logits: the middle, and ln of the number of pixels; of the target's own, its centre
    and the entropy of it; a point outside costs nothing."""
    flat = torch.zeros(1, 2, 32, 32)
    target = target_heatmaps(torch.tensor([[[0.31, 0.7], [0.5, 0.5]]]), 128, 128)
    torch.testing.assert_close(soft_argmax(flat, "softmax"), torch.full((1, 2, 2), 0.5))
    assert float(heatmap_loss(flat, target, "softmax")) == pytest.approx(np.log(128**2), rel=1e-5)
    logits = target.clamp_min(1e-12).log()
    torch.testing.assert_close(
        soft_argmax(logits, "softmax"), torch.tensor([[[0.31, 0.7], [0.5, 0.5]]]), atol=1e-4, rtol=0
    )
    share = (target / target.sum((2, 3), keepdim=True)).double().numpy()
    entropy = -(share * np.log(share, where=share > 0, out=np.zeros_like(share))).sum((2, 3)).mean()
    assert float(heatmap_loss(logits, target, "softmax")) == pytest.approx(entropy, rel=1e-4)
    outside = target_heatmaps(torch.full((1, 2, 2), 1.4), 128, 128)
    assert float(heatmap_loss(flat, outside, "softmax")) == 0.0


def test_the_point_loss_has_finite_gradients_at_the_truth():
    points = torch.zeros(1, 2, 2, requires_grad=True)
    point_loss(points, torch.zeros(1, 2, 2)).backward()
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())
    assert F.mse_loss(points, torch.zeros(1, 2, 2)) == 0
