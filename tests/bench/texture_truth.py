"""Errors of textures unwrapped from pictures of heads whose texture is known.

    python tests/bench/texture_truth.py [--faces 16] [--seed 5]

Heads of Anthro with random skin, beard and hair are drawn without light, turned up to 30 degrees;
every second one gets a fringe down to its brows, every third hair over its cheeks. Prints the mean
difference to the same person's bald skin [8-bit levels], and its 95th percentile: where hair covers
the face, where its skin is seen, and where it is turned away. Then by faces with one feature: where
cheeks are red, on and beside freckles, in the dark half of a face lit from one side, and under a
microphone: what belongs to the face is to be kept, what does not to be removed.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from flame_assets.store import load_head
from mica_ext.data.synthetic.appearance.accessories import shaded_hair, side_hair_outline
from mica_ext.data.synthetic.appearance.painting import background, fill_polygon
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.data.synthetic.sampling import sample_camera, sample_head
from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from mica_ext.render.shading import from_linear, to_linear
from mica_ext.render.texture.atlas import make_atlas
from mica_ext.render.texture.bake import bake_texture
from mica_ext.render.texture.photo_samples import sample_photo
from mica_ext.render.textured import TexturedMesh, render_textured
from mica_ext.render.views import View, screen_points

SIZE, TEXELS = 448, 512
MAX_YAW = 0.5
AREAS = ("under hair", "seen", "turned away")
FEATURES = ("blush", "freckles", "half in shadow", "microphone")
BLUSH, FRECKLE, SHADOW = 0.35, 0.72, 0.3
"""Loss of green and blue, factor on a freckle, light on the dark half."""
CHANGED = 6
"""Difference of colours with and without a feature [levels] from which a texel shows it."""
DIFFERENT = 12
"""Difference of haired and bald colours [levels] from which hair covers a texel."""


class Case(NamedTuple):
    """One picture, and what it should give."""

    photo: UInt8[np.ndarray, "SIZE SIZE 3"]
    camera: Camera
    vertices: Float[np.ndarray, "V 3"]
    bald: Float[np.ndarray, "V 3"]
    haired: Float[np.ndarray, "V 3"]
    covered: UInt8[np.ndarray, "SIZE SIZE"]
    """255 where something hangs over the picture's face."""
    feature: Float[np.ndarray, " V"]
    """How far skin or light are changed by a feature, as a share."""


def draw_case(faces: SyntheticFaces, index: int, feature: str = "") -> Case:
    """Face number `index`; with one of `FEATURES`, without hair over it."""
    head, generator = faces.head, np.random.default_rng([faces.seed, index])
    parameters = sample_head(generator, head, MAX_YAW)
    with torch.inference_mode():
        mesh = faces.decoder(parameters)
    camera = sample_camera(generator, mesh.landmarks[0].numpy(), SIZE)
    points = project(camera, mesh.landmarks)[0].numpy()
    twin = np.random.default_rng([faces.seed, index, 1])
    state, field = twin.bit_generator.state, faces.appearances.hair_field
    haired = faces.appearances.sample(twin)
    twin.bit_generator.state = state
    faces.appearances.hair_field = np.full_like(field, -1.0)
    bald = faces.appearances.sample(twin)
    faces.appearances.hair_field = field
    vertices = mesh.vertices[0].numpy()
    skin, light = _feature_colours(faces, generator, feature)
    bald, haired = (found._replace(colours=found.colours * skin) for found in (bald, haired))
    lit = from_linear(to_linear(haired.colours.astype(np.float32)) * light)
    picture = render_textured(
        vertices,
        head.triangles,
        View.from_camera(camera),
        background(generator, SIZE, SIZE),
        texture_of(head, lit),
    )
    covered = np.zeros_like(picture)
    hair = shaded_hair(generator, SIZE, haired.hair_colour)
    if feature == "microphone":
        outline = microphone_outline(points)
        picture = fill_polygon(picture, outline, np.full_like(picture, 24))
        covered = fill_polygon(covered, outline, np.full_like(covered, 255))
    for outline in [] if feature else hair_outlines(generator, points, index):
        picture = fill_polygon(picture, outline, hair)
        covered = fill_polygon(covered, outline, np.full_like(covered, 255))
    noisy = cv2.GaussianBlur(picture, (0, 0), 0.6) + generator.normal(0, 2.5, picture.shape)
    photo = np.clip(noisy, 0, 255).astype(np.uint8)
    shown = np.abs(skin * light - 1).max(axis=1)
    return Case(photo, camera, vertices, bald.colours, haired.colours, covered[..., 0], shown)


