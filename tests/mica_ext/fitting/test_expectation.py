"""Expected movements in the fit: they decide what the points do not tell, and nothing else."""

import numpy as np
import pytest
import torch
from helpers.anchored_points import CALIBRATION, points_of
from helpers.mica_toy import landmark_head

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.fitting.expectation import Expectation, FacePrior, told_by_points
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.fitting.priors import CoefficientPrior
from mica_ext.models.projection import project
from mica_ext.models.types import Camera, FaceParameters

HEAD = landmark_head(4)
BATCH = 3


@pytest.fixture(scope="module")
def fitter():
    return LandmarkFitter(HeadDecoder(HEAD), CALIBRATION)


@pytest.fixture(scope="module")
def faces():
    """Heads from the front, their points, and an expectation of others."""
    rng = torch.Generator().manual_seed(1)
    head = HeadParameters.zeros(HEAD, BATCH)
    truth = head._replace(expression=0.6 * torch.rand(BATCH, HEAD.expression_count, generator=rng))
    camera = Camera(
        torch.full((BATCH,), 900.0),
        torch.tensor([[320.0, 240.0]]).repeat(BATCH, 1),
        torch.tensor([[0.0, 0.0, -0.9]]).repeat(BATCH, 1),
    )
    points = project(camera, points_of(HeadDecoder(HEAD), truth))
    other = head._replace(
        expression=0.6 * torch.rand(BATCH, HEAD.expression_count, generator=rng),
        jaw_pose=torch.tensor([[0.2, 0.0, 0.0]]).repeat(BATCH, 1),  # lips that do not cross
        left_eye_pose=torch.full((BATCH, 3), 0.1),
    )
    return points, FaceParameters(other, camera)


def fitted(fitter, faces, trust, expected=True):
    points, other = faces
    confidence = torch.full((BATCH, 478), trust)
    return fitter(
        points, (481, 641), confidence=confidence, expected=other.head if expected else None
    ).parameters.head


def test_sure_points_leave_nothing_to_what_is_expected(fitter, faces):
    """The same fit as without, but for where it starts."""
    ours, alone = fitted(fitter, faces, 1.0), fitted(fitter, faces, 1.0, expected=False)
    torch.testing.assert_close(ours.expression, alone.expression, atol=0.03, rtol=0)
    torch.testing.assert_close(ours.shape, alone.shape, atol=0.05, rtol=0)
    torch.testing.assert_close(ours.left_eye_pose, alone.left_eye_pose, atol=1e-3, rtol=0)


def test_unsure_points_leave_much_to_it(fitter, faces):
    """Gaze wholly; of expressions the population's prior keeps its part."""
    expected = faces[1].head
    found, alone = (fitted(fitter, faces, 1e-4, expected=each) for each in (True, False))
    near, far = ((each.expression - expected.expression).abs().mean() for each in (found, alone))
    assert near < 0.6 * far
    torch.testing.assert_close(found.left_eye_pose, expected.left_eye_pose, atol=0.01, rtol=0)


def test_the_more_is_hidden_the_nearer_to_what_is_expected(fitter, faces):
    expected = faces[1].head.expression
    gaps = [
        float((fitted(fitter, faces, trust).expression - expected).abs().mean())
        for trust in (0.05, 0.02, 0.005, 0.0005)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.5 * gaps[0]


def test_what_points_tell_is_a_share_of_their_information():
    """Two points: the first unknown moves the sure one, the second both, the third none."""
    jacobian = np.zeros((1, 2, 2, 3))
    jacobian[0, 0, 0, 0] = 3.0
    jacobian[0, :, 1, 1] = 2.0
    good = np.ones((1, 2))
    told = told_by_points(jacobian, np.array([[1.0, 2.0]]), good)
    np.testing.assert_allclose(told, [[1.0, (1 + 1 / 4) / 2, 0.0]])


def test_the_prior_s_gradient_is_that_of_its_density(fitter, faces):
    """Against differences of -log p."""
    model, prior = fitter.model, fitter.prior
    expectation = Expectation.of(faces[1].head, model, prior)
    rng = np.random.default_rng(0)
    size = len(prior.lower)
    face_prior = FacePrior.of_faces(prior, expectation, rng.uniform(0, 1, (BATCH, size)))
    pose = fitter._pose(  # noqa: SLF001
        faces[0].double().numpy(), (481, 641), None, np.ones((BATCH, 478))
    )[0]
    c = rng.uniform(0.1, 0.5, (BATCH, size))

    def energy(c):
        gap = c - expectation.coefficients
        quadratic = np.einsum("bm,bmn,bn->b", c, face_prior.precision, c) / 2
        pulled = (np.broadcast_to(face_prior.pull, c.shape) * gap**2).sum(1) / 2
        return quadratic + (face_prior.rate * c).sum(1) + pulled

    H, g = np.zeros((BATCH, 6 + size, 6 + size)), np.zeros((BATCH, 6 + size))
    face_prior.add_to(H, g, model.split(pose, c))
    for column in range(0, size, 5):
        step = np.zeros(size)
        step[column] = 1e-5
        slope = (energy(c + step) - energy(c - step)) / 2e-5
        np.testing.assert_allclose(-g[:, 6 + column], slope, rtol=1e-5, atol=1e-6)
    assert not g[:, :6].any()  # of the pose nothing is expected
    plain = FacePrior.of_population(CoefficientPrior.of_head(HEAD, 2, 0, fitter.config))
    assert plain.expectation is None
