"""Rasteriser and vertex normals against closed forms: planes, occlusion, coverage, spheres."""

import numpy as np
import pytest
import trimesh

from eval_now.geometry.normals import vertex_normals
from eval_now.geometry.raster import rasterize

QUAD = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def test_orthographic_depth_is_linear_on_the_screen():
    screen = np.array([[0.0, 0.0, 1.0], [50.0, 0.0, 2.0], [0.0, 40.0, 5.0]])
    raster = rasterize(screen, QUAD[:1], 41, 51, perspective=False)
    rows, columns = np.nonzero(raster.triangles >= 0)
    expected = 1.0 + columns / 50.0 + 4.0 * rows / 40.0
    np.testing.assert_allclose(raster.depth[rows, columns], expected, rtol=1e-5)


def test_the_nearer_of_two_triangles_is_seen_whatever_their_order():
    screen = np.array([[0, 0], [60, 0], [60, 60], [0, 60]], float)
    near = np.column_stack([screen, np.full(4, 1.0)])
    far = np.column_stack([screen, np.full(4, 2.0)])
    for first, second, nearest in ((near, far, {0, 1}), (far, near, {2, 3})):
        points = np.concatenate([first, second])
        triangles = np.concatenate([QUAD, QUAD + 4])
        raster = rasterize(points, triangles, 61, 61)
        assert set(np.unique(raster.triangles)) <= nearest
        np.testing.assert_allclose(raster.depth, 1.0)


def test_intersecting_planes_swap_where_they_cross():
    left_near = np.array([[0, 0, 1], [80, 0, 3], [80, 60, 3], [0, 60, 1]], float)
    right_near = np.array([[0, 0, 3], [80, 0, 1], [80, 60, 1], [0, 60, 3]], float)
    points = np.concatenate([left_near, right_near])
    triangles = np.concatenate([QUAD, QUAD + 4])
    raster = rasterize(points, triangles, 61, 81, perspective=False)
    assert (raster.triangles[:, :40] <= 1).all()
    assert (raster.triangles[:, 41:] >= 2).all()


def test_a_tiled_surface_has_no_cracks():
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(30), np.arange(30)), axis=2).reshape(-1, 2) * 7.0
    inner = ((grid > 0) & (grid < 29 * 7.0)).all(axis=1)
    grid[inner] += generator.uniform(-2.5, 2.5, (inner.sum(), 2))
    cell = np.arange(29 * 30).reshape(29, 30)[:, :29].ravel()
    triangles = np.concatenate(
        [np.stack([cell, cell + 1, cell + 31], 1), np.stack([cell, cell + 31, cell + 30], 1)]
    ).astype(np.int32)
    screen = np.column_stack([grid, np.ones(len(grid))])
    assert (rasterize(screen, triangles, 203, 203).triangles >= 0).all()


def test_coverage_equals_the_area_of_the_polygon():
    corners = np.array([[20.3, 15.1], [170.8, 40.2], [80.5, 190.6]])
    area = 0.5 * abs(np.linalg.det(corners[1:] - corners[0]))
    raster = rasterize(np.column_stack([corners, np.ones(3)]), QUAD[:1], 200, 200)
    assert (raster.triangles >= 0).sum() == pytest.approx(area, rel=0.01)


def test_what_lies_behind_the_camera_or_is_not_finite_is_not_drawn():
    triangle = np.array([[0, 0, 1], [60, 0, 1], [0, 60, -0.5]], float)
    assert (rasterize(triangle, QUAD[:1], 61, 61).triangles == -1).all()
    triangle[:, 2] = 1
    for bad in (np.nan, np.inf, 1e300):
        triangle[1, 0] = bad
        assert (rasterize(triangle, QUAD[:1], 61, 61).triangles[30:, 40:] == -1).all()


def test_normals_of_a_sphere_point_outwards():
    ball = trimesh.creation.icosphere(4)
    normals = vertex_normals(ball.vertices, ball.faces)
    assert np.einsum("vi,vi->v", normals, ball.vertices).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)


def test_normals_are_weighted_by_area_and_always_defined():
    """Two triangles of area 1/2 and 2 share an edge; vertex 4 belongs to none."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, -4], [9, 9, 9]], float)
    triangles = np.array([[0, 1, 2], [0, 3, 1]])
    normals = vertex_normals(vertices, triangles)
    np.testing.assert_allclose(normals[0], np.array([0, -4, 1]) / np.sqrt(17))
    np.testing.assert_allclose(normals[[2, 4]], [[0, 0, 1], [0, 0, 1]])
    flat = vertex_normals(np.zeros((3, 3)), triangles[:1])
    np.testing.assert_array_equal(flat, [[0, 0, 1]] * 3)
