"""The photo fit against heads whose parameters are known."""

import numpy as np
import pytest
import torch
from helpers.mica_toy import landmark_head

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.fitting.config import FitConfig
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.fitting.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from mica_ext.models.projection import project
from mica_ext.models.types import Camera

IDENTITIES, EXPRESSIONS = 6, 8


@pytest.fixture(scope="module")
def head():
    return landmark_head(IDENTITIES)


def shortest(vector):
    """The same rotation by less than half a turn."""
    return matrix_to_axis_angle(axis_angle_to_matrix(vector))


def seen(flame, seed, batch=16, spread=0.6):
    """Random faces with random poses, their camera and their image points."""
    g = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(size, generator=g)

    weights = (torch.rand(batch, EXPRESSIONS, generator=g) - 0.4).clamp(min=0)
    zero = torch.zeros(batch, 3)
    jaw = torch.cat([torch.rand(batch, 1, generator=g) * 0.3, zero[:, :2]], 1)
    pose = normal(batch, 3) * torch.tensor([0.15, 0.35, 0.15])
    truth = HeadParameters(spread * normal(batch, IDENTITIES), weights, pose, zero, jaw, zero, zero)
    place = torch.cat([0.05 * normal(batch, 2), torch.full((batch, 1), -0.9)], 1)
    camera = Camera(
        torch.full((batch,), 1500.0), torch.tensor([[320.0, 240.0]]).repeat(batch, 1), place
    )
    return truth, project(camera, flame(truth).landmarks)


def test_exact_points_of_known_camera_give_the_head_back(head):
    flame = HeadDecoder(head)
    truth, points = seen(flame, 0)
    loose = FitConfig(
        landmark_sigma=0.001, contour_sigma=0.001, robust_threshold=1e3, iterations=25
    )
    fit = LandmarkFitter(flame, loose)(points, (481, 641), torch.full((16,), 1500.0))
    assert fit.residual.max() < 2e-3
    assert (fit.parameters.head.global_pose - truth.global_pose).abs().max() < 0.02
    assert (fit.parameters.head.jaw_pose - truth.jaw_pose)[:, 0].abs().max() < 0.03


def test_the_default_fit_follows_the_points_within_its_bounds(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 1)
    fit = LandmarkFitter(flame)(points, (480, 640))
    assert fit.residual.mean() < 0.02
    expression = fit.parameters.head.expression
    assert expression.min() >= 0
    assert expression.max() <= 1
    assert fit.parameters.head.jaw_pose[:, 0].min() >= 0


def test_a_small_face_at_the_edge_of_a_photo_looks_where_it_looks(head):
    """A face of some 250 px, 28 degrees off the axis of a phone's main lens, looks at the camera's
    own direction: its turn relative to the line of sight is 0."""
    flame = HeadDecoder(head)
    focal, size = 2912.0, (3024, 4032)  # 26 mm on 35 mm film
    place = torch.tensor([[0.486, -0.245, -1.0]]) * 1.65
    zero = torch.zeros(1, 3)
    away = torch.tensor([[np.arctan2(-0.245, -1.0) + np.pi, np.arctan2(0.486, 1.0), 0.0]])
    pose = torch.from_numpy(
        matrix_to_axis_angle(axis_angle_to_matrix(-away.double().numpy()))
    ).float()
    truth = HeadParameters(
        torch.zeros(1, IDENTITIES), torch.zeros(1, EXPRESSIONS), pose, zero, zero, zero, zero
    )
    centre = torch.tensor([[(size[1] - 1) / 2, (size[0] - 1) / 2]])
    points = project(Camera(torch.tensor([focal]), centre, place), flame(truth).landmarks)
    width = float(points[0, :, 0].max() - points[0, :, 0].min())
    assert 200 < width < 320
    fit = LandmarkFitter(flame)(points, size)
    assert float(fit.residual[0]) < 0.02
    turned = (fit.parameters.head.global_pose - pose).norm()
    assert float(turned) < np.radians(4)
    with_wide_lens = LandmarkFitter(flame, FitConfig(min_focal_ratio=0.0))(points, size)
    assert (with_wide_lens.parameters.head.global_pose - pose).norm() > np.radians(8)


