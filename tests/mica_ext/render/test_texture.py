"""Photos unwrapped into textures: known pictures come back, what is hidden is filled smoothly."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
import trimesh
from helpers.mica_toy import face_points, toy_head

from eval_now.geometry.normals import vertex_normals
from flame_assets.anthro.atlas import islands
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.models.types import Camera
from mica_ext.render.shading import LUMA, from_linear, render, to_linear
from mica_ext.render.texture.atlas import make_atlas
from mica_ext.render.texture.bake import bake_texture
from mica_ext.render.texture.face_areas import face_areas
from mica_ext.render.texture.fill import fill_smoothly
from mica_ext.render.texture.lighting import PhotoLight, fit_shading, harmonics
from mica_ext.render.texture.painted import paint
from mica_ext.render.texture.photo_samples import sample_photo
from mica_ext.render.texture.skin import fit_skin
from mica_ext.render.textured import TexturedMesh, render_textured
from mica_ext.render.views import View, screen_points

TOY = toy_head()


def camera_of(view):
    return Camera(
        torch.tensor([view.focal_px], dtype=torch.float32),
        torch.from_numpy(view.centre_px)[None].float(),
        torch.from_numpy(view.translation)[None].float(),
    )


def bare_head(template, triangles, uv, uv_triangles, landmarks):
    """A head without modes: its surface, texture coordinates and 68 landmark vertices."""
    count = len(template)
    weights = np.zeros((count, 5), np.float32)
    weights[:, 1] = 1
    at = np.array([np.flatnonzero((triangles == vertex).any(axis=1))[0] for vertex in landmarks])
    corner = np.array([triangles[row] == vertex for row, vertex in zip(at, landmarks, strict=True)])
    rows, place = at.astype(np.int32), corner.astype(np.float32)
    return dataclasses.replace(
        TOY,
        template=template.astype(np.float32),
        triangles=triangles.astype(np.int32),
        shape_basis=np.zeros((count, 3, 1), np.float32),
        expression_basis=np.zeros((count, 3, 3), np.float32),
        pose_basis=np.zeros((count, 3, 36), np.float32),
        joint_regressor=np.full((5, count), 1 / count, np.float32),
        skinning_weights=weights,
        landmark_triangles=rows[17:],
        landmark_barycentric=place[17:],
        contour_triangles=np.tile(rows[:17], (79, 1)),
        contour_barycentric=np.tile(place[:17], (79, 1, 1)),
        static_contour_triangles=rows[:17],
        static_contour_barycentric=place[:17],
        colours=None,
        uv=uv.astype(np.float32),
        uv_triangles=uv_triangles.astype(np.int32),
    )


def plane_head(n=21, size=0.2):
    """A square in the plane z = 0 whose texture covers the unit square."""
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    grid = np.arange(n * n).reshape(n, n)
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    template = np.stack([x, y, 0 * x], 2).reshape(-1, 3) * size / 2
    return bare_head(template, triangles, template[:, :2] / size + 0.5, triangles, np.arange(68))


def ball_head():
    """An ellipsoid with a face: all of it is in the atlas once, its front in the middle."""
    ball = trimesh.creation.uv_sphere(count=[40, 40])
    template = ball.vertices * [0.075, 0.115, 0.095]
    island = islands.ball(ball.vertices, ball.faces, 0.9)
    points = face_points()
    distance = np.linalg.norm(points[:, None, :2] - template[:, :2], axis=2)
    distance[:, template[:, 2] < 0] = np.inf
    landmarks = distance.argmin(axis=1)
    return bare_head(template, ball.faces, island.uv, island.triangles, landmarks)


PLANE, BALL = plane_head(), ball_head()
FRONT = View(500.0, np.array([127.5, 127.5]), np.array([0.0, 0.0, -0.5]), np.eye(3))


def no_inner(head):
    return np.zeros(len(head.triangles), bool)


def picture_on_plane(size=256):
    """Smooth colours over the photo that shows the plane 200 px wide."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [0.5 + 0.3 * np.sin(9 * x + 3 * y), 0.5 + 0.3 * np.cos(7 * y), 0.4 + 0.4 * x]
    return np.rint(np.stack(waves, 2) * 255).astype(np.uint8)


