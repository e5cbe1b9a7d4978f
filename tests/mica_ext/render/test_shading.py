"""Views and shading against closed forms: planes, spheres, silhouettes, light."""

import numpy as np
import pytest
import trimesh

from eval_now.geometry.raster import rasterize
from mica_ext.render.clay import SOFT_LIGHT
from mica_ext.render.overlay import backdrop
from mica_ext.render.shading import Lighting, render
from mica_ext.render.video.frames import MeshFrames
from mica_ext.render.views import View, portrait_view, screen_points

QUAD = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def pinhole(focal_px=400.0, centre=(99.5, 79.5), z=-0.5):
    return View(focal_px, np.array(centre), np.array([0.0, 0.0, z]), np.eye(3))


def sphere(radius=0.06, subdivisions=5):
    ball = trimesh.creation.icosphere(subdivisions, radius=radius)
    return ball.vertices.astype(np.float32), ball.faces.astype(np.int32)


def pixel_rays(view, height, width):
    """Direction of each pixel's ray with unit depth: x right, y up, z = -1."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    dx = (x - view.centre_px[0]) / view.focal_px
    dy = -(y - view.centre_px[1]) / view.focal_px
    return np.stack([dx, dy, -np.ones_like(dx)], axis=2)


def test_a_slanted_plane_has_the_depth_of_its_equation():
    view = pinhole()
    x, y = np.array([-1, 1, 1, -1]) * 0.3, np.array([-1, -1, 1, 1]) * 0.3
    corners = np.stack([x, y, 0.4 * x - 0.25 * y], axis=1)
    raster = rasterize(screen_points(view, corners), QUAD, 160, 200)
    # camera point t * ray lies on z = 0.4 x - 0.25 y - 0.5
    rays = pixel_rays(view, 160, 200)
    expected = 0.5 / (1 + 0.4 * rays[..., 0] - 0.25 * rays[..., 1])
    assert (raster.triangles >= 0).all()
    np.testing.assert_allclose(raster.depth, expected, rtol=1e-5)


def test_barycentric_weights_rebuild_the_surface_point_under_perspective():
    view = pinhole()
    corners = np.array([[-0.1, -0.08, 0.2], [0.12, -0.05, -0.3], [0.0, 0.1, 0.05]])
    raster = rasterize(screen_points(view, corners), QUAD[:1], 160, 200)
    seen = raster.triangles >= 0
    assert seen.sum() > 1000
    points = raster.barycentric[seen] @ corners + view.translation
    rays = pixel_rays(view, 160, 200)[seen] * raster.depth[seen][:, None]
    np.testing.assert_allclose(points, rays, atol=2e-6)
    np.testing.assert_allclose(raster.barycentric[seen].sum(axis=1), 1.0, atol=1e-6)


def test_a_sphere_has_its_analytic_depth_and_outline():
    view, radius = pinhole(), 0.05
    vertices, triangles = sphere(radius)
    raster = rasterize(screen_points(view, vertices), triangles, 160, 200)
    rays = pixel_rays(view, 160, 200)
    # |t * ray - c| = radius with c = (0, 0, -0.5)
    a, b, c = (rays**2).sum(axis=2), 0.5, 0.25 - radius**2
    under = b * b - a * c
    outline = under > 0
    seen = raster.triangles >= 0
    assert (seen ^ outline).sum() < 0.01 * outline.sum()
    both = seen & outline & (under > 0.2 * under.max())
    expected = (b - np.sqrt(under[both])) / a[both]
    np.testing.assert_allclose(raster.depth[both], expected, atol=3e-5)


def test_the_silhouette_is_blended_with_the_background():
    vertices, triangles = sphere()
    view = pinhole(centre=(63.5, 63.5))
    white = np.full((128, 128, 3), 255, np.uint8)
    black = np.zeros((128, 128, 3), np.uint8)
    over_white = render(vertices, triangles, view, white, samples=4).picture.astype(float)
    over_black = render(vertices, triangles, view, black, samples=4).picture.astype(float)
    cover = 1 - (over_white - over_black)[:, :, 0] / 255  # matte from two backgrounds
    radius_px = 400 * 0.06 / np.sqrt(0.25 - 0.06**2)
    assert cover.sum() == pytest.approx(np.pi * radius_px**2, rel=0.01)
    assert ((cover > 0.1) & (cover < 0.9)).sum() > 100
    assert cover[63, 63] == pytest.approx(1, abs=0.01)


def test_light_falls_from_where_it_stands_and_white_paper_is_white():
    vertices, triangles = sphere()
    view = pinhole(centre=(63.5, 63.5))
    grey = np.full((128, 128, 3), 90, np.uint8)
    dark = (0.0, 0.0, 0.0)
    lamp = Lighting(
        directions=((0.0, 0.0, 1.0),),
        intensities=((1.0, 1.0, 1.0),),
        sky=dark,
        ground=dark,
        wrap=dark,
        specular=0.0,
    )
    paper = np.ones_like(vertices)
    picture = render(vertices, triangles, view, grey, colours=paper, lighting=lamp).picture
    assert picture[62:66, 62:66].min() >= 254
    # Lambert: linear light at 30 px from the middle is the cosine of the normal there
    rays = pixel_rays(view, 128, 128)[64, 63 + 30]
    a, b, c = (rays**2).sum(), 0.5, 0.25 - 0.06**2
    normal_z = ((b - np.sqrt(b * b - a * c)) / a * rays[2] + 0.5) / 0.06
    linear = ((picture[64, 63 + 30] / 255 + 0.055) / 1.055) ** 2.4
    np.testing.assert_allclose(linear, normal_z, atol=0.01)
    from_left = Lighting(**{**vars(lamp), "directions": ((-1.0, 0.0, 0.3),)})
    picture = render(vertices, triangles, view, grey, colours=paper, lighting=from_left).picture
    assert picture[64, 40].min() > picture[64, 88].max() + 50


def test_opacity_mixes_mesh_and_background_and_leaves_the_rest_alone():
    vertices, triangles = sphere()
    view = pinhole(centre=(63.5, 63.5))
    wall = backdrop(128, 128)
    solid = render(vertices, triangles, view, wall).picture.astype(float)
    half = render(vertices, triangles, view, wall, opacity=0.5).picture.astype(float)
    assert np.abs(half - (solid + wall) / 2).max() <= 1.0
    np.testing.assert_array_equal(solid[0], wall[0])


def test_the_portrait_view_keeps_the_whole_head_in_the_picture():
    vertices, _ = sphere(0.12)
    vertices = vertices * np.array([0.8, 1.2, 1.0], np.float32)
    for yaw in (0.0, 0.7, np.pi / 2):
        screen = screen_points(portrait_view(vertices, yaw, 300, 200), vertices)
        assert screen[:, 0].min() > 0
        assert screen[:, 0].max() < 199
        assert screen[:, 1].min() > 0
        assert screen[:, 1].max() < 299


def test_frames_of_a_video_look_like_pictures_shaded_per_pixel():
    """Lit per vertex, its sides turned away left out, over a background that shows through."""
    vertices, triangles = sphere()
    view, background = pinhole(), np.full((160, 200, 3), (200, 90, 40), np.uint8)
    colours = np.full(vertices.shape, 0.8, np.float32)
    opacity = (vertices[:, 0] > 0).astype(np.float32) * 0.7
    pictured = render(
        vertices, triangles, view, background, colours=colours, lighting=SOFT_LIGHT, opacity=opacity
    ).picture
    for closed in (True, False):
        frames = MeshFrames(triangles, colours, SOFT_LIGHT, opacity, closed=closed)
        drawn = frames(vertices, view, background)
        difference = np.abs(drawn.astype(int) - pictured)
        assert difference.mean() < 0.3
        assert difference.max() < 25  # of 255, at the edge
    behind = view._replace(translation=np.array([0.0, 0.0, 0.5]))
    np.testing.assert_array_equal(frames(vertices, behind, background), background)
