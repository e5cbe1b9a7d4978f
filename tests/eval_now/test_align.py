"""The NoW alignment: closest points, derivatives, and the official evaluator's own figures."""

import json

import igl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from eval_now.data.dataset import NowDataset
from eval_now.geometry.align import align
from eval_now.geometry.closest_points.bvh import build_tree
from eval_now.geometry.closest_points.morton import morton_order
from eval_now.geometry.closest_points.queries import closest_triangles, normal_equations
from eval_now.geometry.crop import crop_mask, crop_sphere
from eval_now.geometry.rotation import rotation_jacobian
from eval_now.geometry.similarity import fit_similarity
from eval_now.predictions.files import UNIT_MM, find_prediction
from eval_now.scoring.score import SubjectTask, score_subject


def bumpy_mesh(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A closed-ish random surface: a grid with heights, degenerate triangles among the rest."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-60, 60, count), np.linspace(-60, 60, count))
    z = 20 * np.cos(x / 40) * np.cos(y / 30) + random.normal(0, 1, x.shape)
    vertices = np.stack([x, y, z], axis=2).reshape(-1, 3)
    corner = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    upper = np.stack([corner, corner + 1, corner + count], axis=1)
    lower = np.stack([corner + 1, corner + count + 1, corner + count], axis=1)
    flat = np.array([[0, 0, 5], [7, 7, 7]])
    return vertices, np.concatenate([upper, lower, flat])


@pytest.mark.parametrize("triangles_kept", [1, 2, 7, 3000])
def test_closest_points_are_those_of_libigl(triangles_kept):
    vertices, triangles = bumpy_mesh(0)
    triangles = triangles[:triangles_kept]
    points = np.random.default_rng(1).normal(0, 50, (3000, 3))
    distances, found = closest_triangles(build_tree(vertices, triangles), points)
    squared, index, _ = igl.point_mesh_squared_distance(
        points, vertices, triangles.astype(np.int64)
    )
    np.testing.assert_allclose(distances, np.sqrt(squared), atol=1e-9)
    alike = found == index
    np.testing.assert_allclose(distances[~alike], np.sqrt(squared)[~alike], atol=1e-9)
    assert alike.mean() > 0.5 or triangles_kept < 10


def test_any_warm_start_gives_the_same_distances():
    vertices, triangles = bumpy_mesh(2)
    tree = build_tree(vertices, triangles)
    points = np.random.default_rng(3).normal(0, 40, (2000, 3))
    cold, _ = closest_triangles(tree, points)
    misled = np.random.default_rng(4).integers(0, len(triangles), len(points))
    result = normal_equations(
        tree, points, misled, 1.0, np.eye(3), np.zeros((3, 3, 3)), np.zeros(3)
    )
    np.testing.assert_allclose(result.distances, cold, atol=1e-12)


def test_flat_triangles_count_as_their_longest_edge():
    vertices = np.array([[0.0, 0, 0], [4, 0, 0], [1, 0, 0], [9, 9, 9]])
    tree = build_tree(vertices, np.array([[0, 1, 2], [3, 3, 3]]))
    points = np.array([[2.0, 3, 0], [-3, 0, 4], [9, 9, 8], [7, 4, 0]])
    distances, _ = closest_triangles(tree, points)
    np.testing.assert_allclose(distances, [3, 5, 1, 5])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_rotation_and_its_derivative(vector):
    vector = np.array(vector)
    rotation, turns = rotation_jacobian(vector)
    np.testing.assert_allclose(rotation, Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)
    step = 1e-6
    for k, axis in enumerate(np.eye(3)):
        ahead = Rotation.from_rotvec(vector + step * axis).as_matrix()
        behind = Rotation.from_rotvec(vector - step * axis).as_matrix()
        np.testing.assert_allclose(turns[k], (ahead - behind) / (2 * step), atol=1e-8)


def test_gradient_is_that_of_the_sum_of_squares():
    vertices, triangles = bumpy_mesh(5)
    tree = build_tree(vertices, triangles)
    points = vertices[::3] + np.random.default_rng(6).normal(0, 2, (len(vertices[::3]), 3))
    at = np.array([1.03, 0.05, -0.04, 0.1, 2.0, -1.0, 3.0])

    def evaluate(variables: np.ndarray):
        rotation, turns = rotation_jacobian(variables[1:4])
        found = np.full(len(points), -1)
        return normal_equations(tree, points, found, variables[0], rotation, turns, variables[4:])

    result = evaluate(at)
    for k in range(7):
        step = np.zeros(7)
        step[k] = 1e-5
        ahead, behind = evaluate(at + step).distances, evaluate(at - step).distances
        slope = ((ahead**2).sum() - (behind**2).sum()) / 2e-5
        assert -2 * result.gradient[k] == pytest.approx(slope, rel=2e-4, abs=1e-2)


def test_the_cropped_part_is_the_protocols():
    """By hand: eyes 100 mm apart, nose 40 below and 30 before the bridge.

    centre = nose + 0.3 (bridge - nose), radius = 1.4 (|eyes| + |bridge - nose|) / 2, all inclusive.
    """
    landmarks = np.array(
        [[-50, 40, 0], [-16, 38, 1], [16, 42, -1], [50, 40, 0], [0, 0, 30], [-25, -30, 9],
         [25, -30, 9]], float,
    )  # fmt: skip
    ball = crop_sphere(landmarks)
    np.testing.assert_allclose(ball.centre, [0, 12, 21], atol=1e-12)
    assert ball.radius == pytest.approx(105)  # 1.4 (100 + 50) / 2
    points = np.array(
        [[0, 12, 21], [104.9, 12, 21], [105.1, 12, 21], [0, 116.9, 21], [0, -93.1, 21],
         [60, 72, 81], [61, 73, 82]], float,
    )  # fmt: skip
    inside = [True, True, False, True, False, True, False]
    assert crop_mask(points, landmarks).tolist() == inside


def test_landmark_fit_mirrors_when_that_fits_better():
    random = np.random.default_rng(7)
    source = random.normal(0, 30, (7, 3))
    for mirror in (1.0, -1.0):
        rotation = Rotation.from_rotvec([0.4, -1.2, 0.3]).as_matrix() @ np.diag([mirror, 1, 1])
        move = fit_similarity(source, 2.5 * source @ rotation.T + [1, 2, 3])
        assert move.scale == pytest.approx(2.5)
        np.testing.assert_allclose(move.rotation, rotation, atol=1e-12)
        np.testing.assert_allclose(move.translation, [1, 2, 3], atol=1e-9)


def test_alignment_recovers_a_known_movement():
    vertices, triangles = bumpy_mesh(8)
    random = np.random.default_rng(9)
    picks = random.integers(0, len(vertices), 7)
    rotation = Rotation.from_rotvec([0.2, 0.1, -0.3]).as_matrix()
    scan = 1000 * vertices / 1000 @ rotation.T + [10, -20, 30]
    landmarks = scan[picks] + random.normal(0, 1, (7, 3))
    order = morton_order(scan)
    result = align(scan[order], landmarks, vertices / 1000, triangles, vertices[picks] / 1000)
    total = result.refinement.compose(result.initial)
    assert result.distances.max() < 0.1
    assert total.scale == pytest.approx(1000, rel=1e-3)
    np.testing.assert_allclose(total.rotation, rotation, atol=1e-3)
    np.testing.assert_allclose(total.apply(vertices / 1000), scan, atol=0.3)
    assert result.landmark_distances.max() < 1e-6


def test_official_figures_are_reproduced(now_cases):
    """Path-following tolerances, a hundred times tighter than the benchmark needs."""
    reference = json.loads((now_cases / "results.json").read_text())["protocols"]
    dataset = NowDataset(now_cases / "dataset")
    images = {image.name: image for image in dataset.images("val")}
    for protocol, ours in (("nonmetrical", "non-metrical"), ("metrical", "metrical")):
        together = []
        stored = np.load(now_cases / f"sorted_{protocol}.npz")
        for name, figures in reference[protocol]["images"].items():
            files = find_prediction(now_cases / "predictions", images[name])
            assert not isinstance(files, str)
            unit = UNIT_MM.get(figures["unit"])
            task = SubjectTask(
                dataset.root, images[name].subject, [(images[name], files)], (ours,), unit
            )
            result = score_subject(task)
            assert not result.failures
            (one,) = result.scored
            limits = figures["tolerance"]["path_following"]
            assert one.score.count == figures["n_crop"]
            assert one.score.steps == figures["steps"]
            assert one.score.mean == pytest.approx(figures["mean"], abs=limits["mean"])
            assert one.score.median == pytest.approx(figures["median"], abs=limits["median"])
            assert one.score.std == pytest.approx(figures["std"], abs=1e-3)
            assert one.score.scale == pytest.approx(figures["total"]["s"], rel=1e-4)
            np.testing.assert_allclose(one.score.rotation, figures["total"]["R"], atol=1e-4)
            np.testing.assert_allclose(one.score.shift, figures["total"]["t"], atol=0.02)
            ordered = np.sort(one.distances)
            np.testing.assert_allclose(ordered, stored[images[name].stem], atol=0.02)
            together.append(one.distances)
        pooled = np.concatenate(together).astype(np.float64)
        expected = reference[protocol]["pooled"]
        assert len(pooled) == expected["n"]
        assert np.median(pooled) == pytest.approx(expected["median"], abs=1e-4)
        assert pooled.mean() == pytest.approx(expected["mean"], abs=1e-4)
        assert pooled.std() == pytest.approx(expected["std"], abs=1e-4)