def test_a_plane_gives_its_picture_back():
    """Texel (u, v) of the plane shows the photo at its projection, by the pinhole formula."""
    image, atlas = picture_on_plane(), make_atlas(PLANE, 128)
    samples = sample_photo(image, PLANE, FRONT, PLANE.template, atlas, no_inner(PLANE))
    texture = atlas.image(from_linear(samples.colours))
    t = (np.arange(128) + 0.5) / 128 - 0.5
    u, v = np.meshgrid(t, -t)
    x, y = 127.5 + 500 / 0.5 * 0.2 * u, 127.5 - 500 / 0.5 * 0.2 * v
    x, y = (x + 0.5) / 256, (y + 0.5) / 256
    shift = 0.5 / 256  # the waves are functions of pixel indices
    x, y = x - shift, y - shift
    expected = [0.5 + 0.3 * np.sin(9 * x + 3 * y), 0.5 + 0.3 * np.cos(7 * y), 0.4 + 0.4 * x]
    np.testing.assert_allclose(texture, np.stack(expected, 2), atol=0.015)
    inner = atlas.image(samples.weights[:, None])[12:-12, 12:-12]
    assert inner.min() > 0.99
    np.testing.assert_allclose(samples.normals, [[0, 0, 1]] * len(samples.normals), atol=1e-6)


def test_what_is_hidden_oblique_or_outside_counts_nothing():
    atlas = make_atlas(BALL, 256)
    view = View(700.0, np.array([127.5, 127.5]), np.array([0.0, 0.0, -0.6]), np.eye(3))
    image = np.full((256, 256, 3), 120, np.uint8)
    samples = sample_photo(image, BALL, view, BALL.template, atlas, no_inner(BALL))
    points = atlas.interpolate(BALL, BALL.template)
    facing = samples.normals[:, 2]
    behind = points[:, 2] < 0
    assert behind.any()
    assert samples.weights[behind].max() == 0
    assert samples.weights[facing < 0.05].max() == 0
    assert samples.weights[facing > 0.9].min() > 0.9
    # half out of the photo: nothing is taken from beyond its border
    moved = view._replace(centre_px=np.array([0.0, 127.5]))
    half = sample_photo(image, BALL, moved, BALL.template, atlas, no_inner(BALL))
    assert half.weights[points[:, 0] < -0.002].max() == 0
    assert half.weights[(points[:, 0] > 0.02) & (facing > 0.9)].min() > 0.9


def test_mirror_images_are_across_the_head():
    atlas = make_atlas(BALL, 256)
    usable = atlas.has_mirror
    assert usable.mean() > 0.9
    points = atlas.interpolate(BALL, BALL.template)
    across = atlas.mirrored(points)
    known = atlas.mirrored(np.ones((len(points), 1)))[:, 0] > 0.999  # not beside an island's border
    expected = points[usable & known] * [-1, 1, 1]
    np.testing.assert_allclose(across[usable & known], expected, atol=1.5e-3)


def test_the_fill_is_harmonic_between_what_is_known():
    """On a strip known at both ends, the solution of Laplace's equation is linear."""
    n = 41
    grid = np.arange(2 * n).reshape(2, n)
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    confidence = np.zeros(2 * n)
    confidence[grid[:, [0, -1]]] = 1.0
    colours = np.zeros((2 * n, 3))
    colours[grid[:, -1]] = [1.0, 0.5, 0.25]
    filled = fill_smoothly(
        triangles, colours, confidence, np.zeros((2 * n, 3)), data_weight=1e4, prior_weight=1e-9
    )
    expected = np.linspace(0, 1, n)[None, :, None] * [1.0, 0.5, 0.25]
    np.testing.assert_allclose(filled.reshape(2, n, 3), expected.repeat(2, axis=0), atol=2e-2)
    alone = fill_smoothly(
        triangles, colours, 0 * confidence, colours + 0.3, data_weight=1.0, prior_weight=1.0
    )
    assert np.abs(alone.mean(axis=0) - (colours + 0.3).mean(axis=0)).max() < 1e-9


def test_the_light_on_a_sphere_is_found_again():
    normals = np.random.default_rng(0).standard_normal((4000, 3))
    normals[:, 2] = np.abs(normals[:, 2])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    truth = np.array([1.0, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0])
    luminance = 0.4 * harmonics(normals) @ truth
    luminance[:200] *= 0.05  # hair
    coefficients = fit_shading(normals, luminance, np.ones(4000))
    factors = PhotoLight(coefficients, 0.4).on(normals)
    np.testing.assert_allclose(factors[200:], (harmonics(normals) @ truth)[200:], atol=0.06)


