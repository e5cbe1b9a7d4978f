"""Flipped crops: the mirrored coefficients of a head make its mirror image."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.mica_toy import landmark_head

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import CropChanges, LossWeights
from mica_ext.expression.mirror import HeadMirror
from mica_ext.expression.training.crops import CropMaker, network_input
from mica_ext.expression.training.data import CropReader
from mica_ext.expression.training.losses import ExpressionLoss, Truth
from mica_ext.expression.training.mirrored_truth import mirrored_truth
from mica_ext.expression.training.rendered import RenderedHeads
from pacofr.engine.batches.sampling import RankBatch
from pacofr.faces.align import CropWindow
from pacofr.faces.landmarks68 import MIRROR

UPPER_LIP_CENTRE = 51
"""Anthro's lies .25 mm beside the middle."""


@pytest.fixture(scope="module")
def anthro():
    return load_head("anthro")


def test_mirrored_coefficients_make_the_mirror_image(anthro):
    mirror = HeadMirror.of(anthro)
    assert mirror is not None
    decoder = HeadDecoder(anthro).landmark_head()
    generator = torch.Generator().manual_seed(0)
    shape = torch.randn(3, anthro.shape_count, generator=generator)
    expression = 0.5 * torch.rand(3, anthro.expression_count, generator=generator)
    jaw, left, right, pose = 0.2 * torch.randn(4, 3, 3, generator=generator)
    zero = torch.zeros(3, 3)
    given = BranchOutput(expression, jaw, left, right, pose, zero, shape)
    found = mirror.movement(given)
    heads = [
        HeadParameters(m.shape, m.expression, m.crop_pose, zero, *m[1:4]) for m in (given, found)
    ]
    here, there = (decoder(head).landmarks for head in heads)
    apart = (here[:, MIRROR] * torch.tensor([-1.0, 1.0, 1.0]) - there).norm(dim=-1).amax(0)
    apart[UPPER_LIP_CENTRE] = 0
    assert apart.max() < 5e-5
    for name, value in zip(given._fields, mirror.movement(found), strict=True):
        torch.testing.assert_close(value, getattr(given, name), msg=name)


def test_points_of_flipped_rows_change_sides(anthro):
    mirror = HeadMirror.of(anthro)
    assert mirror is not None
    random = torch.rand(2, 468, 2, generator=torch.Generator().manual_seed(1))
    zero = torch.zeros(2, 3)
    movement = BranchOutput(torch.zeros(2, anthro.expression_count), *[zero] * 5, zero[:, :0])
    marks, trust = 223 * random[:, :68], random[..., 0]
    shape = torch.zeros(2, anthro.shape_count)
    truth = Truth(shape, movement, marks, trust[:, :68], torch.ones(2), 223 * random, trust)
    found = mirrored_truth(mirror, torch.tensor([True, False]), truth)
    nose_tip, right_eye, left_eye = 4, 33, 263  # outer corners
    assert found.dense_px is not None
    assert found.dense_confidence is not None
    for here, there in ((nose_tip, nose_tip), (left_eye, right_eye), (right_eye, left_eye)):
        x, y = 223 * random[0, there]
        torch.testing.assert_close(found.dense_px[0, here], torch.stack([223 - x, y]))
        assert found.dense_confidence[0, here] == trust[0, there]
    assert torch.equal(found.dense_px[1], 223 * random[1])
    assert torch.equal(found.confidence[0, 36], trust[0, 45])


def test_heads_without_a_mirror_image_have_none(anthro):
    lopsided = anthro.template + np.float32([0.01, 0, 0]) * (anthro.template[:, :1] > 0)
    assert HeadMirror.of(dataclasses.replace(anthro, template=lopsided)) is None
    assert HeadMirror.of(landmark_head()) is None  # its modes are random


def test_labels_follow_a_flipped_crop(anthro):
    """The truth's own loss is as small as before, and points lie where the picture shows them."""
    source = RenderedHeads(anthro, seed=3, epoch_size=10)
    rows = RankBatch(np.zeros(2, int), np.zeros(2, int), np.arange(2))
    decoder, window = HeadDecoder(anthro), CropWindow(0, 224, 64)
    made = []
    for mirrored in (0.0, 1.0):
        changes = CropChanges(occlusion=0.0, light=0.0, mirrored=mirrored)
        made.append(CropReader([source], CropMaker(decoder, window, changes), seed=3)(rows))
    plain, flipped = made
    assert torch.equal(network_input(plain.crops).flip(-1), network_input(flipped.crops))
    torch.testing.assert_close(223 - plain.points_px[:, MIRROR, 0], flipped.points_px[..., 0])
    loss = ExpressionLoss(decoder, LossWeights())
    before, after = (loss(batch.truth.movement, batch.truth) for batch in made)
    assert float(after.points) == pytest.approx(float(before.points), abs=2e-4)
    assert not torch.allclose(plain.crop_pose, flipped.crop_pose)
