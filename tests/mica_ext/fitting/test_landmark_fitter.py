"""The photo fit against heads whose parameters are known."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.anchored_points import CALIBRATION, points_of
from helpers.mica_toy import landmark_head

from flame_assets.arkit import JAW_OPEN, OPPOSITES, arkit
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.fitting.config import FitConfig
from mica_ext.fitting.expression_prior import expression_prior_precision
from mica_ext.fitting.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.fitting.points.noise import FIT_POINTS, PointNoise
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
    return truth, project(camera, points_of(flame, truth))


def test_exact_points_of_known_camera_give_the_head_back(head):
    flame = HeadDecoder(head)
    truth, points = seen(flame, 0)
    loose = FitConfig(robust_threshold=1e3, expression_rate=0.0, iterations=25)
    exact = PointNoise.by_region()
    exact = exact._replace(sigma=np.full_like(exact.sigma, 0.001))
    fitter = LandmarkFitter(flame, CALIBRATION, loose, exact)
    fit = fitter(points, (481, 641), torch.full((16,), 1500.0))
    assert fit.residual.max() < 2e-3
    assert (fit.parameters.head.global_pose - truth.global_pose).abs().max() < 0.02
    assert (fit.parameters.head.jaw_pose - truth.jaw_pose)[:, 0].abs().max() < 0.03


def test_the_default_fit_follows_the_points_within_its_bounds(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 1)
    fit = LandmarkFitter(flame, CALIBRATION)(points, (480, 640))
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
    points = project(Camera(torch.tensor([focal]), centre, place), points_of(flame, truth))
    width = float(points[0, :, 0].max() - points[0, :, 0].min())
    assert 200 < width < 320
    fit = LandmarkFitter(flame, CALIBRATION)(points, size)
    assert float(fit.residual[0]) < 0.02
    turned = (fit.parameters.head.global_pose - pose).norm()
    assert float(turned) < np.radians(4)
    wide_lens = FitConfig(min_focal_ratio=0.0)
    with_wide_lens = LandmarkFitter(flame, CALIBRATION, wide_lens)(points, size)
    turned_by_lens = (with_wide_lens.parameters.head.global_pose - pose).norm()
    assert float(turned_by_lens) > 2 * float(turned)


def test_points_that_are_no_face_are_refused(head):
    points = torch.full((1, 478, 2), float("nan"))
    with pytest.raises(UserError, match="no head fits"):
        LandmarkFitter(HeadDecoder(head), CALIBRATION)(points, (480, 640))


def test_reported_landmarks_are_those_of_the_exact_head_under_the_reported_camera(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 2, batch=3)
    fit = LandmarkFitter(flame, CALIBRATION)(points, (480, 640))
    again = project(fit.parameters.camera, flame(fit.parameters.head).landmarks)
    torch.testing.assert_close(again, fit.landmarks_px, atol=1e-2, rtol=0)


def test_a_batch_gives_what_its_items_give_alone(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 3, batch=4)
    together = LandmarkFitter(flame, CALIBRATION)(points, (480, 640)).landmarks_px
    for one, expected in zip(points, together, strict=True):
        alone = LandmarkFitter(flame, CALIBRATION)(one[None], (480, 640)).landmarks_px[0]
        torch.testing.assert_close(alone, expected, atol=1e-2, rtol=0)


def test_wild_points_move_the_others_little(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 4, spread=0.3)
    spoiled = points.clone()
    wild = [105, 386, 17]
    spoiled[:, wild] += 60.0
    fit = LandmarkFitter(flame, CALIBRATION)(spoiled, (480, 640))
    clean = LandmarkFitter(flame, CALIBRATION)(points, (480, 640))
    moved = (fit.landmarks_px - clean.landmarks_px).norm(dim=-1).mean(1)
    assert (moved / (points[:, 33] - points[:, 263]).norm(dim=-1)).mean() < 0.02


def test_an_unbounded_head_may_go_below_zero(head):
    flame = HeadDecoder(dataclasses.replace(head, expression_bounds=None))
    g = torch.Generator().manual_seed(5)
    zero = torch.zeros(4, 3)
    mood = torch.randn(4, EXPRESSIONS, generator=g)
    truth = HeadParameters(torch.zeros(4, IDENTITIES), mood, zero, zero, zero, zero, zero)
    place = torch.tensor([[0, 0, -0.9]]).repeat(4, 1)
    camera = Camera(torch.full((4,), 1500.0), torch.full((4, 2), 200.0), place)
    points = project(camera, points_of(flame, truth))
    fit = LandmarkFitter(flame, CALIBRATION)(points, (401, 401))
    assert fit.parameters.head.expression.min() < -0.2
    assert fit.residual.mean() < 0.02


def test_an_arkit_heads_prior_knows_pairs_and_leaves_other_heads_alone(head):
    assert expression_prior_precision(head, scale=2.0, sigma_floor=0.06) is None
    anthro = load_head("anthro")
    precision = expression_prior_precision(anthro, scale=2.0, sigma_floor=0.06)
    spread = np.linalg.inv(precision)
    names = anthro.expression_names
    left, right = (names.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    roll = names.index("mouthRollUpper")
    assert np.linalg.eigvalsh(precision).min() > 0
    assert spread[left, right] > 0.8 * spread[left, left]
    assert spread[left, left] > 4 * spread[roll, roll]


CAMERA = Camera(
    torch.tensor([1500.0]), torch.tensor([[320.0, 240.0]]), torch.tensor([[0.0, 0.02, -1.0]])
)


@pytest.fixture(scope="module")
def anthro():
    return HeadDecoder(load_head("anthro"))


def posed(decoder, pose=(0.0, 0.0, 0.0), **weights):
    """Anthro's mean person with ARKit weights, and the points in the picture."""
    arkit_pose = arkit(weights, decoder.head.expression_names)
    zero = np.zeros(3, np.float32)
    shape = np.zeros(decoder.head.shape_count, np.float32)
    rows = (shape, arkit_pose.expression, np.float32(pose), zero, *arkit_pose[1:])
    truth = HeadParameters(*(torch.from_numpy(row)[None] for row in rows))
    return truth, project(CAMERA, points_of(decoder, truth))


