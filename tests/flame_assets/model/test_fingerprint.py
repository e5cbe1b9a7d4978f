"""A fingerprint is the same wherever the head is, and changes with anything its mesh is made of."""

import dataclasses

import numpy as np
import pytest
from helpers.flame_tiny import tiny_head

from flame_assets.model.fingerprint import Fingerprint, differing, fingerprint
from flame_assets.model.head import LidContact
from flame_assets.model.head_io import load_head_folder, save_head


def test_it_survives_the_disk_and_the_last_bits(tmp_path):
    head = tiny_head()
    first = fingerprint(head)
    assert fingerprint(load_head_folder(save_head(head, tmp_path / "head"))) == first
    noise = np.random.default_rng(0).standard_normal(head.shape_basis.shape).astype(np.float32)
    close = dataclasses.replace(head, shape_basis=head.shape_basis + np.float32(1e-10) * noise)
    assert differing(fingerprint(close), first) == ()
    assert differing(Fingerprint(*map(float, first)), first) == ()  # as a JSON list gives it back


def moved(array, by):
    array = array.copy()
    array.flat[-1] += by
    return array


def other_first(head, name):
    ids = getattr(head, name).copy()
    ids.flat[0] = (ids.flat[0] + 1) % len(head.triangles)
    return ids


def swapped_modes(head):
    return head.shape_basis[:, :, ::-1].copy()


HEAD = tiny_head()
WIDER = LidContact(joint=3, vertices=HEAD.lid_contacts[0].vertices, radius=np.float32([0.201]))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"template": moved(HEAD.template, 1e-5)}, {"template"}),
        ({"shape_basis": moved(HEAD.shape_basis, 1e-5)}, {"shape_basis"}),
        ({"shape_basis": swapped_modes(HEAD)}, {"shape_basis"}),
        ({"expression_basis": moved(HEAD.expression_basis, 1e-5)}, {"expression_basis"}),
        ({"pose_basis": moved(HEAD.pose_basis, 1e-5)}, {"pose_basis"}),
        ({"skinning_weights": moved(HEAD.skinning_weights, 1e-3)}, {"skinning_weights"}),
        ({"joint_regressor": moved(HEAD.joint_regressor, 1e-3)}, {"joint_regressor"}),
        ({"triangles": HEAD.triangles[:, ::-1].copy()}, {"triangles"}),
        ({"landmark_triangles": other_first(HEAD, "landmark_triangles")}, {"landmarks"}),
        ({"contour_triangles": other_first(HEAD, "contour_triangles")}, {"contours"}),
        ({"static_contour_triangles": other_first(HEAD, "static_contour_triangles")}, {"contours"}),
        ({"lid_contacts": (WIDER, HEAD.lid_contacts[1])}, {"lid_contacts"}),
        ({"name": "other", "colours": np.ones((24, 3), np.float32), "regions": {}}, set()),
    ],
)
def test_it_tells_which_part_is_another(changes, parts):
    told = differing(fingerprint(tiny_head(**changes)), fingerprint(HEAD))
    assert parts <= set(told)
    assert bool(told) == bool(parts)