def test_hair_and_walls_are_told_from_skin():
    rng = np.random.default_rng(1)
    skin = np.array([0.55, 0.32, 0.24]) * np.exp(rng.normal(0, 0.08, (2000, 1)))
    skin = skin * np.exp(rng.normal(0, 0.02, (2000, 3)))
    light = np.ones(2000)
    model = fit_skin(skin.astype(np.float32), light, light)
    assert model.probability(skin, light).mean() > 0.97
    half_lit = skin * 0.5  # the same skin where half the light falls
    assert model.probability(half_lit, 0.5 * light).mean() > 0.97
    for other in ([0.06, 0.04, 0.03], [0.5, 0.5, 0.5], [0.1, 0.2, 0.5], [0.9, 0.88, 0.85]):
        assert model.probability(np.tile(other, (4, 1)), light[:4]).max() < 0.01


def rendered_photo(texture, view, wall):
    return render_textured(BALL.template, BALL.triangles, view, wall, texture)


def test_a_rendered_head_gets_its_own_texture_back_and_no_background():
    """A textured ball before a garish wall: the front comes back, no wall colour enters."""
    skin = np.array([190, 150, 128], np.float32)
    y, x = np.mgrid[0:256, 0:256] / 255
    known = skin + 14 * np.sin(40 * x)[..., None] * [1, 1, 1] + 10 * np.cos(30 * y)[..., None]
    texture = TexturedMesh(np.rint(known).astype(np.uint8), BALL.uv, BALL.uv_triangles)
    view = View(900.0, np.array([149.5, 149.5]), np.array([0.0, 0.0, -0.8]), np.eye(3))
    wall = np.full((300, 300, 3), [20, 230, 60], np.uint8)
    photo = rendered_photo(texture, view, wall)
    baked = bake_texture(photo, BALL, camera_of(view), BALL.template, size=256).picture.astype(
        float
    )
    green = baked[..., 1] - baked[..., [0, 2]].max(axis=2)
    assert green.max() < 6  # skin is redder than green, the wall the opposite
    again = rendered_photo(
        TexturedMesh(baked.astype(np.uint8), BALL.uv, BALL.uv_triangles), view, wall
    )
    rows, columns = slice(110, 190), slice(120, 180)
    difference = np.abs(again[rows, columns].astype(float) - photo[rows, columns])
    assert difference.mean() < 6


@pytest.mark.parametrize("shift_px", [-4.0, 4.0])
def test_hair_behind_a_cheek_stays_out_of_a_fit_that_is_millimetres_off(shift_px):
    """A turned head of one colour before a dark wall; its camera misses by 3.5 mm."""
    head = load_head("anthro")
    assert head.uv is not None
    assert head.uv_triangles is not None
    texture = TexturedMesh(
        np.full((64, 64, 3), [190, 150, 128], np.uint8), head.uv, head.uv_triangles
    )
    turn = np.deg2rad(40)
    rotation = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    posed = (head.template @ rotation.T).astype(np.float32)
    view = View(900.0, np.array([149.5, 149.5]), np.array([0.0, 0.0, -0.8]), np.eye(3))
    wall = np.full((300, 300, 3), [60, 40, 30], np.uint8)
    photo = render_textured(posed, head.triangles, view, wall, texture)
    missed = view._replace(centre_px=view.centre_px + [shift_px, 0.0])
    baked = bake_texture(photo, head, camera_of(missed), posed, size=256).picture
    atlas = make_atlas(head, 256)
    face = np.isin(head.triangles[atlas.triangles], head.regions["face"]).all(axis=1)
    face &= ~np.isin(head.triangles[atlas.triangles], head.regions["nose"]).any(axis=1)
    reds = baked.reshape(-1, 3)[atlas.index[face], 0]
    assert reds.min() > 185