def weights_of(fit, decoder):
    values = fit.parameters.head.expression[0].tolist()
    return dict(zip(decoder.head.expression_names, values, strict=True))


def test_the_mean_person_is_neutral_with_the_mean_shape(anthro):
    points = torch.from_numpy(CALIBRATION.mean)[None].float() * 150 + torch.tensor([320.0, 240.0])
    fit = LandmarkFitter(anthro, CALIBRATION)(points, (480, 640))
    assert fit.residual[0] < 1e-3
    assert fit.parameters.head.shape.abs().max() < 0.02
    assert fit.parameters.head.expression.max() < 0.01
    assert fit.parameters.head.left_eye_pose.abs().max() < 0.01


@pytest.mark.parametrize(
    "expression",
    [
        {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7},
        {"mouthSmileLeft": 0.7},
        {"eyeBlinkRight": 1.0},
        {"jawOpen": 0.6},
        {"browInnerUp": 0.8, "browOuterUpLeft": 0.6, "browOuterUpRight": 0.6},
    ],
)
def test_one_expression_is_read_back_on_its_own_side(anthro, expression):
    _, points = posed(anthro, **expression)
    weights = weights_of(LandmarkFitter(anthro, CALIBRATION)(points, (480, 640)), anthro)
    for name, value in expression.items():
        assert 0.5 * value < weights[name] < 1.3 * value
    other = {"Left": "Right", "Right": "Left"}
    for name in set(expression):
        side = next((side for side in other if name.endswith(side)), None)
        twin = name.removesuffix(side) + other[side] if side else None
        if twin and twin not in expression:
            assert weights[twin] < 0.35 * weights[name]


def test_the_jaw_turns_with_its_weight(anthro):
    _, points = posed(anthro, jawOpen=0.6)
    fit = LandmarkFitter(anthro, CALIBRATION)(points, (480, 640))
    expected = arkit(weights_of(fit, anthro), anthro.head.expression_names).jaw_pose
    np.testing.assert_allclose(fit.parameters.head.jaw_pose[0].numpy(), expected, atol=1e-6)


def test_a_held_jaw_leaves_the_lips_apart(anthro):
    """What the jaw would have opened, the lips' own muscles open then."""
    weights = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.25}
    truth, points = posed(anthro, **weights)
    fitter = LandmarkFitter(anthro, CALIBRATION)
    free = fitter(points, (480, 640), CAMERA.focal_px)
    held = fitter(points, (480, 640), CAMERA.focal_px, jaw_limit=torch.tensor([0.05]))
    assert weights_of(free, anthro)["jawOpen"] > 0.15
    assert weights_of(held, anthro)["jawOpen"] <= 0.05 + 1e-6

    def opening(landmarks):
        return float((landmarks[0, 66] - landmarks[0, 62]).norm())

    true = opening(project(CAMERA, anthro(truth).landmarks))
    assert abs(opening(held.landmarks_px) - true) < 0.25 * true
    unheld = fitter(points, (480, 640), CAMERA.focal_px, jaw_limit=torch.tensor([1.0]))
    assert torch.equal(unheld.parameters.head.expression, free.parameters.head.expression)


