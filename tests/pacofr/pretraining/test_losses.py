"""Equations 1 to 6 against transcriptions that loop over every index as the paper prints them."""

import math

import pytest
import torch

from pacofr.models.config import VitConfig
from pacofr.models.vit import VisionTransformer
from pacofr.pretraining.config import (
    CodebookConfig,
    DecoderConfig,
    LossConfig,
    PaCoFRConfig,
    PredictorConfig,
)
from pacofr.pretraining.method import codebook, losses
from pacofr.pretraining.method.belief_labels import belief_labels
from pacofr.pretraining.method.model import PaCoFR, pretraining_loss
from pacofr.pretraining.method.perceptual_net import PerceptualNet

IMAGES, POSITIONS, CANDIDATES, VALUES = 2, 16, 3, 48
SMALL = PaCoFRConfig(
    encoder=VitConfig(image_size=16, patch_size=4, width=16, depth=2, heads=2),
    codebook=CodebookConfig(candidates=CANDIDATES, init_std=1.0),
    decoder=DecoderConfig(width=16, heads=2),
    predictor=PredictorConfig(hidden=8),
)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    patches = torch.randn(IMAGES, POSITIONS, VALUES)
    tokens = torch.randn(POSITIONS, CANDIDATES, VALUES)
    mask = torch.rand(IMAGES, POSITIONS) < 0.75
    return patches, tokens, mask


def cosine(a, b):
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))


def test_equation_1_restructured_image(batch):
    patches, tokens, mask = batch
    belief = torch.randn(IMAGES, POSITIONS, CANDIDATES)
    ours = codebook.restructure(patches, tokens, belief.argmax(-1), mask)
    for b in range(IMAGES):
        for i in range(POSITIONS):
            expected = patches[b, i]
            if mask[b, i]:
                alpha = max(range(CANDIDATES), key=lambda j: float(belief[b, i, j]))  # noqa: B023
                expected = tokens[i, alpha]
            assert torch.equal(ours[b, i], expected)


def test_equation_2_mean_squared_error_over_the_entire_image(batch):
    target, tokens, _ = batch
    prediction = tokens[:, :2].permute(1, 0, 2)
    ours = losses.mse_loss(prediction, target)
    for b in range(IMAGES):
        squares = [
            float(prediction[b, i, v] - target[b, i, v]) ** 2
            for i in range(POSITIONS)
            for v in range(VALUES)
        ]
        assert float(ours[b]) == pytest.approx(sum(squares) / len(squares), rel=1e-5)


def test_equation_3_perceptual_loss():
    torch.manual_seed(1)
    of_image = [torch.randn(IMAGES, 5, 7) for _ in range(4)]
    of_prediction = [torch.randn(IMAGES, 5, 7) for _ in range(4)]
    ours = losses.perceptual_loss(of_image, of_prediction)
    for b in range(IMAGES):
        total = 0.0
        for f_image, f_prediction in zip(of_image, of_prediction, strict=True):
            over_tokens = [cosine(f_image[b, t], f_prediction[b, t]) for t in range(5)]
            total -= sum(over_tokens) / 5
        assert float(ours[b]) == pytest.approx(total, abs=1e-5)
    assert torch.allclose(losses.perceptual_loss(of_image, of_image), torch.tensor(-4.0))


def test_equation_4_candidate_j_fills_every_masked_position_of_image_j(batch):
    patches, _, mask = batch
    torch.manual_seed(2)
    model = PaCoFR(SMALL)
    chosen = torch.zeros(mask.shape, dtype=torch.int64)
    ours = torch.stack(list(model.candidate_pixels(patches, mask, mask, chosen)))
    assert not ours.requires_grad
    tokens = model.codebook().detach()
    for j in range(CANDIDATES):
        for b in range(IMAGES):
            image = patches[b : b + 1].clone()
            for i in range(POSITIONS):
                if mask[b, i]:
                    image[0, i] = tokens[i, j]
            pixels = codebook.unpatchify(image, 4)
            with torch.no_grad():
                decoded = model.decoder(model.encoder(pixels))
            assert torch.allclose(ours[j, b], decoded[0], atol=1e-5)


def test_equation_5_labels_are_the_most_similar_candidates(batch):
    patches, _, _ = batch
    candidates = torch.randn(CANDIDATES, IMAGES, POSITIONS, VALUES)
    ours = belief_labels(candidates, patches, PredictorConfig())
    for b in range(IMAGES):
        for i in range(POSITIONS):
            similarity = [cosine(candidates[j, b, i], patches[b, i]) for j in range(CANDIDATES)]
            assert int(ours[b, i]) == similarity.index(max(similarity))


def test_equation_6_cross_entropy_over_masked_positions(batch):
    _, _, mask = batch
    logits = torch.randn(IMAGES, POSITIONS, CANDIDATES)
    labels = torch.randint(CANDIDATES, (IMAGES, POSITIONS))
    ours = losses.belief_cross_entropy(logits, labels, mask)
    for b in range(IMAGES):
        terms = []
        for i in range(POSITIONS):
            if mask[b, i]:
                scores = [math.exp(float(logits[b, i, j])) for j in range(CANDIDATES)]
                terms.append(-math.log(scores[int(labels[b, i])] / sum(scores)))
        assert float(ours[b]) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_prediction_pays_for_visible_patches_too(batch):
    target, _, mask = batch
    visible = int((~mask[0]).nonzero()[0])
    prediction = target.clone()
    prediction[0, visible] += 1.0
    loss = losses.mse_loss(prediction, target)
    assert float(loss[0]) == pytest.approx(1 / POSITIONS)
    assert float(loss[1]) == 0.0


@pytest.mark.parametrize("form", ["cosine", "map", "mcf"])
def test_the_total_weighs_the_terms_and_the_perceptual_one_reaches_the_decoder(form):
    torch.manual_seed(4)
    model = PaCoFR(SMALL)
    net = PerceptualNet(VisionTransformer(SMALL.encoder), (3, 6, 9, 12))
    weights = LossConfig(mse=2.0, perceptual=3.0, cross_entropy=5.0, perceptual_form=form)
    mask = torch.rand(IMAGES, POSITIONS) < 0.75
    candidate = torch.randint(CANDIDATES, (IMAGES, POSITIONS))
    images = torch.rand(IMAGES, 3, 16, 16)
    output = model(images, mask, candidate, mask, mask, predictor_training=True)
    terms = pretraining_loss(output, net, weights)
    expected = 2 * terms.mse + 3 * terms.perceptual + 5 * terms.cross_entropy
    assert torch.allclose(terms.total, expected)
    features = [
        net(codebook.unpatchify(patches, 4)) for patches in (output.target, output.prediction)
    ]
    compare = {
        "cosine": losses.perceptual_loss,
        "map": losses.whole_map_perceptual_loss,
        "mcf": losses.mcf_perceptual_loss,
    }
    assert torch.allclose(terms.perceptual, compare[form](*features).mean())
    terms.perceptual.backward()
    assert model.decoder.to_pixels.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.predictor.parameters())
    assert all(p.grad is None for p in net.parameters())
