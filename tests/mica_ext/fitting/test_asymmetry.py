"""Winks and smirks of rendered people stay on their side."""

import numpy as np
import pytest
from helpers.rendered_ict import IctRenderer

from flame_assets.store import load_head
from mica_ext.models.projection import project
from mica_ext.reconstruct import Reconstructor
from pacofr.faces.detect import Face
from pacofr.faces.landmarks68 import five_points

SIDES = ("Left", "Right")


@pytest.fixture(scope="module")
def renderer():
    return IctRenderer(load_head("anthro"))


@pytest.fixture(scope="module")
def reconstructor():
    return Reconstructor.load(head="anthro", points="student")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("stem", "weight", "seed"), [("eyeBlink", 1.0, 720_000), ("mouthSmile", 0.9, 720_002)]
)
def test_one_sided_expressions_stay_on_their_side(
    renderer, reconstructor, stem, weight, seed, side
):
    rendered = renderer.render(seed, max_yaw=20, weights={stem + side: weight})
    truth = project(rendered.camera, rendered.mesh.landmarks)[0].double().numpy()
    face = Face(np.concatenate([truth.min(0), truth.max(0)]), 1.0, five_points(truth))
    aligned = reconstructor.align(rendered.image, [face])
    found = reconstructor.estimator(aligned).parameters.head.expression[0].tolist()
    weights = dict(zip(reconstructor.head.expression_names, found, strict=True))
    other = SIDES[1 - SIDES.index(side)]
    assert weights[stem + side] > 0.25
    assert weights[stem + other] < 0.5 * weights[stem + side]
