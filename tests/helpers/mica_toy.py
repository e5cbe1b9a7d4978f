"""Small head models: a deformed ball with plausible joints, and a schematic face."""

import numpy as np
import torch
import trimesh

from flame_assets.model.fingerprint import fingerprint
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from mica_ext.export.face_json import ModelPack, Provenance, SavedFace, Source
from mica_ext.models.pose import Pose
from mica_ext.models.quality import Quality
from mica_ext.models.types import Camera, FaceParameters


def toy_head(subdivisions: int = 3, shape_count: int = 4, expression_count: int = 3) -> HeadModel:
    """A closed surface for renderers and writers: icosphere, smooth modes, colours, UVs."""
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


def face_points() -> np.ndarray:
    """The 68 iBUG landmarks [m] of a schematic face 14 cm wide, [68,3]."""
    outline = np.linspace(-np.pi / 2, np.pi / 2, 17)
    contour = np.stack([0.068 * np.sin(outline), -0.085 * np.cos(outline), 0 * outline], 1)

    def row(x0, x1, y, n, bow=0.0):
        x = np.linspace(x0, x1, n)
        return np.stack([x, y + bow * np.sin(np.linspace(0, np.pi, n)), 0 * x], 1)

    def ring(cx, cy, rx, ry, n, start=np.pi):
        a = start - np.linspace(0, 2 * np.pi, n, endpoint=False)
        return np.stack([cx + rx * np.cos(a), cy + ry * np.sin(a), 0 * a], 1)

    bridge = np.stack([np.zeros(4), np.linspace(0.0, -0.03, 4), np.zeros(4)], 1)
    parts = [contour, row(-0.05, -0.012, 0.02, 5, 0.008), row(0.012, 0.05, 0.02, 5, 0.008), bridge]
    parts += [row(-0.015, 0.015, -0.04, 5), ring(-0.03, 0, 0.014, 0.005, 6)]
    parts += [ring(0.03, 0, 0.014, 0.005, 6), ring(0, -0.06, 0.026, 0.01, 12)]
    parts += [ring(0, -0.06, 0.02, 0.003, 8)]
    points = np.concatenate(parts)
    x, y = points[:, 0], points[:, 1]
    points[:, 2] = 0.10 - 9.0 * x**2 - 3.0 * (y + 0.02) ** 2
    points[27:31, 2] += np.linspace(0.003, 0.022, 4)
    points[31:36, 2] += 0.008
    points[:17, 2] -= 0.02
    return points


def landmark_head(shape_count: int = 6) -> HeadModel:
    """68 separate triangles, the first corner of each on a landmark; smooth modes of made-up
    shape, jaw and pose correctives; two expressions move the brows, two the eyes, four the mouth.
    """
    rng = np.random.default_rng(0)
    spots = face_points()
    corners = spots[:, None] + [[0, 0, 0], [0.002, 0, 0], [0, 0.002, 0]]
    template = corners.reshape(-1, 3)

    def modes(count, size, region=slice(None)):
        """Smooth fields; an expression moves one part of the face."""
        waves = rng.normal(0, 25, (count, 3, 3))
        phases = rng.uniform(0, 2 * np.pi, (count, 3))
        field = np.sin(np.einsum("kxc,vc->vxk", waves, template) + phases.T)
        keep = np.zeros(68)
        keep[region] = 1
        return size * field * keep.repeat(3)[:, None, None]

    mouth, eyes, brows = slice(48, 68), slice(36, 48), slice(17, 27)
    parts = [modes(4, 0.006, mouth), modes(2, 0.004, eyes), modes(2, 0.005, brows)]
    expression = np.concatenate(parts, -1)
    jaw = np.zeros(68)
    jaw[[4, 5, 11, 12]] = 0.7
    jaw[[*range(6, 11), *range(55, 60), *range(65, 68)]] = 1.0
    skinning = np.zeros((204, 5))
    skinning[:, 2] = jaw.repeat(3)
    skinning[:, 1] = 1 - skinning[:, 2]
    regressor = np.zeros((5, 204))
    regressor[0, [0, 48]] = 0.5  # root and neck between the ears, near the back
    regressor[1, [0, 48]] = 0.5
    regressor[2, [3, 39]] = 0.5
    regressor[3, 126] = regressor[4, 108] = 1
    inner = np.arange(17, 68, dtype=np.int32)
    outer = np.arange(17, dtype=np.int32)
    first = np.array([1, 0, 0], np.float32)

    def f32(a):
        return np.ascontiguousarray(a, np.float32)

    return HeadModel(
        name="toy", version="1", licence="test", template=f32(template),
        triangles=np.arange(204, dtype=np.int32).reshape(68, 3),
        shape_basis=f32(modes(shape_count, 0.0015)), expression_basis=f32(expression),
        pose_basis=f32(rng.normal(0, 0.002, (204, 3, 36))),
        joint_regressor=f32(regressor), skinning_weights=f32(skinning),
        landmark_triangles=inner, landmark_barycentric=f32(np.tile(first, (51, 1))),
        contour_triangles=np.tile(outer, (79, 1)),
        contour_barycentric=f32(np.tile(first, (79, 17, 1))),
        static_contour_triangles=outer, static_contour_barycentric=f32(np.tile(first, (17, 1))),
        expression_convention="pca",
        expression_names=tuple(f"move{i}" for i in range(expression.shape[-1])),
        expression_bounds=(0.0, 1.0),
    )  # fmt: skip


def toy_face(head: HeadModel, pose: Pose = "expressive") -> SavedFace:
    """Random parameters with everything that a parameter file holds."""
    generator = torch.Generator().manual_seed(2)
    zeros = HeadParameters.zeros(head)
    parameters = HeadParameters(*(torch.randn(v.shape, generator=generator) * 0.3 for v in zeros))
    parameters = parameters._replace(expression=parameters.expression.abs().clamp(max=1))
    camera = Camera(
        torch.tensor([901.5]), torch.tensor([[3.25, 4.1]]), torch.tensor([[0.0, 0.1, -0.6]])
    )
    made_with = Provenance(
        Source(head.name, head.version, head.licence),
        Source("w", "2", "research only"),
        Source("d", "3", "MIT"),
        ModelPack("p", "tests only"),
    )
    return SavedFace(
        FaceParameters(parameters, camera),
        pose,
        made_with,
        fingerprint(head),
        "a b.jpg",
        (640, 480),
        (1.0, 2.0, 3.5, 4.0),
        Quality("unsure", ("the face is small; expect a coarse result",)),
    )
