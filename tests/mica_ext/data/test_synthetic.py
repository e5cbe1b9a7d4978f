"""Rendered training faces: repeatable, within their limits, labels where the picture has them."""

import numpy as np
import pytest
import torch
from helpers.mica_toy import toy_head

from eval_now.geometry.raster import rasterize
from flame_assets.model.head_module import HeadDecoder
from flame_assets.model.lbs import rotation_matrices
from flame_assets.store import load_head
from mica_ext.data.synthetic.expressions import sample_expression
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.data.synthetic.sampling import sample_head
from mica_ext.models.projection import project
from mica_ext.render.views import View, screen_points


@pytest.fixture(scope="module")
def anthro():
    return load_head("anthro")


@pytest.fixture(scope="module")
def faces(anthro):
    return SyntheticFaces(anthro, seed=3, size=160)


def test_a_face_depends_on_seed_and_index_alone(anthro, faces):
    first = faces.sample(5)
    faces.sample(6)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    again = SyntheticFaces(anthro, seed=3, size=160).sample(5)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.landmarks_px, again.landmarks_px)
    other = SyntheticFaces(anthro, seed=4, size=160).sample(5)
    assert not np.array_equal(first.landmarks_px, other.landmarks_px)
    assert not np.array_equal(first.image, other.image)


def test_parameters_and_camera_reproduce_the_landmarks(anthro, faces):
    flame = HeadDecoder(anthro)
    for index in range(4):
        face = faces.sample(index)
        with torch.inference_mode():
            mesh = flame(face.parameters.head)
            points = project(face.parameters.camera, mesh.landmarks)[0].numpy()
        np.testing.assert_allclose(points, face.landmarks_px, atol=1e-3)
        low, high = face.landmarks_px.min(axis=0), face.landmarks_px.max(axis=0)
        assert (low > -8).all()
        assert (high < 168).all()
        assert 0.3 * 160 < (high - low).max() < 0.8 * 160


def test_landmarks_lie_on_the_surface_that_the_picture_shows(anthro, faces):
    """Where a landmark is drawn, the nearest surface is at its own depth (for most faces)."""
    flame, hits = HeadDecoder(anthro), []
    for index in range(12):
        face = faces.sample(index)
        with torch.inference_mode():
            mesh = flame(face.parameters.head)
        view = View.from_camera(face.parameters.camera)
        screen = screen_points(view, mesh.vertices[0].numpy())
        raster = rasterize(screen, anthro.triangles, 160, 160)
        marks = screen_points(view, mesh.landmarks[0, [27, 28, 29, 30]].numpy())
        columns, rows = np.rint(marks[:, :2]).astype(int).T
        hits.append(np.abs(raster.depth[rows, columns] - marks[:, 2]) < 0.006)
    assert np.mean(hits) > 0.9  # the nose bridge is visible nearly always


def test_hair_stays_off_ears_and_brows_on_the_brow_ridge(anthro, faces):
    sampler = faces.appearances
    ears = np.union1d(anthro.regions["left_ear"], anthro.regions["right_ear"])
    outer_eye, brow_end = 0.045, 0.060  # of Anthro's mean head, from the midline [m]
    for seed in range(20):
        look = sampler.sample(np.random.default_rng(seed))
        assert look.hair_thickness[ears].max() == 0
        for hairs in look.hairs[:2]:
            tips = anthro.template[hairs.vertices] + hairs.offsets
            assert outer_eye < np.abs(tips[:, 0]).max() < brow_end + 0.008
            assert (tips[:, 1] > 0.008).all()
            assert (tips[:, 1] < 0.034).all()


def test_poses_cover_their_range_and_stay_in_it(faces):
    turns = []
    for index in range(200, 260):  # as `faces.sample` draws them, without the pictures
        head = sample_head(np.random.default_rng([faces.seed, index]), faces.head, faces.max_yaw)
        turn = rotation_matrices(head.global_pose)[0] @ rotation_matrices(head.neck_pose)[0]
        # R = Rz(roll) Rx(pitch) Ry(yaw)
        pitch = torch.asin(turn[2, 1])
        yaw = torch.atan2(-turn[2, 0], turn[2, 2])
        roll = torch.atan2(-turn[0, 1], turn[1, 1])
        turns.append([float(pitch), float(yaw), float(roll)])
    degrees = np.rad2deg(np.abs(turns))
    assert (degrees.max(axis=0) <= [30.5, 60.5, 30.5]).all()
    assert (degrees.max(axis=0) >= [15, 40, 15]).all()


def test_expressions_are_bounded_nearly_symmetric_and_varied(anthro):
    generator = np.random.default_rng(0)
    drawn = [sample_expression(generator, anthro.expression_names) for _ in range(600)]
    values = np.array([value for weights in drawn for value in weights.values()])
    assert values.min() > 0
    assert values.max() <= 1
    smile = np.array([[w.get("mouthSmileLeft", 0.0), w.get("mouthSmileRight", 0.0)] for w in drawn])
    assert np.corrcoef(smile.T)[0, 1] > 0.8
    for name in ("jawOpen", "mouthSmileLeft", "browDownRight", "eyeBlinkLeft", "mouthPucker"):
        assert sum(weights.get(name, 0) > 0.3 for weights in drawn) > 20, name
    still = [
        all(value < 0.3 for name, value in weights.items() if not name.startswith("eye"))
        for weights in drawn
    ]
    assert sum(still) > 60  # resting faces


def test_any_head_model_will_do():
    face = SyntheticFaces(toy_head(), size=96).sample(0)
    assert face.image.shape == (96, 96, 3)
    assert np.isfinite(face.landmarks_px).all()