def test_a_free_jaw_is_held_by_its_angle(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 2)
    fit = LandmarkFitter(flame, CALIBRATION)(points, (481, 641), jaw_limit=torch.full((16,), 0.1))
    assert fit.parameters.head.jaw_pose[:, 0].max() <= 0.1 * JAW_OPEN + 1e-6


def test_opposites_are_not_on_at_once(anthro):
    rng = np.random.default_rng(0)
    _, points = posed(anthro, jawOpen=0.3)
    noisy = points + torch.from_numpy(rng.normal(0, 4.0, (8, 478, 2))).float()
    fit = LandmarkFitter(anthro, CALIBRATION)(noisy, (480, 640))
    names = anthro.head.expression_names
    for pair in OPPOSITES:
        both = fit.parameters.head.expression[:, [names.index(name) for name in pair]]
        assert both.min(1).values.max() == 0


@pytest.mark.parametrize("yaw", [-90, -70, -45, 0, 30, 60, 80, 90])
def test_turned_heads_are_found_without_a_start(anthro, yaw):
    _, points = posed(anthro, pose=(0.1, np.radians(yaw), 0.0))
    fit = LandmarkFitter(anthro, CALIBRATION)(points, (480, 640))
    turn = axis_angle_to_matrix(fit.parameters.head.global_pose.double().numpy())
    found = np.degrees(np.arctan2(turn[0, 0, 2], turn[0, 2, 2]))
    assert abs((found - yaw + 180) % 360 - 180) < 4


def test_what_is_hidden_gets_the_prior(anthro):
    _, points = posed(anthro, jawOpen=0.8)
    confidence = torch.ones(1, 478)
    assert (
        weights_of(LandmarkFitter(anthro, CALIBRATION)(points, (480, 640)), anthro)["jawOpen"] > 0.6
    )
    mouth = CALIBRATION.mean[:, 1] > 0.45
    confidence[:, torch.from_numpy(mouth)] = 0.0
    fit = LandmarkFitter(anthro, CALIBRATION)(points, (480, 640), confidence=confidence)
    assert weights_of(fit, anthro)["jawOpen"] < 0.15


def test_shared_errors_do_not_become_features(anthro):
    """A shift of all of the mouth that the noise knows is no expression and no identity."""
    _, points = posed(anthro)
    mouth = CALIBRATION.mean[FIT_POINTS, 1] > 0.55
    noise = PointNoise.by_region()
    mode = np.zeros((1, len(FIT_POINTS), 2))
    mode[0, mouth] = [0.03, 0.0]
    shifted = points.clone()
    unit = float((points[0, 33] - points[0, 263]).norm())
    shifted[:, torch.from_numpy(FIT_POINTS[mouth]), 0] += 0.05 * unit
    naive = LandmarkFitter(anthro, CALIBRATION)
    aware = LandmarkFitter(anthro, CALIBRATION, noise=noise._replace(modes=mode))
    changes = []
    for fitter in (naive, aware):
        before, after = (fitter(seen, (480, 640)).parameters.head for seen in (points, shifted))
        changes.append(
            (after.shape - before.shape).norm() + (after.expression - before.expression).norm()
        )
    assert changes[1] < 0.5 * changes[0]


def test_closed_lips_show_nothing_that_holds_the_jaw(anthro):
    _, points = posed(anthro, mouthSmileLeft=0.6)
    fitter = LandmarkFitter(anthro, CALIBRATION)
    free = fitter(points, (480, 640))
    held = fitter(points, (480, 640), jaw_limit=torch.tensor([0.1]))
    assert free.lips_closed.all()
    torch.testing.assert_close(held.parameters.head.expression, free.parameters.head.expression)


def test_a_jaw_behind_closed_lips_has_its_own_bound(anthro):
    """The chin hangs low under lips that meet: the bound makes it a longer face."""
    truth, points = posed(anthro, jawOpen=0.6, mouthClose=0.6)
    chin = project(CAMERA, anthro(truth).landmarks)[0, 8]
    for most in (0.05, 1.0):
        config = FitConfig(closed_jaw_max=most)
        fit = LandmarkFitter(anthro, CALIBRATION, config)(points, (480, 640), CAMERA.focal_px)
        assert fit.lips_closed.all()
        weights = weights_of(fit, anthro)
        jaw = max(weights["jawOpen"], weights["mouthClose"])
        assert jaw <= most + 1e-6 if most < 0.1 else jaw > 0.1
        lips = anthro(fit.parameters.head).landmarks[0, [62, 66], 1].tolist()
        assert abs(lips[0] - lips[1]) < 0.2e-3
        assert (fit.landmarks_px[0, 8] - chin).norm() < 8
