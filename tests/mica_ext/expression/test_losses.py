"""The branch's loss and its rendered samples, against the decoder's and the camera's own truth."""

import numpy as np
import pytest
import torch
from helpers.mica_toy import landmark_head

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import BranchConfig, CropChanges, LossWeights
from mica_ext.expression.crop_camera import anchor_of, crop_view
from mica_ext.expression.network import ExpressionNetwork
from mica_ext.expression.training.crops import CropMaker, network_input
from mica_ext.expression.training.data import CropReader
from mica_ext.expression.training.losses import (
    ExpressionLoss,
    Truth,
    project_to_crop,
    sparse_decoder,
)
from mica_ext.expression.training.rendered import RenderedHeads
from mica_ext.models.projection import project
from pacofr.engine.batches.sampling import RankBatch
from pacofr.faces.align import CropWindow, encoder_crop
from pacofr.models.config import VitConfig
from pacofr.models.vit import VisionTransformer

HEAD = landmark_head()
DECODER = HeadDecoder(HEAD)


def movement(batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (HEAD.expression_count, 3, 3, 3, 3, 3, 0)
    return BranchOutput(*(0.2 * torch.randn(batch, n, generator=generator) for n in sizes))


def truth_of(wanted, has_3d=(1.0, 1.0), confidence=1.0):
    batch = len(wanted.jaw_pose)
    shape = torch.randn(batch, HEAD.shape_count, generator=torch.Generator().manual_seed(9))
    parameters = HeadParameters.zeros(HEAD, batch)._replace(
        shape=shape,
        expression=wanted.expression,
        jaw_pose=wanted.jaw_pose,
        left_eye_pose=wanted.left_eye_pose,
        right_eye_pose=wanted.right_eye_pose,
    )
    landmarks = DECODER(parameters).landmarks
    view = crop_view(wanted.crop_pose, wanted.crop_camera)
    points = project_to_crop(landmarks, anchor_of(landmarks), view)
    weight = torch.full((batch, 68), confidence)
    return Truth(shape, wanted, points, weight, torch.tensor(has_3d)), parameters


def test_the_truth_has_no_loss():
    wanted = movement()
    truth, _ = truth_of(wanted)
    assert float(ExpressionLoss(DECODER, LossWeights())(wanted, truth).loss) < 0.03


def test_posed_distance_is_that_of_the_vertices_in_millimetres():
    wanted, found = movement(), movement(seed=1)
    truth, parameters = truth_of(wanted)
    other = parameters._replace(
        expression=found.expression,
        jaw_pose=found.jaw_pose,
        left_eye_pose=found.left_eye_pose,
        right_eye_pose=found.right_eye_pose,
    )
    apart = (DECODER(parameters).vertices - DECODER(other).vertices).norm(dim=-1)
    loss = ExpressionLoss(DECODER, LossWeights())(found, truth)
    torch.testing.assert_close(loss.posed_mm, 1000 * apart.mean(), rtol=1e-4, atol=1e-4)
    terms = torch.stack(loss[1:])
    weights = vars(LossWeights())
    own = {"own_points": "points", "own_distances": "seen_distances"}
    names = (name.removesuffix("_mm") for name in loss._fields[1:])
    factors = torch.tensor([weights[own.get(name, name)] for name in names])
    torch.testing.assert_close(loss.loss, (terms * factors).sum())


def test_few_vertices_tell_the_distance_of_all():
    head = load_head("anthro")
    whole, sparse = HeadDecoder(head), sparse_decoder(head)
    assert len(sparse.vertex_ids) < 0.3 * head.vertices_count
    generator = torch.Generator().manual_seed(0)
    still = BranchOutput(*(torch.zeros(4, n) for n in (head.expression_count, 3, 3, 3, 3, 3, 0)))
    moved = still._replace(
        expression=0.3 * torch.rand(4, head.expression_count, generator=generator)
    )
    truth = Truth(
        torch.zeros(4, head.shape_count),
        still,
        torch.zeros(4, 68, 2),
        torch.zeros(4, 68),
        torch.ones(4),
    )
    every, some = (
        float(ExpressionLoss(decoder, LossWeights())(moved, truth).posed_mm)
        for decoder in (whole, sparse)
    )
    assert some == pytest.approx(every, rel=0.04)


def test_an_error_of_the_pose_is_not_counted_at_the_vertices():
    wanted = movement()
    truth, _ = truth_of(wanted)
    turned = wanted._replace(crop_pose=wanted.crop_pose + 0.1)
    loss = ExpressionLoss(DECODER, LossWeights())(turned, truth)
    assert float(loss.posed_mm) < 1e-2
    assert float(loss.pose) > 0.03
    assert float(loss.points) > 0.01


def test_photos_without_3d_count_by_their_points_alone():
    wanted, found = movement(), movement(seed=1)
    both, _ = truth_of(wanted)
    some = both._replace(has_3d=torch.tensor([1.0, 0.0]))
    loss = ExpressionLoss(DECODER, LossWeights())
    first = BranchOutput(*(values[:1] for values in found))
    alone = Truth(
        both.shape[:1],
        BranchOutput(*(values[:1] for values in wanted)),
        *(values[:1] for values in (both.points_px, both.confidence, both.has_3d)),
    )
    torch.testing.assert_close(loss(found, some).posed_mm, loss(first, alone).posed_mm)
    torch.testing.assert_close(loss(found, some).points, loss(found, both).points)
    unseen = both._replace(confidence=torch.zeros(2, 68), has_3d=torch.zeros(2))
    assert float(loss(found, unseen).loss) == 0


def test_parts_of_a_batch_weigh_labels_by_the_whole_batch():
    """As ranks do: one has the crop with labels, the other one without."""
    wanted, found = movement(), movement(seed=1)
    both, _ = truth_of(wanted, has_3d=(0.5, 0.0))
    loss, mean = ExpressionLoss(DECODER, LossWeights()), both.has_3d.mean()
    parts = []
    for row in (slice(0, 1), slice(1, 2)):
        truth = Truth(
            both.shape[row],
            BranchOutput(*(values[row] for values in wanted)),
            *(values[row] for values in (both.points_px, both.confidence, both.has_3d)),
        )
        output = BranchOutput(*(values[row] for values in found))
        parts.append(loss(output, truth, mean_known=mean).loss)
    torch.testing.assert_close(torch.stack(parts).mean(), loss(found, both).loss)


def test_an_identity_that_is_read_is_compared_at_rest_and_in_the_crop():
    """Its errors are its own: no movement may make up for them."""
    wanted = movement()
    truth, _ = truth_of(wanted)
    loss = ExpressionLoss(DECODER, LossWeights())
    assert float(loss(wanted._replace(shape=truth.shape), truth).loss) < 2e-2
    other = truth.shape + 0.5
    still = HeadParameters.zeros(HEAD, len(other))
    apart = DECODER(still._replace(shape=other)).vertices
    apart = apart - DECODER(still._replace(shape=truth.shape)).vertices
    moved = BranchOutput(*(values.clone().requires_grad_() for values in wanted))
    shape = other.clone().requires_grad_()
    found = loss(moved._replace(shape=shape), truth)
    torch.testing.assert_close(found.neutral_mm, 1000 * apart.norm(dim=-1).mean())
    assert float(found.own_points.detach()) > 1e-3
    (found.neutral_mm + found.own_points + found.own_distances).backward()
    assert shape.grad is not None
    assert shape.grad.abs().sum() > 0
    assert all(values.grad is None for values in moved)


def test_the_loss_has_gradients_at_the_start():
    zero = BranchOutput(*(torch.zeros_like(v).requires_grad_() for v in movement()))
    truth, _ = truth_of(movement())
    ExpressionLoss(DECODER, LossWeights())(zero, truth).loss.backward()
    for values in zero[:6]:
        assert values.grad is not None
        assert values.grad.isfinite().all()
        assert values.grad.abs().sum() > 0


def test_weights_below_zero_are_refused():
    with pytest.raises(UserError, match=r"--weights\.pose: expected 0 or more"):
        LossWeights(pose=-1.0)


@pytest.fixture(scope="module")
def rendered():
    return RenderedHeads(load_head("anthro"), seed=3, epoch_size=10)


def reader(source, window=None, changes=None):
    window = window or CropWindow(0, 224, 64)
    changes = changes or CropChanges(occlusion=0.0, light=0.0, mirrored=0.0)
    return CropReader([source], CropMaker(source.faces.decoder, window, changes), seed=3)


def batch_of(*numbers, epoch=0):
    count = len(numbers)
    return RankBatch(np.zeros(count, int), np.full(count, epoch), np.array(numbers))


def test_a_rendered_crop_shows_what_its_truth_says(rendered):
    """Weak perspective of the true movement against the landmarks as the photo's camera saw them.

    They differ by the perspective of a head near the camera, and by the neck, whose rotation is
    part of the head's here.
    """
    decoder = rendered.faces.decoder
    errors = []
    for number in range(6):
        batch = reader(rendered)(batch_of(number))
        assert batch.crops.shape == (1, 64, 64, 3)
        found = ExpressionLoss(decoder, LossWeights())(batch.truth.movement, batch.truth)
        assert float(found.posed_mm) < 1e-2
        errors.append(float(found.points))
        face = rendered.faces.sample(number)
        anchor = anchor_of(decoder(face.parameters.head).landmarks)
        depth = -float((anchor + face.parameters.camera.translation)[0, 2])
        assert errors[-1] < 0.02 + 0.03 / depth
        seen = project(face.parameters.camera, anchor[:, None])[0, 0].numpy()
        assert np.abs(seen - face.landmarks_px[17:].mean(0)).max() < 4
    assert np.median(errors) < 0.008  # of half a crop: one pixel


def test_samples_follow_from_epoch_and_index(rendered):
    read = reader(rendered, changes=CropChanges(occlusion=1.0, light=1.0))
    batch = read(batch_of(4, 1, epoch=1))
    alone = read(batch_of(1, epoch=1))
    assert torch.equal(batch.crops[1:], alone.crops)
    assert not torch.equal(batch.crops[1:], read(batch_of(1)).crops)
    faces = [rendered(1, index).parameters.head.shape for index in (4, 1)]
    assert torch.equal(batch.shape, torch.cat(faces))


def test_the_window_is_what_the_network_cuts_out_of_the_crop(rendered):
    """The crop of `reconstruct`, read by the network, against the training's way with OpenCV.

    One resampling instead of three: edges differ, places do not.
    """
    vit = VisionTransformer(VitConfig(image_size=48, width=8, depth=1, heads=1))
    network = ExpressionNetwork(vit, BranchConfig(width=8, heads=1, window=144), 4)
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    face = rendered(0, 2)
    crop = encoder_crop(face.picture, face.five_points)
    network.read(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255)
    changes = CropChanges(five_points=0.0, occlusion=0.0, light=0.0, mirrored=0.0)
    batch = reader(rendered, network.window, changes)(batch_of(2))
    assert seen[0].shape == (1, 3, 48, 48)
    apart = (seen[0] - network_input(batch.crops)).abs()
    assert apart.mean() < 2 / 255
    assert apart.quantile(0.99) < 12 / 255
    shifted = (seen[0][..., 1:] - network_input(batch.crops)[..., :-1]).abs()
    assert shifted.mean() > 3 * apart.mean()  # of one pixel
    with pytest.raises(ValueError, match="windows of 48 pixels, got 224"):
        network(torch.zeros(1, 3, 224, 224))


def test_occluders_cover_the_face_and_no_label(rendered):
    plain = reader(rendered)(batch_of(0, 1, 2, 3))
    changes = CropChanges(occlusion=1.0, light=0.0, mirrored=0.0)
    covered = reader(rendered, changes=changes)(batch_of(0, 1, 2, 3))
    for name, ours, theirs in zip(plain._fields, plain, covered, strict=True):
        assert name == "crops" or torch.equal(ours, theirs), name
    apart = (network_input(plain.crops) - network_input(covered.crops)).abs()
    changed = (apart.amax(1) > 0.03).float().mean((1, 2))
    assert changed.max() > 0.05
