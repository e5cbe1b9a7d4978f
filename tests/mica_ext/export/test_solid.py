"""Heads closed for printing, by trimesh's judgement."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh
from helpers.mica_toy import toy_head

from flame_assets.arkit import arkit
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.export.solid import boundary_loops, is_closed, solid_surface

TOY = toy_head()


def opened(head, hole):
    """`head` without the triangles whose centres `hole` picks."""
    centres = head.template[head.triangles].mean(axis=1)
    keep = ~hole(centres)
    kept = np.cumsum(keep) - 1

    def moved(triangles):
        return np.where(keep[triangles], kept[triangles], 0).astype(np.int32)

    return dataclasses.replace(
        head,
        triangles=head.triangles[keep],
        uv=None,
        uv_triangles=None,
        landmark_triangles=moved(head.landmark_triangles),
        contour_triangles=moved(head.contour_triangles),
        static_contour_triangles=moved(head.static_contour_triangles),
    )


def test_a_cut_ellipsoid_gets_its_volume_back_but_for_the_caps():
    """The ball's own volume less the two spherical caps cut off at y = -0.06 and z = 0.085 m."""
    head = opened(toy_head(4), lambda c: (c[:, 1] < -0.06) | (c[:, 2] > 0.085))
    assert len(boundary_loops(head.triangles)) == 2
    surface = solid_surface(head, head.template)
    mesh = trimesh.Trimesh(surface.vertices, surface.triangles, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    whole = 4 / 3 * np.pi * 0.075 * 0.115 * 0.095

    def cap(share):  # volume of a unit ball's cap beyond `share` of its radius, over the ball's
        return (2 + share) * (1 - share) ** 2 / 4

    expected = whole * (1 - cap(0.06 / 0.115) - cap(0.085 / 0.095))
    assert mesh.volume == pytest.approx(expected, rel=0.04)
    assert len(surface.colours) == len(surface.vertices)


@pytest.mark.parametrize(
    "weights", [{}, {"jawOpen": 1.0}, {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 1}]
)
def test_anthro_is_watertight_with_any_face(weights):
    head = load_head("anthro")
    pose = arkit(weights, head.expression_names)
    parameters = HeadParameters.zeros(head)._replace(
        expression=torch.from_numpy(pose.expression)[None],
        jaw_pose=torch.from_numpy(pose.jaw_pose)[None],
    )
    vertices = HeadDecoder(head)(parameters).vertices[0].numpy()
    surface = solid_surface(head, vertices)
    mesh = trimesh.Trimesh(surface.vertices, surface.triangles, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert 3.5e-3 < mesh.volume < 5.5e-3  # cubic metres: a head and its neck
    assert all(part.volume > 0 for part in mesh.split())
    assert len(mesh.split()) == 3  # skin and two eyeballs


def test_triangles_that_are_no_surface_are_refused():
    triangles = np.concatenate([TOY.triangles, TOY.triangles[:1]])
    assert not is_closed(triangles)
    twice = dataclasses.replace(TOY, triangles=triangles, uv=None, uv_triangles=None)
    with pytest.raises(UserError, match="cannot be closed"):
        solid_surface(twice, TOY.template)
