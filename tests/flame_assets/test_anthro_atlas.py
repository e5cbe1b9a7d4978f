"""The atlas of Anthro: no triangle turned over or hidden, bounded stretch, mirrored halves."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from eval_now.geometry.raster import rasterize
from flame_assets.anthro.atlas import islands
from flame_assets.anthro.atlas.unfold import unfold
from flame_assets.store import load_head


@pytest.fixture(scope="module")
def head():
    return load_head("anthro")


def stretch(points, places):
    """Singular values [F,2] of the maps from triangles in space [F,3,3] to the plane [F,3,2]."""
    e1, e2 = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    length = np.linalg.norm(e1, axis=1)
    x = e1 / length[:, None]
    along = (e2 * x).sum(1)
    across = np.linalg.norm(e2 - along[:, None] * x, axis=1)
    flat = np.stack([np.stack([length, along], 1), np.stack([0 * length, across], 1)], 1)
    edges = np.stack([places[:, 1] - places[:, 0], places[:, 2] - places[:, 0]], 2)
    return np.linalg.svd(edges @ np.linalg.inv(flat), compute_uv=False)


def triangles_of(head, name):
    inside = np.zeros(head.vertices_count, bool)
    inside[head.regions[name]] = True
    return inside[head.triangles].all(axis=1)


def in_nostrils(head):
    """Triangles of the nostrils, whose insides no photo shows."""
    middle = head.template[head.triangles].mean(axis=1) * [1000, 1000, 1000]
    middle[:, 0] = np.abs(middle[:, 0])
    return np.linalg.norm(middle - [9.0, -42.0, 102.0], axis=1) < 7.5


def test_every_triangle_lies_the_right_way_round_inside_the_square(head):
    assert head.uv.min() >= 0
    assert head.uv.max() <= 1
    assert (islands.signed_areas(head.uv[head.uv_triangles]) > 0).all()


def test_no_two_triangles_share_a_texel(head):
    """Drawn in opposite order, every pixel of the atlas still shows the same triangle."""
    size, count = 2048, len(head.triangles)
    corners = (head.uv[head.uv_triangles].astype(float) * size - 0.5).reshape(-1, 2)
    separate = np.arange(3 * count, dtype=np.int32).reshape(count, 3)
    order = np.repeat(np.arange(count), 3) / count
    first, last = (
        rasterize(np.c_[corners, depth], separate, size, size, perspective=False).triangles
        for depth in (order, -order)
    )
    assert (first >= 0).mean() > 0.65  # little of the atlas is wasted
    np.testing.assert_array_equal(first, last)


@pytest.mark.parametrize(
    ("region", "worst", "typical"), [("face", 2.3, 1.25), ("nose", 2.3, 1.4), ("lips", 1.6, 1.2)]
)
def test_the_face_is_stretched_little(head, region, worst, typical):
    rows = triangles_of(head, region) & ~in_nostrils(head)
    points = head.template[head.triangles[rows]].astype(float) * 1000
    values = stretch(points, head.uv[head.uv_triangles[rows]].astype(float) * 1024)
    ratio = values[:, 0] / values[:, 1]
    assert ratio.max() < worst
    assert np.median(ratio) < typical
    assert np.quantile(values[:, 1], 0.05) > 1.5  # texels per mm, in the worse direction


def test_the_halves_of_the_face_are_mirror_images(head):
    rows = triangles_of(head, "skin")
    uv = head.uv[np.unique(head.uv_triangles[rows])].astype(float)
    assert KDTree(uv).query(uv * [-1, 1] + [1, 0])[0].max() < 3e-5


def test_the_seam_is_at_the_back(head):
    """Vertices that lie twice in the atlas: nape and crown, the lips' line, the hidden islands."""
    pairs = np.unique(np.stack([head.triangles.ravel(), head.uv_triangles.ravel()], axis=1), axis=0)
    ids, counts = np.unique(pairs[:, 0], return_counts=True)
    split = ids[counts > 1]
    lips = head.template[head.regions["lips"]]
    on_face = np.intersect1d(split, head.regions["face"])
    assert np.isin(on_face, head.regions["lips"]).all()
    on_skin = np.setdiff1d(np.intersect1d(split, head.regions["skin"]), head.regions["lips"])
    assert head.template[on_skin, 2].max() < lips[:, 2].min() - 0.05
    assert np.abs(head.template[on_skin, 0]).max() < 1e-6


def test_a_bent_sheet_unfolds_to_its_true_size():
    """A quarter of a cylinder is developable: the unfolding is an isometry."""
    t, y = np.meshgrid(np.linspace(0, np.pi / 2, 9), np.linspace(0, 3, 9))
    grid = np.arange(81).reshape(9, 9)
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    points = np.stack([2 * np.sin(t), y, 2 * np.cos(t)], 2).reshape(-1, 3)
    start = np.stack([0.4 * t**2 + 0.1 * t, 3 * y], 2).reshape(-1, 2)
    places = unfold(
        start,
        points,
        triangles,
        density=np.ones(len(triangles)),
        on_axis=start[:, 0] == 0.0,
        guards=np.zeros((0, 3), int),
        rounds=40,
    )
    np.testing.assert_allclose(stretch(points[triangles], places[triangles]), 1.0, atol=2e-3)
    assert (places[start[:, 0] == 0.0, 0] == 0).all()


def test_a_balls_island_shows_all_of_it_once():
    ball = trimesh.creation.uv_sphere(count=[16, 16])
    island = islands.ball(ball.vertices, ball.faces, 0.8)
    assert (islands.signed_areas(island.uv[island.triangles]) > 0).all()
    assert island.uv.min() >= 0
    assert island.uv.max() <= 1
    front = np.argmax(ball.vertices[:, 2])
    np.testing.assert_allclose(island.uv[front], 0.5, atol=0.05)