def test_one_side_of_a_head_is_filled_from_the_other_without_a_seam():
    """Seen from the side, the hidden half shows the mirrored pattern and joins without a step."""
    y, x = np.mgrid[0:256, 0:256] / 255
    pattern = 150 + 20 * np.sin(25 * y)
    texture = TexturedMesh(
        np.stack([pattern + 30, pattern, pattern - 20], 2).astype(np.uint8),
        BALL.uv,
        BALL.uv_triangles,
    )
    turn = np.deg2rad(50)
    rotation = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    posed = (BALL.template @ rotation.T).astype(np.float32)
    view = View(900.0, np.array([149.5, 149.5]), np.array([0.0, 0.0, -0.8]), np.eye(3))
    wall = np.zeros((300, 300, 3), np.uint8)
    photo = render_textured(posed, BALL.triangles, view, wall, texture)
    baked = bake_texture(photo, BALL, camera_of(view), posed, size=256)
    atlas = make_atlas(BALL, 256)
    values = baked.picture.reshape(-1, 3)[atlas.index].astype(float)
    points = atlas.interpolate(BALL, BALL.template)
    steps = np.abs(np.diff(baked.picture.astype(int), axis=1)).max()
    assert steps < 25
    ring = np.abs(points[:, 1]) < 0.05
    hidden = ring & (points[:, 0] < -0.04) & (points[:, 2] > 0.02)
    shown = texture.picture.reshape(-1, 3)[atlas.index].astype(float)
    correlation = np.corrcoef(values[hidden].mean(axis=1), shown[hidden].mean(axis=1))[0, 1]
    assert correlation > 0.6


def test_a_head_without_texture_coordinates_gets_one_clear_line():
    bare = dataclasses.replace(TOY, uv=None, uv_triangles=None)
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(UserError, match="has no texture coordinates.*--head anthro"):
        bake_texture(image, bare, camera_of(FRONT), bare.template)


def test_texture_coordinates_that_cover_nothing_get_one_clear_line():
    assert TOY.uv is not None
    flat = dataclasses.replace(TOY, uv=np.zeros_like(TOY.uv))
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(UserError, match="cover no area.*--head anthro"):
        bake_texture(image, flat, camera_of(FRONT), flat.template)


def test_a_textured_plane_shows_its_texture():
    texture = TexturedMesh(picture_on_plane(128), PLANE.uv, PLANE.uv_triangles)
    wall = np.zeros((256, 256, 3), np.uint8)
    view = FRONT._replace(focal_px=320.0)  # one texel to a pixel
    shown = render_textured(PLANE.template, PLANE.triangles, view, wall, texture)
    part = shown[64:192, 64:192].astype(int)
    assert np.abs(part[2:-2, 2:-2] - texture.picture[2:-2, 2:-2]).max() <= 3
    assert not shown[:62].any()
    # grey under clay light: the same picture, brighter or darker
    plain = TexturedMesh(np.full((8, 8, 3), 128, np.uint8), PLANE.uv, PLANE.uv_triangles)
    half = render_textured(PLANE.template, PLANE.triangles, view, wall, plain, opacity=0.5)
    np.testing.assert_allclose(half[100:150, 100:150], 64, atol=1)


def test_clay_of_a_white_ball_is_never_brighter_than_paper():
    ball = trimesh.creation.icosphere(3, radius=0.06)
    picture = render(
        ball.vertices.astype(np.float32), ball.faces.astype(np.int32), FRONT,
        np.zeros((256, 256, 3), np.uint8), colours=np.ones((642, 3)),
    ).picture  # fmt: skip
    assert to_linear(picture / np.float32(255)).max() <= 1


def test_a_photo_without_colour_gives_a_texture_without_colour():
    """Teeth, eyes and the mouth's inside too, which are painted."""
    head = load_head("anthro")
    assert head.uv is not None
    assert head.uv_triangles is not None
    grey = np.full((64, 64, 3), 150, np.uint8)
    view = View(900.0, np.array([149.5, 149.5]), np.array([0.0, 0.0, -0.8]), np.eye(3))
    wall = np.full((300, 300, 3), 60, np.uint8)
    photo = render_textured(
        head.template, head.triangles, view, wall, TexturedMesh(grey, head.uv, head.uv_triangles)
    )
    photo = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    baked = bake_texture(photo, head, camera_of(view), head.template, size=256).picture.astype(int)
    assert (baked.max(axis=2) - baked.min(axis=2)).max() <= 4


@pytest.mark.parametrize("colour", [(0.05, 0.10, 0.16), (0.10, 0.05, 0.02)])
def test_an_iris_gets_the_photos_colour(colour):
    head = load_head("anthro")
    assert head.colours is not None
    eyes = np.concatenate([head.regions["left_eyeball"], head.regions["right_eyeball"]])
    luma = to_linear(head.colours)[eyes] @ LUMA
    iris = eyes[(luma > 0.01) & (luma < 0.2)]
    weights = np.zeros(head.vertices_count)
    weights[iris] = 5.0
    seen = np.tile(np.array(colour), (head.vertices_count, 1))
    painted = paint(head, 1.0, 1.0, seen, weights)
    np.testing.assert_allclose(np.average(painted[iris], axis=0), colour, rtol=0.05)


