"""Lips of fitted heads: closed where the points are, never one through the other."""

import numpy as np
import pytest
import torch
from helpers.anchored_points import CALIBRATION, points_of
from helpers.mica_toy import landmark_head

from flame_assets.arkit import arkit
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.fitting.lip_seam import LOWER_LANDMARKS, LOWER_POINTS, UPPER_LANDMARKS, lip_gaps
from mica_ext.models.projection import project
from mica_ext.models.types import Camera

CAMERA = Camera(
    torch.tensor([1500.0]), torch.tensor([[320.0, 240.0]]), torch.tensor([[0.0, 0.02, -1.0]])
)


@pytest.fixture(scope="module")
def anthro():
    return HeadDecoder(load_head("anthro"))


def seen(decoder, weights):
    pose = arkit(weights, decoder.head.expression_names)
    rows = (np.zeros(decoder.head.shape_count, np.float32), pose.expression)
    rows = (*rows, np.zeros(3, np.float32), np.zeros(3, np.float32), *pose[1:])
    truth = HeadParameters(*(torch.from_numpy(row)[None] for row in rows))
    return project(CAMERA, points_of(decoder, truth))


def gap_mm(decoder, fit):
    """Least and largest height of the fitted upper inner lip over the lower one."""
    landmarks = decoder(fit.parameters.head).landmarks[0].double().numpy() * 1e3
    gaps = (landmarks[list(UPPER_LANDMARKS)] - landmarks[list(LOWER_LANDMARKS)])[:, 1]
    return gaps.min(), gaps.max()


@pytest.mark.parametrize("kind", ["correctives", "anthro"])
def test_gaps_by_every_coefficient(anthro, kind):
    decoder = anthro if kind == "anthro" else HeadDecoder(landmark_head())
    fitter = LandmarkFitter(decoder, CALIBRATION)
    rng, model = np.random.default_rng(0), fitter.model
    free_jaw = not model.jaw_of_expression.any()
    count = 3 + model.axes_count + model.jaw_of_expression.shape[1]
    coefficients = rng.uniform(0, 0.3, (2, count))
    coefficients[:, :3] *= free_jaw
    pose = fitter._pose(
        np.tile(CALIBRATION.mean * 150 + [320, 240], (2, 1, 1)), (480, 640), None, np.ones((2, 478))
    )[0]

    def gaps(x):
        return fitter.lips.gaps(model.split(pose, np.concatenate([x, np.zeros((2, 0))], 1)))

    _, jacobian = gaps(coefficients)
    start = 3  # a free jaw's rotation vector is differentiated at zero only
    for column in range(start, count):
        step = np.zeros(count)
        step[column] = 1e-6
        numeric = (gaps(coefficients + step)[0] - gaps(coefficients - step)[0]) / 2e-6
        numeric = numeric * fitter.lips.parting[column]
        np.testing.assert_allclose(jacobian[..., column], numeric, rtol=1e-4, atol=1e-7)


def test_gaps_are_measured_along_the_face():
    points = np.tile(CALIBRATION.mean, (2, 1, 1))
    points[0, LOWER_POINTS, 1] += 0.05
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    points[1] = points[0] @ turn
    apart = lip_gaps(points * 80, np.array([80.0, 80.0]))
    (closed,) = lip_gaps(CALIBRATION.mean[None], np.ones(1))
    np.testing.assert_allclose(apart, [closed + 0.05] * 2, atol=1e-9)


def test_mouths_that_points_call_closed_are_closed(anthro):
    """The jaw hangs by as much as points err: closed below the threshold, open without it."""
    smile = {"mouthSmileLeft": 0.4, "mouthSmileRight": 0.4}
    points = seen(anthro, {"jawOpen": 0.06, **smile})
    gap = float(lip_gaps(points.double().numpy(), np.array([150.0]))[0])
    telling = CALIBRATION._replace(closed_lips=2 * gap)
    _, widest = gap_mm(anthro, LandmarkFitter(anthro, telling)(points, (480, 640)))
    assert widest < 0.1
    silent = CALIBRATION._replace(closed_lips=0.0)
    narrowest, _ = gap_mm(anthro, LandmarkFitter(anthro, silent)(points, (480, 640)))
    assert narrowest > 0.8


def test_an_open_mouth_stays_open(anthro):
    points = seen(anthro, {"jawOpen": 0.5})
    narrowest, _ = gap_mm(anthro, LandmarkFitter(anthro, CALIBRATION)(points, (480, 640)))
    assert narrowest > 10


def test_lips_do_not_pass_through_each_other(anthro):
    """Inner lips whose points have changed places, as those of pressed lips do."""
    points = seen(anthro, {"mouthPressLeft": 0.5, "mouthPressRight": 0.5})
    points[0, list(LOWER_POINTS), 1] -= 6
    silent = CALIBRATION._replace(closed_lips=-1.0)
    narrowest, _ = gap_mm(anthro, LandmarkFitter(anthro, silent)(points, (480, 640)))
    assert narrowest > -0.1
