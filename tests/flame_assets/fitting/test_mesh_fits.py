"""Fits to meshes and 3D landmarks find the parameters that made them; Jacobians are exact."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.mica_toy import landmark_head
from helpers.registered_heads import ict_flame_head, sequence, smooth_head
from scipy.spatial.transform import Rotation

from flame_assets.errors import UserError
from flame_assets.fitting.articulation import (
    BlendWeights,
    HeadPose,
    pose_feature,
    pose_feature_jacobian,
    pose_jacobian,
    pose_vertices,
    unpose,
)
from flame_assets.fitting.config import LandmarkFitConfig, MeshFitConfig
from flame_assets.fitting.landmarks3d import Landmark3dFitter
from flame_assets.fitting.registered_mesh import RegisteredMeshFitter
from flame_assets.fitting.rigid_motion import rigid_alignment
from flame_assets.fitting.vertex_selection import fitted_vertices
from flame_assets.model.head_module import HeadDecoder, HeadParameters

STEP = 1e-3  # the arithmetic is single precision


@pytest.fixture(scope="module")
def head():
    return smooth_head()


def degrees_apart(found, truth):
    return np.rad2deg((Rotation.from_rotvec(found) * Rotation.from_rotvec(truth).inv()).magnitude())


def rebuilt(head, shape, fits):
    """Meshes of fitted parameters by the decoder [m]."""
    count = len(fits.expression)
    shapes = torch.from_numpy(np.broadcast_to(shape, (count, head.shape_count)).copy())
    eyes = torch.zeros(count, 3)
    parts = (fits.expression, fits.global_pose, fits.neck_pose, fits.jaw_pose)
    parameters = HeadParameters(shapes, *(torch.from_numpy(part) for part in parts), eyes, eyes)
    with torch.no_grad():
        vertices = HeadDecoder(head)(parameters).vertices.numpy()
    return vertices + fits.translation[:, None]


def check_noise_free(head, frames):
    made = sequence(head, frames)
    fitter = RegisteredMeshFitter(head)
    shape = fitter.fit_shape(made.meshes)
    fits = fitter.fit_frames(made.meshes, shape)
    kept = fitted_vertices(head)
    distance_mm = 1000 * np.linalg.norm(rebuilt(head, shape, fits) - made.meshes, axis=2)[:, kept]
    assert distance_mm.max() < 0.01
    np.testing.assert_allclose(fits.max_distance_mm, distance_mm.max(1), atol=0.002)
    for name in ("global_pose", "neck_pose", "jaw_pose"):
        truth = getattr(made.parameters, name).numpy()
        assert degrees_apart(getattr(fits, name), truth).max() < 0.1, name
    np.testing.assert_allclose(shape, made.parameters.shape[0], atol=0.01)
    np.testing.assert_allclose(fits.expression, made.parameters.expression, atol=0.02)


def test_noise_free_sequences_are_found_again(head):
    check_noise_free(head, 10)


def test_noise_free_sequences_of_scanned_shapes_are_found_again(shared_data):
    check_noise_free(ict_flame_head(shared_data / "ict_facekit/ict_facekit_light.npz"), 12)


def test_a_fit_of_noisy_meshes_is_unbiased_and_its_residual_is_the_noise(head):
    made = sequence(head, 16, seed=3)
    rng = np.random.default_rng(4)
    noisy = made.meshes + rng.normal(0, 0.0005, made.meshes.shape)
    fitter = RegisteredMeshFitter(head)
    shape = fitter.fit_shape(noisy)
    np.testing.assert_array_equal(fitter.fit_shape(noisy, threads=2), shape)
    fits = fitter.fit_frames(noisy, shape)
    expected = 0.5 * np.sqrt(8 / np.pi)  # mean length of a normal vector in space
    np.testing.assert_allclose(fits.mean_distance_mm, expected, rtol=0.08)
    assert degrees_apart(fits.jaw_pose, made.parameters.jaw_pose.numpy()).max() < 0.5


def test_masked_vertices_do_not_count(head):
    """Whatever a registration has for the eyeballs and the boundary."""
    made = sequence(head, 3)
    masked = np.setdiff1d(np.arange(head.vertices_count), fitted_vertices(head))
    assert len(masked) > 4
    assert (head.skinning_weights[masked, 3:].sum(1) > 0.5).all()
    damaged = made.meshes.copy()
    damaged[:, masked] += 0.05
    fitter = RegisteredMeshFitter(head)
    shape = fitter.fit_shape(made.meshes)
    whole, other = (fitter.fit_frames(meshes, shape) for meshes in (made.meshes, damaged))
    for one, two in zip(whole, other, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_boundary_is_the_longest_open_line(head):
    """Without a region of that name; a small hole, as an eye's, is no boundary."""
    x, y, z = head.template[head.triangles].mean(1).T
    opened = head.triangles[(y > -0.09) & ~((np.hypot(x, z) < 0.02) & (y > 0))]
    cut = dataclasses.replace(
        head,
        triangles=np.concatenate(
            [opened, np.tile(opened[:1], (len(head.triangles) - len(opened), 1))]
        ),
    )
    removed = np.setdiff1d(fitted_vertices(head), fitted_vertices(cut))
    assert len(removed) > 8
    assert (head.template[removed, 1] < -0.07).all()
    named = dataclasses.replace(cut, regions={"boundary": np.array([5], np.int32)})
    assert 5 not in fitted_vertices(named)