def test_whites_of_eyes_are_nearly_as_dim_as_the_photos():
    head = load_head("anthro")
    assert head.colours is not None
    eyes = np.concatenate([head.regions["left_eyeball"], head.regions["right_eyeball"]])
    white = eyes[to_linear(head.colours)[eyes] @ LUMA > 0.5]
    weights = np.zeros(head.vertices_count)
    weights[white] = 5.0
    painted = paint(head, 0.2, 1.0, np.full((head.vertices_count, 3), 0.06), weights)
    assert 0.05 < np.average(painted[white] @ LUMA) < 0.09


def faces_with(paint, over=None):
    """Anthro with vertex colours, its photo with `over` drawn on it, and the texture baked of it.

    Returns the texels' known and baked colours, their places on the head, and the head.
    """
    head = load_head("anthro")
    assert head.uv is not None
    assert head.uv_triangles is not None
    atlas = make_atlas(head, 384)
    colours = np.tile(np.array([190, 150, 128]) / 255, (head.vertices_count, 1))
    paint(head, colours)
    known = atlas.filled(atlas.interpolate(head, colours)) * 255
    texture = TexturedMesh(np.rint(known).astype(np.uint8), head.uv, head.uv_triangles)
    view = View(1000.0, np.array([179.5, 179.5]), np.array([0.0, 0.0, -0.8]), np.eye(3))
    wall = np.full((360, 360, 3), [70, 110, 160], np.uint8)
    photo = render_textured(head.template, head.triangles, view, wall, texture)
    if over is not None:
        over(photo, view)
    baked = bake_texture(photo, head, camera_of(view), head.template, size=384).picture
    rows = atlas.index
    points = atlas.interpolate(head, head.template)
    return known.reshape(-1, 3)[rows], baked.reshape(-1, 3)[rows].astype(float), points, head


def brow_landmarks(head, rows):
    corners = head.template[head.triangles[head.landmark_triangles[rows]]]
    return (corners * head.landmark_barycentric[rows][..., None]).sum(1)


def test_a_fringe_stays_out_and_the_brow_comes_from_the_other_side():
    """Dark hair from the top down to the left brow: skin is beneath, and a brow like the right."""

    def brows(head, colours):
        for rows in (slice(0, 5), slice(5, 10)):
            points = brow_landmarks(head, np.arange(17)[rows]) - [0, 0.003, 0]
            near = np.linalg.norm(head.template[:, None] - points, axis=2).min(1) < 0.006
            colours[near] = np.array([90, 62, 48]) / 255

    def fringe(photo, view):
        left = screen_points(view, brow_landmarks(load_head("anthro"), np.arange(5, 10)))
        x0, x1 = int(left[:, 0].min()) - 4, int(left[:, 0].max()) + 25
        bottom = int(left[:, 1].max()) + 5
        strands = np.random.default_rng(0).normal(1, 0.3, x1 - x0)[None, :, None].clip(0.3, 2)
        photo[:bottom, x0:x1] = np.rint(strands * [50, 32, 22]).clip(0, 255)

    known, baked, points, head = faces_with(brows, fringe)
    brow = brow_landmarks(head, np.arange(5, 10))
    hidden = (points[:, 0] > brow[0, 0]) & (points[:, 0] < brow[-1, 0])
    forehead = hidden & (points[:, 1] > brow[:, 1].max() + 0.008) & (points[:, 2] > brow[4, 2])
    assert np.abs(baked[forehead] - known[forehead]).mean() < 8  # hair is 130 darker
    dark = np.linalg.norm(known - [90, 62, 48], axis=1) < 20
    left = dark & (points[:, 0] > 0) & hidden
    assert left.any()
    assert np.abs(baked[left] - known[left]).mean() < 30


