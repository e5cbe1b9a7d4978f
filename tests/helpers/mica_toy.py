"""A small head model for tests that need any head: a deformed ball with plausible joints."""

import numpy as np
import trimesh

from flame_assets.model.head import HeadModel


def toy_head(subdivisions: int = 3, shape_count: int = 4, expression_count: int = 3) -> HeadModel:
    ball = trimesh.creation.icosphere(subdivisions)
    template = (ball.vertices * [0.075, 0.115, 0.095]).astype(np.float32)
    triangles = ball.faces.astype(np.int32)
    count, generator = len(template), np.random.default_rng(5)
    low_order = np.concatenate([ball.vertices, ball.vertices**2, ball.vertices**3], axis=1)
    modes = shape_count + expression_count
    basis = 0.003 * low_order @ generator.standard_normal((9, 3 * modes))
    basis = basis.reshape(count, 3, modes).astype(np.float32)
    expression = basis[..., shape_count:] * (template[:, 2] > 0.03)[:, None, None]
    regressor = np.zeros((5, count), np.float32)
    joints = [
        [0, -0.09, 0],
        [0, -0.05, 0],
        [0, -0.02, 0.02],
        [0.03, 0.03, 0.06],
        [-0.03, 0.03, 0.06],
    ]
    for row, joint in enumerate(joints):
        near = np.argsort(((template - np.array(joint)) ** 2).sum(axis=1))[:12]
        regressor[row, near] = 1 / 12
    weights = np.zeros((count, 5), np.float32)
    jaw = np.clip((-0.02 - template[:, 1]) / 0.05, 0, 1) * (template[:, 2] > 0)
    weights[:, 1], weights[:, 2] = 1 - jaw, jaw
    front = np.flatnonzero(ball.triangles_center[:, 2] > 0.4)
    rim = np.flatnonzero(np.abs(ball.triangles_center[:, 2]) < 0.3)
    thirds = np.float32(1 / 3)
    uv = np.stack(
        [np.arctan2(template[:, 0], template[:, 2]) / 6.3 + 0.5, template[:, 1] * 4 + 0.5], 1
    )
    seam = np.ptp(uv[triangles, 0], axis=1) > 0.5
    uv_triangles = triangles.copy()
    uv_triangles[seam] += count  # a second copy of each vertex for the triangles at the seam
    return HeadModel(
        name="toy",
        version="1",
        licence="none needed",
        template=template,
        triangles=triangles,
        shape_basis=basis[..., :shape_count].copy(),
        expression_basis=expression.astype(np.float32),
        pose_basis=np.zeros((count, 3, 36), np.float32),
        joint_regressor=regressor,
        skinning_weights=weights,
        landmark_triangles=generator.choice(front, 51).astype(np.int32),
        landmark_barycentric=np.full((51, 3), thirds),
        contour_triangles=np.tile(rim[:17].astype(np.int32), (79, 1)),
        contour_barycentric=np.full((79, 17, 3), thirds),
        static_contour_triangles=rim[:17].astype(np.int32),
        static_contour_barycentric=np.full((17, 3), thirds),
        expression_convention="pca",
        expression_names=tuple(f"move{i}" for i in range(expression_count)),
        expression_bounds=(0.0, 1.0),
        colours=np.clip(template * 3 + 0.5, 0, 1).astype(np.float32),
        uv=np.concatenate([uv, uv + 0.001]).astype(np.float32),
        uv_triangles=uv_triangles,
    )