def test_bounded_expressions_stay_in_their_bounds():
    head = dataclasses.replace(smooth_head(), expression_bounds=(0.0, 1.0))
    made = sequence(head, 6)
    outside = made.meshes - 0.3 * head.expression_basis[:, :, 0]  # below the least weight
    fitter = RegisteredMeshFitter(head)
    shape = fitter.fit_shape(made.meshes)
    exact = fitter.fit_frames(made.meshes, shape)
    np.testing.assert_allclose(exact.expression, made.parameters.expression, atol=0.01)
    fits = fitter.fit_frames(outside, shape)
    assert fits.expression.min() >= 0
    assert fits.expression.max() <= 1


def test_other_vertex_counts_are_refused(head):
    with pytest.raises(UserError, match=r"expected meshes of 642 vertices, those of smooth, got 7"):
        RegisteredMeshFitter(head).fit_frames(np.zeros((1, 7, 3)), np.zeros(6))


def random_pose(rng, batch):
    turns = (Rotation.from_rotvec(rng.normal(0, 0.4, (batch, 3))).as_matrix() for _ in range(3))
    rotation, neck, jaw = turns
    return HeadPose(rotation, rng.normal(0, 0.2, (batch, 3)), neck, jaw)


def test_pose_jacobian_by_differences(head):
    rng = np.random.default_rng(0)
    weights = BlendWeights.of_head(head, np.arange(head.vertices_count))
    kept = weights.vertices
    joints = (head.joint_regressor[1:3] @ head.template)[None].astype(np.float64)
    basis = np.ascontiguousarray(head.pose_basis[kept][:, :, :18].transpose(2, 1, 0))
    pose = random_pose(rng, 1)
    template = head.template[kept].T[None]

    def rest_of(pose):
        return template + np.einsum("kxn,bk->bxn", basis, pose_feature(pose)).astype(np.float32)

    def world(step):
        moved = pose.moved(step[None])
        return pose_vertices(rest_of(moved), moved, joints, weights)

    unposed = unpose(world(np.zeros(12)), pose, joints, weights)
    np.testing.assert_allclose(unposed.points, rest_of(pose), atol=1e-6)
    columns = pose_jacobian(rest_of(pose), unposed, pose, joints, weights, basis)
    still = HeadPose(pose.rotation, np.zeros((1, 3)), pose.neck, pose.jaw)
    for index, unit in enumerate(np.eye(12)):
        numeric = (world(STEP * unit) - world(-STEP * unit)) / (2 * STEP)
        turned = pose_vertices(columns[:, index], still, np.zeros((1, 2, 3)), weights)
        np.testing.assert_allclose(turned, numeric, atol=2e-4, err_msg=str(index))
        assert np.abs(numeric).max() > 0.01


