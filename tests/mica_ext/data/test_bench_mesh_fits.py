"""The bench of mesh fits measures errors that are there, on a head of FLAME's sizes."""

import numpy as np
import pytest
from bench.mesh_fits import EXPRESSIONS, SHAPES, errors, flame_sized
from helpers.registered_heads import sequence, smooth_head

from flame_assets.fitting.registered_mesh import MeshFits


def test_heads_get_flames_numbers_of_modes():
    head = flame_sized(smooth_head(2))
    assert (head.shape_count, head.expression_count) == (SHAPES, EXPRESSIONS)


def test_errors_are_the_largest_of_all_frames():
    made = sequence(smooth_head(2), 3)
    truth = made.parameters
    jaw = truth.jaw_pose.numpy().copy()
    exact = MeshFits(
        truth.expression.numpy(),
        truth.global_pose.numpy(),
        truth.neck_pose.numpy(),
        jaw,
        made.translation.astype(np.float32),
        np.zeros(3, np.float32),
        np.array([0.1, 0.3, 0.2], np.float32),
    )
    assert errors(made, exact)[1:] == pytest.approx((0, 0), abs=1e-4)
    jaw[1] = 0.0
    found = errors(made, exact._replace(jaw_pose=jaw))
    assert found.vertex_mm == pytest.approx(0.3)
    opened = np.rad2deg(np.linalg.norm(truth.jaw_pose.numpy()[1]))
    assert found.jaw_degrees == pytest.approx(opened, rel=1e-4)
