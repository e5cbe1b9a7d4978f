"""One identity fitted to several frames of a person together."""

import numpy as np
import torch
from helpers.anchored_points import CALIBRATION, points_of
from helpers.mica_toy import landmark_head

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.fitting.geometry.gauss_newton import solve_free, solve_shared
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.models.projection import project
from mica_ext.models.types import Camera


def test_shared_unknowns_solve_the_whole_system():
    """Against the dense system of all items, its shared columns summed."""
    rng = np.random.default_rng(0)
    items, own, common = 4, 5, 3
    J = rng.normal(size=(items, 20, own + common))
    r = rng.normal(size=(items, 20))
    H, g = J.transpose(0, 2, 1) @ J, np.einsum("bki,bk->bi", J, r)
    fixed = np.zeros((items, own + common), bool)
    fixed[1, 2] = fixed[3, 0] = True
    shared = np.arange(own + common) >= own
    dense = np.zeros((items * 20, items * own + common))
    for item in range(items):
        rows = slice(20 * item, 20 * (item + 1))
        dense[rows, own * item : own * (item + 1)] = J[item, :, :own] * ~fixed[item, :own]
        dense[rows, items * own :] = J[item, :, own:]
    wanted = np.linalg.lstsq(dense, r.ravel(), rcond=None)[0]
    step = solve_shared(H, g, fixed, shared)
    np.testing.assert_allclose(step[:, :own].ravel(), wanted[: items * own], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(step[:, own:], np.tile(wanted[items * own :], (items, 1)), rtol=1e-4)
    one = solve_shared(H[:1], g[:1], fixed[:1], shared)
    np.testing.assert_allclose(one, solve_free(H[:1], g[:1], fixed[:1]), rtol=1e-4, atol=1e-6)


def noisy_frames(decoder, count, seed):
    """Frames of one person with other expressions and poses; points with errors of 1 px."""
    g = torch.Generator().manual_seed(seed)
    shape = torch.randn((1, 6), generator=g)
    expression = (torch.rand((count, 8), generator=g) - 0.4).clamp(min=0)
    still = torch.zeros(count, 3)
    pose = 0.2 * torch.randn((count, 3), generator=g)
    truth = HeadParameters(shape.expand(count, -1), expression, pose, still, still, still, still)
    camera = Camera(
        torch.full((count,), 1000.0),
        torch.tensor([[319.5, 239.5]]).repeat(count, 1),
        torch.tensor([[0.0, 0.0, -1.0]]).repeat(count, 1),
    )
    points = project(camera, points_of(decoder, truth))
    return shape, points + torch.randn(points.shape, generator=g)


def test_frames_together_tell_the_person_better_than_each_alone():
    decoder = HeadDecoder(landmark_head(6))
    fitter = LandmarkFitter(decoder, CALIBRATION)
    focal, together, alone = torch.full((12,), 1000.0), [], []
    for seed in range(3):
        shape, points = noisy_frames(decoder, 12, seed)
        joint = fitter(points, (480, 640), focal, one_person=True).parameters.head.shape
        assert torch.equal(joint, joint[:1].expand(12, -1))
        each = fitter(points, (480, 640), focal).parameters.head.shape
        together.append(float((joint[0] - shape[0]).norm()))
        alone.append(float((each - shape).norm(dim=1).mean()))
    assert np.mean(together) < 0.8 * np.mean(alone)


def test_lips_that_opened_meet_again_and_others_stay():
    decoder = HeadDecoder(landmark_head(6))
    fitter = LandmarkFitter(decoder, CALIBRATION)
    heads = HeadParameters.zeros(decoder.head, 2)
    heads = heads._replace(jaw_pose=torch.tensor([[0.03, 0.0, 0.0]] * 2))
    closed = fitter.close_lips(heads, np.array([True, False]))

    def gaps(parameters):
        points = decoder(parameters).landmarks
        return (points[:, [61, 62, 63]] - points[:, [67, 66, 65]])[..., 1]

    rest = gaps(HeadParameters.zeros(decoder.head))
    assert (gaps(heads) - rest).min() > 1e-3
    assert (gaps(closed) - rest)[0].abs().max() < 4e-4
    torch.testing.assert_close(closed.jaw_pose[1], heads.jaw_pose[1], rtol=0, atol=1e-6)
