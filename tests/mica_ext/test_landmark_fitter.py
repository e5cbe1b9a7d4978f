"""The photo fit against heads whose parameters are known."""

import numpy as np
import pytest
import torch

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.fitting.landmark_fitter import (
    FitOptions,
    PhotoFitter,
    rotation_of,
    rotation_vector,
)
from mica_ext.models.projection import Camera, project

IDENTITIES, EXPRESSIONS = 6, 8


def face_points():
    """Plain 3D places [m] of the 68 iBUG landmarks on a face some 14 cm wide."""
    outline = np.linspace(-np.pi / 2, np.pi / 2, 17)
    contour = np.stack([0.068 * np.sin(outline), -0.085 * np.cos(outline), 0 * outline], 1)

    def row(x0, x1, y, n, bow=0.0):
        x = np.linspace(x0, x1, n)
        return np.stack([x, y + bow * np.sin(np.linspace(0, np.pi, n)), 0 * x], 1)

    def ring(cx, cy, rx, ry, n, start=np.pi):
        a = start - np.linspace(0, 2 * np.pi, n, endpoint=False)
        return np.stack([cx + rx * np.cos(a), cy + ry * np.sin(a), 0 * a], 1)

    bridge = np.stack([np.zeros(4), np.linspace(0.0, -0.03, 4), np.zeros(4)], 1)
    parts = [contour, row(-0.05, -0.012, 0.02, 5, 0.008), row(0.012, 0.05, 0.02, 5, 0.008), bridge]
    parts += [row(-0.015, 0.015, -0.04, 5), ring(-0.03, 0, 0.014, 0.005, 6)]
    parts += [ring(0.03, 0, 0.014, 0.005, 6), ring(0, -0.06, 0.026, 0.01, 12)]
    parts += [ring(0, -0.06, 0.02, 0.003, 8)]
    points = np.concatenate(parts)
    x, y = points[:, 0], points[:, 1]
    points[:, 2] = 0.10 - 9.0 * x**2 - 3.0 * (y + 0.02) ** 2
    points[27:31, 2] += np.linspace(0.003, 0.022, 4)
    points[31:36, 2] += 0.008
    points[:17, 2] -= 0.02
    return points


@pytest.fixture(scope="module")
def head():
    """One triangle per landmark, its first corner on the landmark; smooth made-up modes."""
    rng = np.random.default_rng(0)
    spots = face_points()
    corners = spots[:, None] + [[0, 0, 0], [0.002, 0, 0], [0, 0.002, 0]]
    template = corners.reshape(-1, 3)

    def modes(count, size, region=slice(None)):
        """Smooth fields; an expression moves one part of the face."""
        waves = rng.normal(0, 25, (count, 3, 3))
        phases = rng.uniform(0, 2 * np.pi, (count, 3))
        field = np.sin(np.einsum("kxc,vc->vxk", waves, template) + phases.T)
        keep = np.zeros(68)
        keep[region] = 1
        return size * field * keep.repeat(3)[:, None, None]

    mouth, eyes, brows = slice(48, 68), slice(36, 48), slice(17, 27)
    parts = [modes(4, 0.006, mouth), modes(2, 0.004, eyes), modes(2, 0.005, brows)]
    expression = np.concatenate(parts, -1)
    jaw = np.zeros(68)
    jaw[[4, 5, 11, 12]] = 0.7
    jaw[[*range(6, 11), *range(55, 60), *range(65, 68)]] = 1.0
    skinning = np.zeros((204, 5))
    skinning[:, 2] = jaw.repeat(3)
    skinning[:, 1] = 1 - skinning[:, 2]
    regressor = np.zeros((5, 204))
    regressor[0, [0, 48]] = 0.5  # root and neck between the ears, near the back
    regressor[1, [0, 48]] = 0.5
    regressor[2, [3, 39]] = 0.5
    regressor[3, 126] = regressor[4, 108] = 1
    inner = np.arange(17, 68, dtype=np.int32)
    outer = np.arange(17, dtype=np.int32)
    first = np.array([1, 0, 0], np.float32)

    def f32(a):
        return np.ascontiguousarray(a, np.float32)

    return HeadModel(
        name="toy", version="1", licence="test", template=f32(template),
        triangles=np.arange(204, dtype=np.int32).reshape(68, 3),
        shape_basis=f32(modes(IDENTITIES, 0.0015)), expression_basis=f32(expression),
        pose_basis=f32(rng.normal(0, 0.002, (204, 3, 36))),
        joint_regressor=f32(regressor), skinning_weights=f32(skinning),
        landmark_triangles=inner, landmark_barycentric=f32(np.tile(first, (51, 1))),
        contour_triangles=np.tile(outer, (79, 1)),
        contour_barycentric=f32(np.tile(first, (79, 17, 1))),
        static_contour_triangles=outer, static_contour_barycentric=f32(np.tile(first, (17, 1))),
        expression_convention="pca",
        expression_names=tuple(f"move{i}" for i in range(EXPRESSIONS)),
        expression_bounds=(0.0, 1.0),
    )  # fmt: skip


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
    loose = FitOptions(noise=0.001, contour_noise=0.001, outlier=1e3, steps=25)
    fit = PhotoFitter(flame, loose)(points, (481, 641), torch.full((16,), 1500.0))
    assert fit.residual.max() < 2e-3
    assert (fit.parameters.head.global_pose - truth.global_pose).abs().max() < 0.02
    assert (fit.parameters.head.jaw_pose - truth.jaw_pose)[:, 0].abs().max() < 0.03


