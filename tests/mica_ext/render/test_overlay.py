"""Clay, wireframe, points and the three views against closed forms."""

import dataclasses

import numpy as np
import trimesh
from helpers.mica_toy import toy_head

from mica_ext.render.clay import CLAY_COLOUR, SOFT_LIGHT, cavity_factors, clay_colours
from mica_ext.render.overlay import backdrop, draw_points, three_views
from mica_ext.render.shading import from_linear, render, to_linear
from mica_ext.render.views import View
from mica_ext.render.wireframe import draw_wireframe

HEAD = toy_head()
VIEW = View(400.0, np.array([63.5, 63.5]), np.array([0.0, 0.0, -0.5]), np.eye(3))
GREY = np.full((128, 128, 3), 90, np.uint8)


def ball(radius=0.06, subdivisions=5):
    mesh = trimesh.creation.icosphere(subdivisions, radius=radius)
    return mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32)


def test_linear_light_and_srgb_are_inverse():
    values = np.linspace(0, 1, 256)[:, None].repeat(3, axis=1)
    np.testing.assert_allclose(from_linear(to_linear(values)), values, atol=2e-6)


def test_a_clay_sphere_has_the_light_of_its_normal():
    """Wrapped diffuse of three lamps and hemispheric light, by the formula of `Lighting`."""
    vertices, triangles = ball()
    light = dataclasses.replace(SOFT_LIGHT, specular=0.0)
    colours = np.tile(np.float32(CLAY_COLOUR), (len(vertices), 1))
    picture = render(vertices, triangles, VIEW, GREY, colours=colours, lighting=light).picture
    for column, row in ((63, 63), (80, 70), (45, 50), (63, 95)):
        ray = np.array([(column - 63.5) / 400, -(row - 63.5) / 400, -1.0])
        a, c = ray @ ray, 0.25 - 0.06**2
        normal = (ray * (0.5 - np.sqrt(0.25 - a * c)) / a + [0, 0, 0.5]) / 0.06
        up = 0.5 + 0.5 * normal[1]
        expected = np.array(light.ground) * (1 - up) + np.array(light.sky) * up
        for direction, intensity in zip(light.directions, light.intensities, strict=True):
            cosine = normal @ (direction / np.linalg.norm(direction))
            wrap = np.array(light.wrap)
            expected = expected + intensity * np.maximum((cosine + wrap) / (1 + wrap), 0)
        expected = from_linear(expected * to_linear(np.array(CLAY_COLOUR))) * 255
        np.testing.assert_allclose(picture[row, column], expected, atol=2)


def test_creases_are_darker_than_ridges_and_planes_stay_as_they_are():
    x, z = np.meshgrid(np.linspace(-0.05, 0.05, 41), np.linspace(-0.05, 0.05, 41))
    grid = np.arange(41 * 41).reshape(41, 41)
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    triangles = np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)]).astype(np.int32)

    def factors(height):
        return cavity_factors(np.stack([x, height, z], 2).reshape(-1, 3), triangles).reshape(41, 41)

    flat = factors(0 * x)[3:-3, 3:-3]
    np.testing.assert_allclose(flat, 1.0, atol=1e-6)
    furrow = factors(0.004 * np.cos(2 * np.pi * x / 0.05))[20]  # ridges at 0, valleys at 25 mm
    assert furrow[10] < 0.97
    assert furrow[20] > 1.02


def test_eyes_and_lips_are_set_off_where_a_head_marks_them():
    front = np.flatnonzero(HEAD.template[:, 2] > 0.07).astype(np.int32)
    marked = dataclasses.replace(HEAD, regions={"left_eyeball": front[:20], "lips": front[20:40]})
    plain, set_off = clay_colours(HEAD, HEAD.template), clay_colours(marked, HEAD.template)
    assert (set_off[front[20:40]] < plain[front[20:40]]).all()
    iris, white = np.argsort(HEAD.colours[front[:20]].mean(axis=1))[[0, -1]]
    assert set_off[front[white]].mean() > set_off[front[iris]].mean()
    elsewhere = np.setdiff1d(
        np.arange(HEAD.vertices_count),
        HEAD.triangles[np.isin(HEAD.triangles, front[:40]).any(axis=1)],
    )
    np.testing.assert_allclose(set_off[elsewhere], plain[elsewhere])


def test_the_wire_shows_the_edges_in_front_and_no_others():
    corners = np.float32([[-0.05, -0.05, 0], [0.05, -0.05, 0], [0.05, 0.05, 0], [-0.05, 0.05, 0]])
    quad = np.int32([[0, 1, 2], [0, 2, 3]])
    behind = np.float32([[-0.03, 0, -0.05], [0.03, 0, -0.05], [0, 0.03, -0.05]])
    vertices = np.concatenate([corners, behind])
    triangles = np.concatenate([quad, [[4, 5, 6]]]).astype(np.int32)
    drawn = draw_wireframe(vertices, triangles, VIEW, GREY, np.ones(7))
    changed = np.argwhere((drawn != GREY).any(axis=2)).astype(float)
    x, y = (changed[:, 1] - 63.5) / 40, (63.5 - changed[:, 0]) / 40
    outline = np.abs(np.maximum(np.abs(x), np.abs(y)) - 1)
    diagonal = np.abs(x - y) / np.sqrt(2)
    assert np.minimum(outline, diagonal).max() < 2 / 40
    assert len(changed) > 4 * 75
    nothing = draw_wireframe(vertices, triangles[:, ::-1], VIEW, GREY, np.ones(7))
    np.testing.assert_array_equal(nothing, GREY)


def test_points_are_drawn_where_they_are_and_far_ones_do_no_harm():
    marked = draw_points(GREY, np.array([[30.25, 40.5], [1e7, -1e7]]))
    changed = np.argwhere((marked != GREY).any(axis=2))
    np.testing.assert_allclose(changed.mean(axis=0), [40.5, 30.25], atol=0.3)
    assert 9 < len(changed) < 80


def test_three_views_turn_the_nose_to_the_right():
    nose = HEAD.template.copy()
    tip = np.argmax(nose[:, 2])
    nose[tip, 2] += 0.05
    views = three_views(HEAD, nose, size=150)
    assert views.shape == (150, 3 * 129, 3)
    profile = (views[:, -129:] != backdrop(150, 129)).any(axis=2)
    columns = np.nonzero(profile.any(axis=0))[0]
    height_of = profile.sum(axis=0)
    assert height_of[columns[-6:]].max() < 0.25 * height_of.max()  # the tip is at the right
    assert height_of[columns[:6]].max() > 0.3 * height_of.max()