def test_points_that_are_no_face_are_refused(head):
    points = torch.full((1, 68, 2), float("nan"))
    with pytest.raises(UserError, match="no head fits"):
        LandmarkFitter(HeadDecoder(head))(points, (480, 640))


def test_reported_landmarks_are_those_of_the_exact_head_under_the_reported_camera(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 2, batch=3)
    fit = LandmarkFitter(flame)(points, (480, 640))
    again = project(fit.parameters.camera, flame(fit.parameters.head).landmarks)
    torch.testing.assert_close(again, fit.landmarks_px, atol=1e-2, rtol=0)


def test_a_batch_gives_what_its_items_give_alone(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 3, batch=4)
    together = LandmarkFitter(flame)(points, (480, 640)).landmarks_px
    for one, expected in zip(points, together, strict=True):
        alone = LandmarkFitter(flame)(one[None], (480, 640)).landmarks_px[0]
        torch.testing.assert_close(alone, expected, atol=1e-2, rtol=0)


def test_wild_points_move_the_others_little(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 4, spread=0.3)
    spoiled = points.clone()
    spoiled[:, [20, 44, 57]] += 60.0
    fit = LandmarkFitter(flame)(spoiled, (480, 640))
    clean = [i for i in range(68) if i not in (20, 44, 57)]
    unit = (points[:, 36] - points[:, 45]).norm(dim=-1)
    off = (fit.landmarks_px - points)[:, clean].norm(dim=-1).mean(1) / unit
    assert off.mean() < 0.03


def test_an_unbounded_head_may_go_below_zero(head):
    import dataclasses

    flame = HeadDecoder(dataclasses.replace(head, expression_bounds=None))
    g = torch.Generator().manual_seed(5)
    zero = torch.zeros(4, 3)
    mood = torch.randn(4, EXPRESSIONS, generator=g)
    truth = HeadParameters(torch.zeros(4, IDENTITIES), mood, zero, zero, zero, zero, zero)
    place = torch.tensor([[0, 0, -0.9]]).repeat(4, 1)
    camera = Camera(torch.full((4,), 1500.0), torch.full((4, 2), 200.0), place)
    points = project(camera, flame(truth).landmarks)
    fit = LandmarkFitter(flame)(points, (401, 401))
    assert fit.parameters.head.expression.min() < -0.2
    assert fit.residual.mean() < 0.02


def test_lips_that_all_but_touch_are_taken_for_closed(head):
    from mica_ext.fitting.landmark_fitter import INNER_LIPS, close_lips

    points = np.random.default_rng(0).uniform(0, 100, (1, 68, 2))
    for (upper, lower), gap in zip(INNER_LIPS, (1.0, 2.0, 20.0), strict=True):
        points[0, lower] = points[0, upper] + [0, gap]
    shut = close_lips(points, np.array([100.0]))
    gaps = [np.linalg.norm(shut[0, a] - shut[0, b]) for a, b in INNER_LIPS]
    assert gaps[0] < 0.2
    assert gaps[1] < 1.0
    assert gaps[2] == pytest.approx(20.0)
    np.testing.assert_allclose(shut[0, 61] + shut[0, 67], points[0, 61] + points[0, 67])
    untouched = [i for i in range(68) if i not in np.ravel(INNER_LIPS)]
    np.testing.assert_array_equal(shut[:, untouched], points[:, untouched])


def test_an_arkit_heads_prior_knows_pairs_and_leaves_other_heads_alone(head):
    from flame_assets.anthro import EXPRESSIONS
    from flame_assets.store import load_head
    from mica_ext.fitting.expression_prior import expression_prior_precision

    floors = {"scale": 2.0, "sigma_floor": 0.06, "jaw_sigma_floor": (0.01, 0.03, 0.02)}
    assert expression_prior_precision(head, **floors) is None
    precision = expression_prior_precision(load_head("anthro"), **floors)
    spread = np.linalg.inv(precision)
    left, right = (3 + EXPRESSIONS.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    roll = 3 + EXPRESSIONS.index("mouthRollUpper")
    assert np.linalg.eigvalsh(precision).min() > 0
    assert spread[left, right] > 0.8 * spread[left, left]
    assert spread[left, left] > 4 * spread[roll, roll]
    assert spread[0, 3 + EXPRESSIONS.index("jawOpen")] > 0.01  # the hinge goes with jawOpen