@pytest.mark.parametrize("alike", [False, True], ids=["before a wall", "among hair and clothes"])
def test_a_beard_goes_on_to_the_jaw(alike):
    """Also where hair and clothes of its colour touch it: they do not hang over the face."""

    def surroundings(photo, view):
        if alike:
            wall = np.linalg.norm(photo.astype(float) - [70, 110, 160], axis=2) < 40
            photo[wall] = [80, 56, 44]
            photo[270:] = [80, 56, 44]

    def beard(head, colours):
        chin, corners = brow_landmarks(head, [40])[0], brow_landmarks(head, [31, 37])
        area = head.template[:, 1] < corners[:, 1].mean()
        above = head.template[:, 1] < brow_landmarks(head, [16])[0, 1] - 0.005
        area |= above & (np.abs(head.template[:, 0]) < corners[1, 0])
        area &= head.template[:, 1] > head.template[head.regions["face"], 1].min() - 0.004
        area[head.regions["neck"]] = False
        lips = brow_landmarks(head, np.arange(31, 43))
        near_lips = np.linalg.norm(head.template[:, None] - lips, axis=2).min(1) < 0.004
        area &= ~near_lips & (head.template[:, 2] > chin[2] - 0.075)
        colours[area] = np.array([80, 56, 44]) / 255

    known, baked, points, head = faces_with(beard, surroundings)
    corner = np.abs(brow_landmarks(head, [31, 37])[:, 0]).mean()
    normals = vertex_normals(head.template, head.triangles)
    facing = make_atlas(head, 384).interpolate(head, normals)[:, 2]
    dark = np.linalg.norm(known - [80, 56, 44], axis=1) < 10
    beside = dark & (np.abs(points[:, 0]) > 1.2 * corner) & (facing > 0.55)
    kept = np.linalg.norm(baked[beside] - known[beside], axis=1) < 40
    assert kept.mean() > 0.88


def test_lips_of_an_open_mouth_keep_their_colour():
    """The mouth is deep, but what lies behind the lips is no stranger's hair."""
    head = load_head("anthro")
    assert head.uv is not None
    assert head.uv_triangles is not None
    opened = HeadParameters.zeros(head)._replace(jaw_pose=torch.tensor([[0.25, 0.0, 0.0]]))
    posed = HeadDecoder(head)(opened).vertices[0].numpy()
    atlas = make_atlas(head, 256)
    lips = np.isin(head.triangles[atlas.triangles], head.regions["lips"]).all(axis=1)
    known = np.full((256 * 256, 3), [190, 150, 128], np.uint8)
    known[atlas.index[lips]] = [170, 60, 70]
    texture = TexturedMesh(known.reshape(256, 256, 3), head.uv, head.uv_triangles)
    view = View(1800.0, np.array([199.5, 199.5]), np.array([0.0, 0.05, -0.8]), np.eye(3))
    wall = np.full((400, 400, 3), 90, np.uint8)
    photo = render_textured(posed, head.triangles, view, wall, texture)
    baked = bake_texture(photo, head, camera_of(view), posed, size=256).picture.reshape(-1, 3)
    found = baked[atlas.index[lips]].astype(float)
    redness = (found[:, 0] - found[:, 1]) / found[:, 0]  # skin .21, lips .65
    assert np.median(redness) > 0.5


def test_teeth_come_near_to_the_photos_colour():
    head = load_head("anthro")
    assert head.colours is not None
    teeth = head.regions["upper_teeth"]
    enamel = teeth[to_linear(head.colours)[teeth] @ LUMA > 0.6]
    weights = np.zeros(head.vertices_count)
    weights[enamel] = 5.0
    own = paint(head, 1.0, 1.0, np.ones((head.vertices_count, 3)), 0 * weights)
    seen = np.tile(own[enamel].mean(axis=0) * [0.5, 0.45, 0.35], (head.vertices_count, 1))
    found = paint(head, 1.0, 1.0, seen, weights)
    ratio = found[enamel].mean(axis=0) / own[enamel].mean(axis=0)
    np.testing.assert_allclose(ratio, [0.6, 0.56, 0.48], atol=0.03)


SIDE_LIGHT = 0.35
"""Light on the dark half of the face below, over that on the bright half."""