def _feature_colours(
    faces: SyntheticFaces, generator: np.random.Generator, feature: str
) -> tuple[Float[np.ndarray, "V 3"], Float32[np.ndarray, "V 1"]]:
    """Factors on the sRGB of the skin and on its light."""
    head = faces.head
    skin, light = np.ones((head.vertices_count, 3)), np.ones((head.vertices_count, 1), np.float32)
    with torch.inference_mode():
        points = faces.decoder(HeadParameters.zeros(head)).landmarks[0].numpy()
    if feature == "blush":
        for cheek in ((points[2] + points[31]) / 2, (points[14] + points[35]) / 2):
            near = np.exp(-np.square((head.template - cheek) / 0.018).sum(axis=1))
            skin[:, 1:] *= 1 - BLUSH * near[:, None]
    if feature == "freckles":
        low, high = points[[2, 14]].min(axis=0), points[[2, 14]].max(axis=0)
        height = head.template[:, 1]
        middle = np.flatnonzero(
            (height > points[33, 1]) & (height < points[29, 1]) & (head.template[:, 2] > 0.05)
        )
        middle = middle[(head.template[middle, 0] > low[0]) & (head.template[middle, 0] < high[0])]
        skin[generator.choice(middle, len(middle) // 4, replace=False)] *= FRECKLE
    if feature == "half in shadow":
        light[:, 0] = SHADOW + (1 - SHADOW) / (1 + np.exp(-head.template[:, 0] / 0.004))
    return skin, light


def microphone_outline(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "n 2"]:
    """A disc over the chin with a stem down and out of the picture [px]."""
    up = points[27] - points[8]
    up /= np.linalg.norm(up)
    across = np.array([-up[1], up[0]])
    radius = 0.24 * float(np.linalg.norm(points[45] - points[36]))
    angle = np.linspace(-np.pi / 2 + 0.2, 1.5 * np.pi - 0.2, 24)[:, None]
    disc = points[8] + radius * (np.cos(angle) * across + np.sin(angle) * up)
    stem = disc[[-1, 0]] - 40 * radius * up
    return np.concatenate([disc, stem])


def hair_outlines(
    generator: np.random.Generator, points: Float[np.ndarray, "68 2"], index: int
) -> list[Float[np.ndarray, "n 2"]]:
    """Polygons [px] of hair over the face."""
    eyes_px = float(np.linalg.norm(points[45] - points[36]))
    outlines = []
    if index % 3 == 0:
        for side in (points[:6], points[16:10:-1]):
            outlines.append(side_hair_outline(generator, side, points, eyes_px))
    if index % 2 == 0:
        up = points[27] - points[8]
        up /= np.linalg.norm(up)
        brows = points[17:27] if index % 4 == 0 else points[17:24]
        low = brows + generator.uniform(-0.02, 0.22, len(brows))[:, None] * up * eyes_px
        outlines.append(np.concatenate([low, low[::-1] + up * eyes_px * 0.9]))
    return outlines


def texture_of(head: HeadModel, colours: Float[np.ndarray, "V 3"]) -> TexturedMesh:
    """Colours per vertex as a texture."""
    assert head.uv is not None
    assert head.uv_triangles is not None
    atlas = make_atlas(head, TEXELS)
    picture = np.rint(atlas.filled(atlas.interpolate(head, colours)) * 255).clip(0, 255)
    return TexturedMesh(picture.astype(np.uint8), head.uv, head.uv_triangles)


def errors(head: HeadModel, case: Case) -> list[Float[np.ndarray, " n"]]:
    """Differences of texels of the face: under hair, seen, turned away."""
    atlas = make_atlas(head, TEXELS)

    def texels(colours: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "N 3"]:
        return 255 * atlas.interpolate(head, colours).clip(0, 1)

    baked = bake_texture(case.photo, head, case.camera, case.vertices, TEXELS).picture
    difference = np.abs(baked.reshape(-1, 3)[atlas.index] - texels(case.bald)).mean(axis=1)
    view = View.from_camera(case.camera)
    places = atlas.interpolate(head, screen_points(view, case.vertices))[:, :2]
    column, row = np.clip(np.rint(places), 0, SIZE - 1).astype(int).T
    near = cv2.dilate(case.covered, np.ones((9, 9), np.uint8))[row, column] > 0
    own_hair = np.abs(texels(case.haired) - texels(case.bald)).mean(axis=1) > DIFFERENT
    none = np.zeros(len(head.triangles), bool)
    weights = sample_photo(case.photo, head, view, case.vertices, atlas, none).weights
    inside = np.zeros((head.vertices_count, 1))
    inside[np.concatenate([head.regions["face"], head.regions["forehead"]])] = 1
    inside[head.regions["lips"]] = 0
    face = atlas.interpolate(head, inside)[:, 0] > 0.99
    seen = face & (weights > 0.3)
    hidden = seen & ((case.covered[row, column] > 127) | own_hair)
    areas = (hidden, seen & ~near & ~own_hair, face & (weights <= 0.02))
    return [difference[area] for area in areas]


def feature_errors(head: HeadModel, case: Case) -> Float[np.ndarray, " n"]:
    """Differences of the texels of the face that show the case's feature, or its cover."""
    atlas = make_atlas(head, TEXELS)
    baked = bake_texture(case.photo, head, case.camera, case.vertices, TEXELS).picture
    truth = 255 * atlas.interpolate(head, case.bald).clip(0, 1)
    difference = np.abs(baked.reshape(-1, 3)[atlas.index] - truth).mean(axis=1)
    view, none = View.from_camera(case.camera), np.zeros(len(head.triangles), bool)
    samples = sample_photo(case.photo, head, view, case.vertices, atlas, none)
    places = atlas.interpolate(head, screen_points(view, case.vertices))[:, :2]
    column, row = np.clip(np.rint(places), 0, SIZE - 1).astype(int).T
    changed = atlas.interpolate(head, case.feature[:, None])[:, 0] * 255 > CHANGED
    face = np.zeros((head.vertices_count, 1))
    face[head.regions["face"]] = 1
    shown = (changed | (case.covered[row, column] > 127)) & (samples.weights > 0.5)
    return difference[shown & (atlas.interpolate(head, face)[:, 0] > 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=16)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    head = load_head("anthro")
    faces = SyntheticFaces(head, size=SIZE, seed=arguments.seed, max_yaw=MAX_YAW)
    found = [errors(head, draw_case(faces, index)) for index in range(arguments.faces)]
    rows: dict[str, Sequence[Float[np.ndarray, " n"]]] = dict(
        zip(AREAS, zip(*found, strict=True), strict=True)
    )
    for feature in FEATURES:
        cases = (draw_case(faces, index, feature) for index in range(arguments.faces // 2))
        rows[feature] = [feature_errors(head, case) for case in cases]
    for name, values in rows.items():
        kept = [each for each in values if len(each)]
        mean = np.mean([each.mean() for each in kept])
        high = np.mean([np.percentile(each, 95) for each in kept])
        print(f"{name}: mean {mean:.1f}, 95th percentile {high:.1f} levels")


if __name__ == "__main__":
    main()
