"""Encoders that come with the package: whole, with a card, and better than random weights."""

import hashlib
import json

import cv2
import numpy as np
import pytest
import torch

from mica_ext.commands.photo_run.output_plan import EXAMPLE
from pacofr.faces.align import ffhq_crop
from pacofr.images import load_image
from pacofr.pretraining.config import MaskingConfig
from pacofr.pretraining.encoder_spec import SHIPPED, load_encoder_spec
from pacofr.pretraining.method.masking import sample_masks
from pacofr.pretraining.method.model import PaCoFR, load_pretrained

EYES_NOSE_MOUTH = np.array([[204, 100], [246, 103], [224, 128], [201, 139], [245, 141]])
"""Of the astronaut, by the detector [px]."""


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_is_of_these_weights(name):
    card = json.loads((SHIPPED[name] / "config.json").read_text())
    weights = (SHIPPED[name] / "model.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    for entry in ("licence", "data", "command", "scores", "seed"):
        assert card[entry] not in ("", None)
    encoder = load_encoder_spec(name)
    assert encoder.config.image_size == card["model"]["encoder"]["image_size"]
    assert load_encoder_spec(name, 128).config.grid == 2 * encoder.config.grid


@torch.no_grad()
def test_face_micro_paints_what_is_masked_of_a_face_that_it_has_not_seen():
    crop = ffhq_crop(load_image(EXAMPLE), EYES_NOSE_MOUTH)
    small = cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA)
    images = torch.from_numpy(small).permute(2, 0, 1)[None].expand(16, -1, -1, -1) / 255
    trained = load_pretrained(SHIPPED["face-micro"])
    torch.manual_seed(0)
    errors = []
    for model in (trained, PaCoFR(trained.config).eval()):
        masks = sample_masks(0, 0, np.arange(16), model.config, MaskingConfig())
        output = model(images, *map(torch.from_numpy, masks), mse_over="masked")
        errors.append(float(output.mse.mean()))
    hidden = output.target[torch.from_numpy(masks.mask)]
    assert errors[0] < 0.6 * float(hidden.var(dim=0, unbiased=False).mean())  # their mean patch
    assert errors[0] < 0.3 * errors[1]
