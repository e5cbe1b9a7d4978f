"""The expression network that comes with the package, on a photo and on rendered heads."""

import hashlib

import numpy as np
import pytest
import torch

from flame_assets.model.head_module import HeadDecoder
from flame_assets.store import load_head
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.errors import UserError
from mica_ext.expression.config import CropChanges, LossWeights
from mica_ext.expression.training.crops import CropMaker, network_input
from mica_ext.expression.training.data import CropReader
from mica_ext.expression.training.losses import ExpressionLoss, sparse_decoder
from mica_ext.expression.training.rendered import RenderedHeads
from mica_ext.models.pack import EXPRESSION, SHIPPED, load_pack
from mica_ext.models.projection import project
from mica_ext.reconstruct import Reconstructor
from pacofr.engine.batches.sampling import RankBatch
from pacofr.faces.landmarks68 import INNER, inter_ocular
from pacofr.images import load_image

RENDERED_SEED = 5_000_000
"""Heads that were in no training."""


@pytest.fixture(scope="module")
def unfitted():
    return Reconstructor.load(fit="none")


def test_its_card_is_that_of_its_weights():
    folder = load_pack(EXPRESSION).expression
    assert folder is not None
    weights = (folder / "model.safetensors").read_bytes()
    assert len(weights) < 6_000_000
    digest = hashlib.sha256(weights).hexdigest()
    assert digest in (folder / "config.json").read_text()
    assert digest in (folder.parent / "README.md").read_text()
    assert "research only" in load_pack(EXPRESSION).licence


def test_without_a_fit_it_is_taken_and_else_not(unfitted):
    assert unfitted.provenance.expression.name == EXPRESSION
    assert unfitted.head.name == "anthro"
    with pytest.raises(UserError, match="no expression network: take --model anthro-expression"):
        Reconstructor.load(SHIPPED, fit="none")


def test_the_example_smiles_alone(unfitted):
    face = unfitted(EXAMPLE)
    names = unfitted.head.expression_names
    read = dict(zip(names, face.parameters.head.expression[0].tolist(), strict=True))
    assert min(read["mouthSmileLeft"], read["mouthSmileRight"]) > 0.25
    assert max(read["eyeBlinkLeft"], read["eyeBlinkRight"]) < 0.4
    head = face.parameters.head
    seen = project(face.parameters.camera, unfitted.decoder(head).landmarks)[0].numpy()
    marks = face.landmarks_px.numpy()
    apart = np.linalg.norm(seen - marks, axis=1)[INNER].mean() / inter_ocular(marks[None])[0]
    assert apart < 0.08


def test_the_other_side_of_the_mirror_is_read_alike(unfitted):
    photo = load_image(EXAMPLE)
    face = unfitted.align(photo, unfitted.detect(photo)[:1])
    predictor = unfitted.estimator.predictor
    assert predictor.mirror is not None
    here = predictor.mirror.movement(predictor.read(face))
    there = predictor.read(face._replace(crop=face.crop.flip(-1)))
    for name, value in zip(there._fields, there, strict=True):
        torch.testing.assert_close(value, getattr(here, name), atol=1e-5, rtol=1e-4, msg=name)


def test_it_moves_rendered_heads_much_nearer_to_the_truth_than_rest(unfitted):
    head = load_head("anthro")
    network, count = unfitted.estimator.predictor.network, 12
    plain = CropChanges(occlusion=0.0, light=0.0, mirrored=0.0)
    crops = CropMaker(HeadDecoder(head), network.window, plain)
    source = RenderedHeads(head, RENDERED_SEED, epoch_size=count)
    zero = np.zeros(count, int)
    batch = CropReader([source], crops, 0)(RankBatch(zero, zero, np.arange(count)))
    loss = ExpressionLoss(sparse_decoder(head), LossWeights())
    with torch.no_grad():
        found = network(network_input(batch.crops))
        rest = found._replace(**{name: 0 * getattr(found, name) for name in found._fields[:4]})
        own, still = (float(loss(output, batch.truth).posed_mm) for output in (found, rest))
    assert own < 0.6 * still
