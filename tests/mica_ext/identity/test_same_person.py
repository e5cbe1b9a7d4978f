"""Weights of photos by pose and sharpness, and the merged identity against its formula."""

import cv2
import numpy as np
import pytest
import torch
from helpers.identity_tiny import identity_head, identity_network, write_identity_pack
from helpers.mica_toy import face_points

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.identity.predictor import IdentityPredictor
from mica_ext.identity.same_person import frontality, merge_identities, photo_weights, sharpness


def turned(degrees):
    """Landmarks [px] of the schematic face turned about the vertical, seen from afar."""
    angle = np.radians(degrees)
    x = face_points() @ [np.cos(angle), 0, np.sin(angle)]
    points = np.stack([1000 * x, -1000 * face_points()[:, 1]], 1)
    return torch.from_numpy(points).float()[None]


def test_frontality_falls_as_the_head_turns():
    values = [float(frontality(turned(degrees))) for degrees in (0, 15, 30, 45, 60)]
    assert values[0] == pytest.approx(1, abs=1e-6)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.2
    assert float(frontality(turned(-30))) == pytest.approx(values[2], abs=1e-6)


def blurred(crop, sigma):
    image = crop[0].permute(1, 2, 0).numpy()
    return torch.from_numpy(cv2.GaussianBlur(image, (0, 0), sigma)).permute(2, 0, 1)[None]


@pytest.fixture
def crop():
    rng = np.random.default_rng(0)
    small = rng.random((28, 28, 3)).astype(np.float32)
    image = cv2.resize(small, (112, 112), interpolation=cv2.INTER_CUBIC) * 2 - 1
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def test_sharpness_falls_with_blur_and_ignores_contrast(crop):
    values = [float(sharpness(image)) for image in (crop, blurred(crop, 1.5), blurred(crop, 4))]
    assert values == sorted(values, reverse=True)
    assert float(sharpness(0.3 * crop + 0.2)) == pytest.approx(values[0], rel=1e-3)


def test_merged_identity_is_the_weighted_mean_of_unit_embeddings(crop, tmp_path):
    head = identity_head()
    predictor = IdentityPredictor(
        write_identity_pack(tmp_path) / "identity", head, torch.device("cpu")
    )
    decoder = HeadDecoder(head)
    crops = torch.cat([crop, blurred(crop, 2), crop.flip(-1)])
    marks = torch.cat([turned(0), turned(20), turned(-40)])
    person = merge_identities(predictor, decoder, crops, marks, ["a", "b", "c"])
    weights = photo_weights(crops, marks)
    torch.testing.assert_close(person.weights, weights)
    assert float(weights.sum()) == pytest.approx(1)
    network = identity_network()
    with torch.no_grad():
        raw = torch.cat([network.arcface(image[None]) for image in crops])
        unit = raw / raw.norm(dim=1, keepdim=True)
        mean = (weights[:, None] * unit).sum(0, keepdim=True)
        want = network.regressor(mean / mean.norm())
        shapes = torch.cat([network.regressor(unit), want])
        vertices = decoder(HeadParameters.zeros(head, 4)._replace(shape=shapes)).vertices
    torch.testing.assert_close(person.identity.shape, want)
    squared = (vertices[:3] - vertices[3]).square().sum(-1).mean(1)
    assert person.spread_mm == pytest.approx(1000 * float((weights * squared).sum().sqrt()))
    same = merge_identities(predictor, decoder, crops[:1], marks[:1], ["a"])
    assert same.spread_mm == pytest.approx(0, abs=1e-3)