def test_the_default_fit_follows_the_points_within_its_bounds(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 1)
    fit = PhotoFitter(flame)(points, (480, 640))
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
    pose = torch.from_numpy(rotation_vector(rotation_of(-away.double().numpy()))).float()
    truth = HeadParameters(
        torch.zeros(1, IDENTITIES), torch.zeros(1, EXPRESSIONS), pose, zero, zero, zero, zero
    )
    centre = torch.tensor([[(size[1] - 1) / 2, (size[0] - 1) / 2]])
    points = project(Camera(torch.tensor([focal]), centre, place), flame(truth).landmarks)
    width = float(points[0, :, 0].max() - points[0, :, 0].min())
    assert 200 < width < 320
    fit = PhotoFitter(flame)(points, size)
    assert float(fit.residual[0]) < 0.02
    turned = (fit.parameters.head.global_pose - pose).norm()
    assert float(turned) < np.radians(4)
    with_wide_lens = PhotoFitter(flame, FitOptions(shortest_focal=0.0))(points, size)
    assert (with_wide_lens.parameters.head.global_pose - pose).norm() > np.radians(8)


def test_points_that_are_no_face_are_refused(head):
    points = torch.full((1, 68, 2), float("nan"))
    with pytest.raises(UserError, match="no head fits"):
        PhotoFitter(HeadDecoder(head))(points, (480, 640))


def test_reported_landmarks_are_those_of_the_exact_head_under_the_reported_camera(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 2, batch=3)
    fit = PhotoFitter(flame)(points, (480, 640))
    again = project(fit.parameters.camera, flame(fit.parameters.head).landmarks)
    torch.testing.assert_close(again, fit.landmarks_px, atol=1e-2, rtol=0)


def test_a_batch_gives_what_its_items_give_alone(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 3, batch=4)
    together = PhotoFitter(flame)(points, (480, 640)).landmarks_px
    for one, expected in zip(points, together, strict=True):
        alone = PhotoFitter(flame)(one[None], (480, 640)).landmarks_px[0]
        torch.testing.assert_close(alone, expected, atol=1e-2, rtol=0)


def test_wild_points_move_the_others_little(head):
    flame = HeadDecoder(head)
    _, points = seen(flame, 4, spread=0.3)
    spoiled = points.clone()
    spoiled[:, [20, 44, 57]] += 60.0
    fit = PhotoFitter(flame)(spoiled, (480, 640))
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
    fit = PhotoFitter(flame)(points, (401, 401))
    assert fit.parameters.head.expression.min() < -0.2
    assert fit.residual.mean() < 0.02


def test_rotation_vector_inverts_the_rotation():
    from flame_assets.model.lbs import rotation_matrices

    vectors = np.array([[0.0, 0, 0], [0.3, -1.2, 0.4], [0, 2.9, 0]])
    matrices = rotation_matrices(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(rotation_vector(matrices), vectors, atol=1e-7)
    np.testing.assert_allclose(rotation_of(vectors), matrices, atol=1e-7)


def test_lips_that_all_but_touch_are_taken_for_closed(head):
    from mica_ext.fitting.landmark_fitter import LIPS, _shut

    points = np.random.default_rng(0).uniform(0, 100, (1, 68, 2))
    for (upper, lower), gap in zip(LIPS, (1.0, 2.0, 20.0), strict=True):
        points[0, lower] = points[0, upper] + [0, gap]
    shut = _shut(points, np.array([100.0]))
    gaps = [np.linalg.norm(shut[0, a] - shut[0, b]) for a, b in LIPS]
    assert gaps[0] < 0.2
    assert gaps[1] < 1.0
    assert gaps[2] == pytest.approx(20.0)
    np.testing.assert_allclose(shut[0, 61] + shut[0, 67], points[0, 61] + points[0, 67])
    untouched = [i for i in range(68) if i not in np.ravel(LIPS)]
    np.testing.assert_array_equal(shut[:, untouched], points[:, untouched])


def test_an_arkit_heads_prior_knows_pairs_and_leaves_other_heads_alone(head):
    from flame_assets.anthro import EXPRESSIONS
    from flame_assets.store import load_head
    from mica_ext.fitting.expression_prior import movement_precision

    floors = {"scale": 2.0, "weight_floor": 0.06, "jaw_floor": (0.01, 0.03, 0.02)}
    assert movement_precision(head, **floors) is None
    precision = movement_precision(load_head("anthro"), **floors)
    spread = np.linalg.inv(precision)
    left, right = (3 + EXPRESSIONS.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    roll = 3 + EXPRESSIONS.index("mouthRollUpper")
    assert np.linalg.eigvalsh(precision).min() > 0
    assert spread[left, right] > 0.8 * spread[left, left]
    assert spread[left, left] > 4 * spread[roll, roll]
    assert spread[0, 3 + EXPRESSIONS.index("jawOpen")] > 0.01  # the hinge goes with jawOpen