@pytest.fixture(scope="module")
def eventful_face():
    """Anthro with red cheeks, lit from one side, a microphone before its chin, its eyes dark.

    Returns head, view, photo, texture, the known skin per vertex, and the texels' baked colours.
    """
    head = load_head("anthro")
    atlas = make_atlas(head, 384)
    skin = np.tile(np.array([190, 150, 128]) / 255, (head.vertices_count, 1))
    eyes = np.concatenate([head.regions["left_eyeball"], head.regions["right_eyeball"]])
    corners = head.static_contour_triangles[[2, 14]]
    jaw = head.template[head.triangles[corners]].mean(axis=1)
    nose = brow_landmarks(head, [14, 18])
    for cheek in (jaw + nose) / 2:
        near = np.exp(-np.square((head.template - cheek) / 0.018).sum(axis=1))
        skin[:, 1:] *= 1 - 0.35 * near[:, None]
    light = SIDE_LIGHT + (1 - SIDE_LIGHT) / (1 + np.exp(-head.template[:, :1] / 0.02))
    shown = from_linear(to_linear(skin.astype(np.float32)) * light.astype(np.float32))
    shown[eyes] = 0.05
    for name in ("upper_teeth", "lower_teeth", "tongue", "mouth_inside"):
        shown[head.regions[name]] = 0.05
    picture = np.rint(atlas.filled(atlas.interpolate(head, shown)) * 255).astype(np.uint8)
    assert head.uv is not None
    assert head.uv_triangles is not None
    texture = TexturedMesh(picture, head.uv, head.uv_triangles)
    view = View(1000.0, np.array([179.5, 179.5]), np.array([0.0, 0.0, -0.8]), np.eye(3))
    wall = np.full((360, 360, 3), [70, 110, 160], np.uint8)
    photo = render_textured(head.template, head.triangles, view, wall, texture)
    chin = head.template[head.triangles[head.static_contour_triangles[8]]].mean(axis=0)
    x, y = np.rint(screen_points(view, chin[None])[0, :2]).astype(int)
    cv2.circle(photo, (int(x), int(y)), 16, (3, 3, 4), -1)
    cv2.rectangle(photo, (int(x) - 5, int(y)), (int(x) + 5, 359), (3, 3, 4), -1)
    baked = bake_texture(photo, head, camera_of(view), head.template, size=384)
    return head, view, photo, baked, skin, (x, y)


def test_red_cheeks_stay_red(eventful_face):
    head, _, _, baked, skin, _ = eventful_face
    atlas = make_atlas(head, 384)
    known = atlas.interpolate(head, skin)
    red = known[:, 1] < 0.8 * 150 / 255
    found = baked.picture.reshape(-1, 3)[atlas.index[red]] / 255
    np.testing.assert_allclose(found[:, 1] / found[:, 0], known[red, 1] / known[red, 0], atol=0.06)


def test_a_microphone_is_no_beard(eventful_face):
    head, view, _, baked, _, (x, y) = eventful_face
    atlas = make_atlas(head, 384)
    points = screen_points(view, atlas.interpolate(head, head.template))
    under = np.hypot(points[:, 0] - x, points[:, 1] - y) < 12
    under &= atlas.interpolate(head, head.template)[:, 2] > 0.05
    found = baked.picture.reshape(-1, 3)[atlas.index[under]].astype(float)
    assert under.sum() > 50
    assert (found[:, 0] > 100).mean() > 0.97  # the microphone is 3


def test_the_overlay_is_in_the_photos_light_and_portraits_in_an_even_one(eventful_face):
    head, view, photo, baked, _, (x, y) = eventful_face
    dark = np.zeros_like(photo)
    again, even = (
        render_textured(
            head.template, head.triangles, view, dark, baked, photo_light=photo_light
        ).astype(float)
        for photo_light in (True, False)
    )
    cheeks = face_areas(head).cheeks > 0.9
    places = np.rint(screen_points(view, head.template[cheeks])[:, :2]).astype(int)
    column, row = places[np.hypot(*(places - [x, y]).T) > 30].T
    assert np.abs(again - photo)[row, column].mean() < 2.5
    left = column > 180
    levels = [picture[row, column].mean(axis=1) for picture in (photo, even)]
    steps = [each[left].mean() - each[~left].mean() for each in levels]
    assert abs(steps[1]) < 0.5 * abs(steps[0])


def test_eyes_are_as_the_photo_shows_them(eventful_face):
    """Dark here, as behind sunglasses; the head's own have whites."""
    head, view, photo, baked, _, _ = eventful_face
    shown = render_textured(
        head.template, head.triangles, view, np.zeros_like(photo), baked, photo_light=True
    )
    eyes = np.concatenate([head.regions["left_eyeball"], head.regions["right_eyeball"]])
    front = eyes[head.template[eyes, 2] > np.quantile(head.template[eyes, 2], 0.97)]
    column, row = np.rint(screen_points(view, head.template[front])[:, :2]).astype(int).T
    assert photo[row, column].max() < 60
    assert np.abs(shown.astype(float) - photo)[row, column].mean() < 6
