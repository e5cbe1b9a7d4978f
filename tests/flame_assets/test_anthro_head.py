"""The Anthro head as a mesh and a rig: what every user of it relies on."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from flame_assets.anthro import EXPRESSIONS, build_anthro
from flame_assets.formats.contour_direction import contour_direction_score
from flame_assets.model.fingerprint import Fingerprint, differing, fingerprint
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.model.landmarks import contour_row

KNOWN = {
    "2.3": Fingerprint(
        template=1.899304038,
        shape_basis=0.0119209259,
        expression_basis=-0.1063177816,
        pose_basis=0.0,
        skinning_weights=-5.2214312073,
        joint_regressor=-0.0289518202,
        triangles=-1.6786173775,
        landmarks=0.0782186217,
        contours=0.0013660592,
        lid_contacts=0.0529885797,
    )
}
"""One entry: saved parameters belong to a version, so another geometry needs another number."""


def edges_of(triangles):
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def smallest_angles(vertices, triangles):
    corners = vertices[triangles].astype(float)
    angles = []
    for k in range(3):
        a = corners[:, (k + 1) % 3] - corners[:, k]
        b = corners[:, (k + 2) % 3] - corners[:, k]
        cosine = np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return np.min(angles, axis=0)


def test_every_edge_has_two_consistent_sides_but_neck_and_lids(head):
    edges = edges_of(head.triangles)
    assert len(np.unique(edges, axis=0)) == len(edges), "an edge runs the same way twice"
    undirected, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    assert count.max() == 2
    ends = np.unique(undirected[count == 1])
    joints = head.joint_regressor @ head.template
    at_neck = np.isin(ends, head.regions["boundary"])
    at_eye = np.min([np.linalg.norm(head.template[ends] - joints[k], axis=1) for k in (3, 4)], 0)
    assert at_neck.sum() > 40
    assert np.all(at_neck | (at_eye < 0.0125))
    assert np.isin(np.arange(head.vertices_count), head.triangles).all()


def test_triangles_face_outward(head):
    a, b, c = (head.template[head.triangles[:, k]].astype(float) for k in range(3))
    volume = np.einsum("fi,fi->", a, np.cross(b, c)) / 6
    assert 0.003 < volume < 0.008  # m^3: an adult head with its neck has 4 to 6 litres
    for name in ("left_eyeball", "upper_teeth", "lower_teeth", "tongue"):
        own = np.isin(head.triangles, head.regions[name]).all(axis=1)
        assert np.einsum("fi,fi->", a[own], np.cross(b[own], c[own])) > 0


def test_triangles_are_well_shaped(head):
    angles = smallest_angles(head.template, head.triangles)
    assert np.percentile(angles, 5) > 12
    assert np.median(angles) > 38
    assert angles.min() > 0.5


def test_the_neutral_head_is_its_own_mirror_image(head):
    order = np.lexsort(np.round(head.template * 1e6).astype(int).T)
    mirrored = head.template * np.array([-1, 1, 1], np.float32)
    mirror_order = np.lexsort(np.round(mirrored * 1e6).astype(int).T)
    np.testing.assert_allclose(head.template[order], mirrored[mirror_order], atol=2e-6)


def test_size_and_frame_are_an_adults(head):
    low, high = head.template.min(axis=0), head.template.max(axis=0)
    skin = head.template[head.regions["skin"]]
    assert 0.145 < np.ptp(skin[:, 0]) < 0.165
    assert 0.28 < high[1] - low[1] < 0.32
    tip = head.template[np.argmax(head.template[:, 2])]
    assert abs(tip[0]) < 1e-6
    assert -0.045 < tip[1] < -0.025


def test_upper_lids_have_an_edge_and_a_crease(head):
    skin = head.template[head.regions["left_eye_region"]] * 1e3
    over_pupil = skin[(np.abs(skin[:, 0] - 32) < 1.6) & (skin[:, 1] > 4.8) & (skin[:, 1] < 9.9)]
    height, depth = over_pupil[np.argsort(over_pupil[:, 1])][:, 1:].T
    edge, fold = depth[height < 6].max(), depth[height > 8.5].max()
    assert min(edge, fold) - depth[(height > 6) & (height < 8.5)].min() > 0.15
    joint = head.joint_regressor[3] @ head.template * 1e3
    assert edge - joint[2] > 14.1  # the edge stands before the margin, 13.5 mm from the centre


def test_joints_sit_where_flames_do(head):
    joints = head.joint_regressor @ head.template
    np.testing.assert_allclose(head.joint_regressor.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(joints[3], [0.0312, 0, 0.0736], atol=2e-4)
    np.testing.assert_allclose(joints[4], [-0.0312, 0, 0.0736], atol=2e-4)
    np.testing.assert_allclose(joints[2], [0, -0.016, 0.006], atol=1e-3)
    assert joints[0, 1] < joints[1, 1] < -0.1


def test_skinning_follows_the_bones(head):
    weights = head.skinning_weights
    assert weights.min() >= 0
    assert (weights[head.regions["left_eyeball"], 3] == 1).all()
    assert (weights[head.regions["lower_teeth"], 2] == 1).all()
    assert (weights[head.regions["upper_teeth"], 2] == 0).all()
    assert weights[head.regions["forehead"], 2].max() < 0.02
    assert weights[head.regions["boundary"], 0].min() > 0.99


def test_opening_the_jaw_opens_the_mouth(head):
    model = HeadDecoder(head)
    still = HeadParameters.zeros(head, 2)
    jaw = still.jaw_pose.clone()
    jaw[1, 0] = np.radians(19)
    mesh = model(still._replace(jaw_pose=jaw))
    gap = (mesh.landmarks[:, 62, 1] - mesh.landmarks[:, 66, 1]) * 1e3
    assert abs(gap[0]) < 0.1  # closed lips touch
    assert 25 < gap[1] < 50
    assert (mesh.landmarks[1, 27:48] - mesh.landmarks[0, 27:48]).abs().max() < 1e-4


def test_landmarks_lie_where_their_names_say(head):
    points = HeadDecoder(head)(HeadParameters.zeros(head, 1)).landmarks[0].numpy() * 1e3
    twins = [*zip(range(17), range(16, -1, -1), strict=True)]
    twins += [*zip(range(17, 22), range(26, 21, -1), strict=True), (31, 35), (32, 34)]
    twins += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    twins += [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65)]
    for right, left in twins:
        np.testing.assert_allclose(points[right] * [-1, 1, 1], points[left], atol=0.05)
    assert (points[22:27, 0] > 5).all()  # 22..26 are the subject's left brow
    np.testing.assert_allclose(points[[8, 27, 28, 29, 30, 33, 51, 57, 62, 66], 0], 0, atol=0.05)
    assert (np.diff(points[0:9, 1]) < 0).all()
    assert (np.diff(points[27:31, 2]) > 0).all()
    assert points[30, 2] == points[:, 2].max()
    assert 35 < points[42, 0] - points[39, 0] < 39
    assert points[19, 1] > points[37, 1] > points[41, 1] > points[33, 1] > points[51, 1]
    assert points[51, 1] > points[62, 1] > points[57, 1] > points[8, 1]
    width = points[54, 0] - points[48, 0]
    assert points[64, 0] - points[60, 0] < width
    assert (np.abs(points[0:17, 0]) <= 80).all()


@pytest.mark.parametrize("degrees", [15, 30, 39])
def test_contour_slides_to_the_outline_on_the_far_side(head, degrees):
    row = int(contour_row(torch.tensor([np.radians(degrees)]))[0])
    corners = head.template[head.triangles[head.contour_triangles]].astype(float)
    points = np.einsum("rnci,rnc->rni", corners, head.contour_barycentric)
    angle = np.radians(degrees)
    turned = points @ np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0],
                                [np.sin(angle), 0, np.cos(angle)]])  # fmt: skip
    # turned to the subject's left: its left contour is hidden and must move outward in the picture
    assert (turned[row, 10:16, 0] >= turned[0, 10:16, 0] - 1e-4).all()
    assert (turned[row, 11:14, 0] > turned[0, 11:14, 0] + 1e-3).any()
    np.testing.assert_allclose(points[row, :8], points[0, :8], atol=1e-7)
    other = int(contour_row(torch.tensor([-angle]))[0])
    np.testing.assert_allclose(points[other, ::-1] * [-1, 1, 1], points[row], atol=1e-4)


def test_the_contour_table_looks_the_way_it_is_looked_up(head):
    assert contour_direction_score(head) > 1e-3  # [m]
    rows = [0, *range(40, 79), *range(1, 40)]
    opposite = dataclasses.replace(
        head,
        contour_triangles=head.contour_triangles[rows],
        contour_barycentric=head.contour_barycentric[rows],
    )
    assert contour_direction_score(opposite) == pytest.approx(-contour_direction_score(head))


def test_regions_and_expressions_are_named(head):
    names = (
        "face lips nose neck forehead scalp left_ear right_ear left_eyeball right_eyeball tongue"
    )
    assert set(names.split()) <= set(head.regions)
    assert head.expression_names == EXPRESSIONS
    assert len(EXPRESSIONS) == 51
    assert "tongueOut" not in EXPRESSIONS
    assert head.expression_bounds == (0.0, 1.0)
    lips = head.template[head.regions["lips"]]
    assert np.abs(lips[:, 0]).max() < 0.03
    assert -0.08 < lips[:, 1].min() < lips[:, 1].max() < -0.05


@pytest.mark.slow  # the fingerprint of another build is checked below
def test_two_builds_are_the_same_bytes(head):
    again = build_anthro()
    for item in dataclasses.fields(head):
        first, second = getattr(head, item.name), getattr(again, item.name)
        if isinstance(first, np.ndarray):
            assert first.tobytes() == second.tobytes(), item.name


def test_the_version_is_raised_with_the_geometry(head):
    changed = differing(fingerprint(head), KNOWN[head.version])
    assert not changed, "raise VERSION in anthro/build.py and write the new numbers into KNOWN"


@pytest.mark.slow
def test_other_processors_build_the_same_head(head):
    code = (
        "import json; from flame_assets.anthro import build_anthro; "
        "from flame_assets.model.fingerprint import fingerprint; "
        "print(json.dumps(fingerprint(build_anthro())))"
    )
    old = os.environ | {"OPENBLAS_CORETYPE": "Prescott"}  # other kernels, other last bits
    done = subprocess.run([sys.executable, "-c", code], env=old, capture_output=True, check=True)
    there = Fingerprint(*json.loads(done.stdout))
    assert differing(there, fingerprint(head)) == ()
