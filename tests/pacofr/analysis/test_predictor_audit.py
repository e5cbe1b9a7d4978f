"""What a choice of candidates tells: on a model whose predictor and tokens are set by hand."""

import dataclasses

import pytest
import torch
from helpers.pacofr_tiny import TinyCrops, tiny_config

from pacofr.analysis.predictor_audit import audit_choices
from pacofr.pretraining.method.model import PaCoFR


@pytest.fixture
def bright_or_dark():
    """Predicts candidate 0 for dark patches and 1 for bright ones, never 2."""
    torch.manual_seed(0)
    model = PaCoFR(tiny_config().model)
    predictor = model.predictor
    assert predictor is not None
    for layer in (predictor.fc1, predictor.fc2, predictor.fc3):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    if predictor.position is not None:
        torch.nn.init.zeros_(predictor.position)
    with torch.no_grad():
        predictor.fc1.weight[0], predictor.fc1.weight[1] = 1.0, -1.0
        predictor.fc2.weight[0, 0] = predictor.fc2.weight[1, 1] = 1.0
        predictor.fc3.weight[1, 0] = predictor.fc3.weight[0, 1] = 1.0
        predictor.fc3.bias[2] = -10.0
    return model.eval().requires_grad_(False)


def test_the_audit_tells_what_a_choice_by_brightness_tells(bright_or_dark):
    images = torch.from_numpy(TinyCrops().pixels)
    found = audit_choices(bright_or_dark, images, batch=16)
    assert found.shares[2] == 0.0
    assert found.brightness[2] is None
    assert sum(found.shares) == pytest.approx(1.0)
    dark, bright = found.brightness[:2]
    assert dark is not None
    assert bright is not None
    assert dark < 0 < bright
    assert found == audit_choices(bright_or_dark, images, batch=50)


def test_a_decoder_that_reads_the_message_is_better_by_the_predictors_choice(bright_or_dark):
    """Pixels are taken from the token itself: dark and bright tokens beat a random one."""
    with torch.no_grad():
        bright_or_dark.codebook.tokens[:, 0], bright_or_dark.codebook.tokens[:, 1] = -1.0, 1.0
    bright_or_dark.reconstruct = lambda patches: patches
    found = audit_choices(bright_or_dark, torch.from_numpy(TinyCrops().pixels))
    assert found.error_predicted < 0.8 * found.error_random
    assert found.error_label < found.error_random


def test_without_a_predictor_there_is_nothing_to_audit():
    config = tiny_config().model
    random = dataclasses.replace(config.predictor, selection="random")
    model = PaCoFR(dataclasses.replace(config, predictor=random))
    with pytest.raises(ValueError, match="without a predictor"):
        audit_choices(model, torch.from_numpy(TinyCrops().pixels))
