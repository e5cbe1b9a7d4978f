"""Folders of samples as the training's source: labels moved into the crop, mixtures, refusals."""

import json

import numpy as np
import pytest
import torch
from helpers.branch_folders import sample_folder, sample_head
from safetensors.numpy import load, save

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.data.branch.sample import decode_sample
from mica_ext.data.branch.shards import BranchDataset
from mica_ext.errors import UserError
from mica_ext.expression.config import CropChanges, ExpressionTrainingConfig, LossWeights
from mica_ext.expression.training.crops import CropMaker
from mica_ext.expression.training.data import CropReader, batch_shares, make_data
from mica_ext.expression.training.losses import ExpressionLoss
from mica_ext.expression.training.samples import SampleFolder
from pacofr.engine.batches.sampling import RankBatch
from pacofr.faces.align import CropWindow, ffhq_matrix, move_points
from pacofr.faces.face_mesh.topology import IBUG68

HEAD = sample_head()
WINDOW = CropWindow(0, 224, 64)
PLAIN = CropChanges(five_points=0.0, occlusion=0.0, light=0.0, mirrored=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sample_folder(tmp_path_factory.mktemp("samples") / "out", HEAD, train=6, val=2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of which the points alone are known."""
    out = tmp_path_factory.mktemp("photos") / "out"
    return sample_folder(out, HEAD, train=3, val=0, labelled=False)


def batch_of(count):
    return RankBatch(np.zeros(count, int), np.zeros(count, int), np.arange(count))


def test_labels_of_samples_are_right_in_the_crop(folder):
    """The loss of the labels themselves: no movement, and points as perspective leaves them."""
    source = SampleFolder(folder, "train", HEAD)
    decoder = HeadDecoder(HEAD)
    batch = CropReader([source], CropMaker(decoder, WINDOW, PLAIN), 0)(batch_of(len(source)))
    loss = ExpressionLoss(decoder, LossWeights())(batch.truth.movement, batch.truth)
    assert float(loss.posed_mm) < 1e-2
    assert float(loss.points) < 0.02
    assert torch.equal(batch.has_3d, torch.full((len(source),), 0.75))
    assert torch.equal(batch.confidence, torch.full((len(source), 68), 0.75))
    sample = source.samples[1]
    np.testing.assert_array_equal(batch.expression[1], sample.expression)


def test_decoded_samples_are_kept_while_there_is_room(folder):
    picture_mb = 320 * 320 * 3 / 2**20
    source = SampleFolder(folder, "train", HEAD, keep_mb=2.5 * picture_mb)
    first = [source(0, index) for index in range(4)]
    again = [source(1, index) for index in range(4)]
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False, False]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.picture, b.picture)


def test_photos_without_parameters_have_their_points(photos):
    source = SampleFolder(photos, "train", HEAD)
    crops = CropMaker(HeadDecoder(HEAD), WINDOW, PLAIN)
    batch = CropReader([source], crops, 0)(batch_of(2))
    assert torch.equal(batch.has_3d, torch.zeros(2))
    for row in range(2):
        sample = source.samples[row]
        moved = move_points(ffhq_matrix(sample.five_points), sample.points_px[IBUG68])
        np.testing.assert_allclose(batch.points_px[row], moved, atol=1e-3)
        expected = sample.confidence * sample.point_confidence[IBUG68]
        np.testing.assert_allclose(batch.confidence[row], expected, rtol=1e-6)
    loss = ExpressionLoss(HeadDecoder(HEAD), LossWeights())
    zero = batch.truth.movement._replace(crop_pose=torch.zeros(2, 3), crop_camera=torch.zeros(2, 3))
    found = loss(zero, batch.truth)
    assert float(found.posed_mm) == float(found.pose) == float(found.camera) == 0
    assert float(found.points) > 0
    assert float(found.seen_distances) > 0


def test_lid_and_lip_distances_in_the_crop_are_those_of_the_points(photos):
    """Points moved apart by a known amount: a lip pair of eight by 11.2 pixels, a tenth of HALF."""
    source = SampleFolder(photos, "train", HEAD)
    decoder = HeadDecoder(HEAD)
    batch = CropReader([source], CropMaker(decoder, WINDOW, PLAIN), 0)(batch_of(1))
    zero = HeadParameters.zeros(HEAD)
    own = decoder(zero).landmarks[:, :, :2] * torch.tensor([1.0, -1.0]) * 690.0
    centre = own[:, 17:].mean(1, keepdim=True)
    points = own - centre + 111.5
    points[0, 66] += 11.2 * torch.nn.functional.normalize(points[0, 66] - points[0, 62], dim=0)
    truth = batch.truth._replace(points_px=points, confidence=torch.ones(1, 68))
    output = truth.movement._replace(
        expression=zero.expression, crop_pose=torch.zeros(1, 3), crop_camera=torch.zeros(1, 3)
    )
    found = ExpressionLoss(decoder, LossWeights())(output, truth._replace(shape=zero.shape))
    assert float(found.seen_distances) == pytest.approx(0.1 / 8, rel=1e-3)


@pytest.mark.parametrize(
    ("weights", "rendered", "batch", "expected"),
    [
        ((), 0.5, 8, [4, 1, 3]),
        ((1.0, 1.0), 0.0, 8, [0, 4, 4]),
        ((3.0, 1.0), 0.2, 10, [2, 6, 2]),
        ((1.0, 1e-3), 0.5, 8, [4, 3, 1]),
        ((1.0, 1.0), 1.0, 8, [8, 0, 0]),
    ],
)
def test_batches_are_mixed_by_weights(tmp_path, weights, rendered, batch, expected):
    config = ExpressionTrainingConfig(
        out=tmp_path,
        data=(tmp_path, tmp_path),
        data_weights=weights,
        rendered=rendered,
        batch=batch,
    )
    assert batch_shares(config, [10, 30]) == expected


def test_every_source_gives_its_share(folder, photos, tmp_path):
    config = ExpressionTrainingConfig(
        out=tmp_path,
        data=(folder, photos),
        data_weights=(2.0, 1.0),
        rendered=0.0,
        batch=6,
        held_out=3,
    )
    data = make_data(config, HEAD, WINDOW)
    batch = data.reader(data.plan.global_batch(0, {}))
    assert (batch.has_3d > 0).sum() == 4
    assert len(data.rendered.crops) == 3
    assert data.held_out is not None
    assert len(data.held_out.crops) == 2  # of val/ of one folder; the other has none


def test_what_is_no_source_is_one_line(folder, tmp_path):
    with pytest.raises(UserError, match=r"expected a folder of `mica-ext samples` that is done"):
        SampleFolder(tmp_path, "train", HEAD)
    about = json.loads((folder / "samples.json").read_text())
    (tmp_path / "samples.json").write_text(json.dumps(about | {"head": "other"}))
    with pytest.raises(UserError, match='labels belong to the head "other"'):
        SampleFolder(tmp_path, "train", HEAD)
    (tmp_path / "samples.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="train"):
        SampleFolder(tmp_path, "train", HEAD)
    config = {"out": tmp_path, "data": (folder, folder), "batch": 2}
    with pytest.raises(UserError, match="--batch 2: expected a sample at least of each source"):
        make_data(ExpressionTrainingConfig(**config), HEAD, WINDOW)
    with pytest.raises(UserError, match="--data-weights: expected one for each of 2"):
        ExpressionTrainingConfig(**config, data_weights=(1.0,))
    with pytest.raises(UserError, match="--rendered"):
        ExpressionTrainingConfig(**config, rendered=1.5)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("five_points", lambda a: a[:4]),
        ("point_confidence", lambda a: a[:-1]),
        ("points_px", lambda a: a.astype(np.float64)),
        ("expression", lambda a: a * np.nan),
        ("shape", lambda a: a[None]),
        ("focal_px", lambda a: np.concatenate([a, a])),
    ],
)
def test_forged_arrays_of_a_sample_are_one_line(folder, name, change):
    shards = BranchDataset(folder / "train").shards
    arrays = load(shards.tensors(0))
    arrays[name] = np.ascontiguousarray(change(arrays[name]))
    with pytest.raises(UserError, match=f"got a damaged one .{name} of"):
        decode_sample(shards[0], shards.about(0), save(arrays))
