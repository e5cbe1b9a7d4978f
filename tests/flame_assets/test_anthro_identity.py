"""Anthro's people: 100 unit-normal modes whose measures spread as adults' do."""

import igl
import numpy as np
import pytest
import torch

from flame_assets.anthro.identity.measures import MEASURES, ends
from flame_assets.anthro.surface.control_set import control_set
from flame_assets.model.head_module import HeadDecoder, HeadParameters

SAMPLES = 600


@pytest.fixture(scope="module")
def named_points(head):
    """Name -> closest surface point of the neutral, and of SAMPLES random people, in mm."""
    controls = control_set()
    skin = np.isin(head.triangles, head.regions["skin"]).all(axis=1)
    triangles = head.triangles[skin].astype(np.int64)
    names = sorted({m.first for m in MEASURES} | {m.second for m in MEASURES if m.second})
    wanted = np.stack([controls.at(name) for name in names]) * 1e-3
    wanted = np.concatenate([wanted, wanted * [-1, 1, 1]])  # their mirror images follow
    vertices = head.template.astype(float)
    _, face, closest = igl.point_mesh_squared_distance(wanted, vertices, triangles)
    corners = triangles[face]
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    weights = np.stack(
        [np.linalg.lstsq(np.stack([p, q, r], 1), x, rcond=None)[0]
         for p, q, r, x in zip(a, b, c, closest, strict=True)]
    )  # fmt: skip
    basis = np.einsum("ncik,nc->nik", head.shape_basis[corners].astype(float), weights)
    coefficients = np.random.default_rng(1).standard_normal((head.shape_count, SAMPLES))
    people = closest[:, :, None] + np.einsum("nik,ks->nis", basis, coefficients)
    index = {name: k for k, name in enumerate(names)}
    return index, closest * 1e3, people * 1e3


def length(points, measure, index):
    """Length of a measure; breadths run to the mirror image."""
    first = index[measure.first]
    second = first + len(index) if measure.second is None else index[measure.second]
    return np.linalg.norm(points[first] - points[second], axis=0)


def test_means_are_the_stated_ones(named_points):
    index, neutral, _ = named_points
    off = {m.name: length(neutral, m, index) - m.mean for m in MEASURES if m.mean is not None}
    assert all(abs(value) < 1.0 for value in off.values()), off


def test_spreads_are_the_stated_ones(named_points):
    index, _, people = named_points
    ratio = {m.name: np.std(length(people, m, index)) / m.sd for m in MEASURES}
    assert all(0.8 < value < 1.2 for value in ratio.values()), ratio


def test_ends_of_a_breadth_are_mirror_images():
    controls = control_set()
    a, b = ends(MEASURES[0], controls.at)
    np.testing.assert_allclose(a * [-1, 1, 1], b)


def test_modes_are_ordered_and_a_few_are_antisymmetric(head):
    assert head.shape_count == 100
    mirrored = head.template * np.array([-1, 1, 1], np.float32)
    order = np.lexsort(np.round(head.template * 1e6).astype(int).T)
    mirror_order = np.lexsort(np.round(mirrored * 1e6).astype(int).T)
    twin = np.empty(len(order), int)
    twin[mirror_order] = order
    flipped = head.shape_basis[twin] * np.array([-1, 1, 1])[None, :, None]
    size = np.linalg.norm(head.shape_basis, axis=(0, 1))
    even = np.linalg.norm(head.shape_basis + flipped, axis=(0, 1)) / (2 * size)
    odd = np.sum(even < 0.05)
    assert 4 <= odd <= 10
    assert np.sum(even > 0.95) == 100 - odd
    face = head.template[:, 2] > 0.015
    energy = (head.shape_basis.astype(float) ** 2).sum(axis=1)
    energy = energy[face].sum(axis=0) + 0.25 * energy[~face].sum(axis=0)
    smooth = np.convolve(np.log(energy), np.ones(9) / 9, "valid")
    assert (np.diff(smooth) < 0.12).all()


def test_people_keep_their_eyes_in_their_lids(head):
    shape = torch.from_numpy(np.random.default_rng(5).standard_normal((20, 100), np.float32))
    mesh = HeadDecoder(head)(HeadParameters.zeros(head, 20)._replace(shape=shape))
    lids = torch.from_numpy(np.array(head.regions["left_lid_margin"])).long()
    distance = (mesh.vertices[:, lids] - mesh.joints[:, 3:4]).norm(dim=2) * 1e3
    assert distance.min() > 13.0  # the globe with its cornea reaches 12.25
    assert distance.max() < 22


def test_ears_stay_attached(head):
    ears = np.isin(head.triangles, head.regions["left_ear"])
    root = head.triangles[ears.any(axis=1) & ~ears.all(axis=1)]
    edges = np.concatenate([root[:, [0, 1]], root[:, [1, 2]], root[:, [2, 0]]])
    rest = np.linalg.norm(head.template[edges[:, 0]] - head.template[edges[:, 1]], axis=1)
    rng = np.random.default_rng(7)
    for _ in range(20):
        person = head.template + head.shape_basis @ rng.standard_normal(100).astype(np.float32)
        lengths = np.linalg.norm(person[edges[:, 0]] - person[edges[:, 1]], axis=1)
        assert (lengths < 1.8 * rest + 1e-3).all()


def test_the_mouths_inside_stays_inside_whatever_the_person(head):
    from mica_ext.render.shading import render
    from mica_ext.render.views import View

    flame = HeadDecoder(head)
    people = np.random.default_rng(3).standard_normal((4, head.shape_count)).astype(np.float32)
    chin = head.regions["face"][np.argmin(head.template[head.regions["face"], 1])]
    height = head.shape_basis[chin, 1] - head.shape_basis[head.regions["nose"], 1].mean(axis=0)
    people[0] = 3 * height / np.linalg.norm(height)  # a child's short chin, 3 SD
    parameters = HeadParameters.zeros(head, 4)._replace(shape=torch.from_numpy(people))
    colours = np.zeros((head.vertices_count, 3), np.float32)
    colours[:, 2] = 1.0
    inside = np.setdiff1d(head.regions["mouth_inside"], head.regions["lips"])
    colours[inside] = [1, 0, 0]
    view = View(900.0, np.array([64.0, 64.0]), np.array([0, 0.06, -0.6]), np.eye(3))
    for vertices in flame(parameters).vertices.numpy():
        white = np.full((128, 128, 3), 255, np.uint8)
        picture = render(vertices, head.triangles, view, white, colours=colours).picture.astype(int)
        assert not (picture[..., 0] - picture[..., 2] > 60).any()