def test_pose_features_by_differences():
    pose = random_pose(np.random.default_rng(1), 3)
    slopes = pose_feature_jacobian(pose)
    for index in range(6):
        step = np.zeros((3, 12))
        step[:, 6 + index] = 1e-6
        numeric = (pose_feature(pose.moved(step)) - pose_feature(pose.moved(-step))) / 2e-6
        np.testing.assert_allclose(slopes[:, :, index], numeric, atol=1e-8)


def test_rigid_alignment_is_exact_and_never_a_reflection():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(20, 3))
    rotation = Rotation.from_rotvec(rng.normal(0, 2, (4, 3))).as_matrix()
    moved = points @ rotation.transpose(0, 2, 1) + rng.normal(size=(4, 1, 3))
    found, translation = rigid_alignment(points, moved)
    np.testing.assert_allclose(found, rotation, atol=1e-12)
    np.testing.assert_allclose(points @ found[1].T + translation[1], moved[1], atol=1e-12)
    mirrored, _ = rigid_alignment(points, points[None] * [1, 1, -1])
    assert np.linalg.det(mirrored[0]) == pytest.approx(1)


@pytest.fixture(scope="module")
def landmark_fitter():
    return Landmark3dFitter(landmark_head(), LandmarkFitConfig(sigma_mm=0.01, iterations=60))


def test_landmark_jacobian_by_differences():
    """Of a head whose joints do not follow the coefficients, which the Jacobian leaves out."""
    rng = np.random.default_rng(5)
    pose = random_pose(rng, 2)
    head = dataclasses.replace(landmark_head(), joint_regressor=np.zeros((5, 204), np.float32))
    landmark_fitter = Landmark3dFitter(head)
    coefficients = rng.normal(0, 0.5, (2, head.shape_count + head.expression_count))
    _, columns = landmark_fitter.points_and_jacobian(pose, coefficients)
    for index in range(columns.shape[3]):
        step = np.zeros((2, columns.shape[3]))
        step[:, index] = STEP
        ends = [
            landmark_fitter.points_and_jacobian(
                pose.moved(sign * step[:, :12]), coefficients + sign * step[:, 12:]
            )[0]
            for sign in (1, -1)
        ]
        numeric = (ends[0] - ends[1]) / (2 * STEP)
        np.testing.assert_allclose(columns[..., index], numeric, atol=3e-4, err_msg=str(index))


def test_exact_landmarks_are_reached(landmark_fitter):
    head = landmark_fitter.head
    made = sequence(head, 4, seed=8, degrees=10)
    with torch.no_grad():
        decoder = HeadDecoder(head)
        points = decoder.frontal_landmarks(torch.from_numpy(made.meshes).float()).numpy()
    fits = landmark_fitter(points)
    assert fits.mean_distance_mm.max() < 0.1
    with torch.no_grad():
        again = decoder.frontal_landmarks(
            torch.from_numpy(
                np.concatenate([rebuilt(head, s, _row(fits, i)) for i, s in enumerate(fits.shape)])
            )
        ).numpy()
    np.testing.assert_allclose(again, points, atol=3e-4)
    known = landmark_fitter(points, shape=made.parameters.shape.numpy())
    np.testing.assert_array_equal(known.shape, made.parameters.shape)


def _row(fits, index):
    return type(fits)(*(part[index : index + 1] for part in fits))


def test_hidden_landmarks_do_not_count(landmark_fitter):
    made = sequence(landmark_fitter.head, 2, seed=9, degrees=10)
    with torch.no_grad():
        meshes = torch.from_numpy(made.meshes).float()
        points = HeadDecoder(landmark_fitter.head).frontal_landmarks(meshes).numpy()
    seen = np.ones((2, 68), bool)
    seen[:, :17] = False
    moved = points.copy()
    moved[:, :17] += 1.0
    one, two = (landmark_fitter(given, seen=seen) for given in (points, moved))
    np.testing.assert_array_equal(one.expression, two.expression)
    with pytest.raises(UserError, match="expected 4 or more known landmarks of a head, got 0"):
        landmark_fitter(points, seen=np.zeros((2, 68), bool))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="sigma_mm"):
        MeshFitConfig(sigma_mm=0.0)
