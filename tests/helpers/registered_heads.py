"""Heads of FLAME's form for fits to meshes, and sequences of them whose parameters are known."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from helpers.ict_head import ict_head
from helpers.mica_toy import face_points, toy_head

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters


class Sequence(NamedTuple):
    """Frames of one subject: meshes [F,V,3] [m], and what they were made of."""

    meshes: np.ndarray
    parameters: HeadParameters
    translation: np.ndarray  # [F,3] [m]


def smooth_head(subdivisions: int = 3) -> HeadModel:
    """A ball with smooth modes, a neck, a jaw and eyes, and correctives of neck and jaw."""
    head = toy_head(subdivisions, shape_count=6, expression_count=4)
    x, y, z = head.template.T / 0.1
    root = np.clip((-y - 0.6) * 2, 0, 1) * 0.8
    jaw = np.clip(-y * 2, 0, 1) * np.clip(z * 2, 0, 1) * (1 - root)
    weights = np.zeros((len(x), 5))
    weights[:, 0], weights[:, 2] = root, jaw
    for joint, side in ((3, 1), (4, -1)):
        weights[(np.hypot(x - 0.35 * side, y - 0.3) < 0.2) & (z > 0.4), joint] = 1.0
    weights[:, 1] = 1 - weights.sum(1)
    waves = np.random.default_rng(9).normal(0, 3, (3, 3, 18))
    correctives = np.zeros((len(x), 3, 36))
    correctives[:, :, :18] = 0.003 * np.sin(np.einsum("vi,ick->vck", head.template / 0.1, waves))
    return dataclasses.replace(
        head,
        name="smooth",
        skinning_weights=weights.astype(np.float32),
        pose_basis=correctives.astype(np.float32),
        expression_convention="flame",
        expression_names=tuple(f"expression_{index:03d}" for index in range(4)),
        expression_bounds=None,
    )


def face_ball(shape_count: int = 6) -> HeadModel:
    """`smooth_head` with the landmarks of a face, which pictures are cropped by.

    More identity modes than 6 are zero, as in a head that has FLAME 2020's number of them.
    """
    ball = smooth_head()
    centres = ball.template[ball.triangles].mean(1)
    front = np.flatnonzero(centres[:, 2] > 0.02)
    goals = face_points()[:, :2] * 0.8
    gaps = np.linalg.norm(centres[front][None, :, :2] - goals[:, None], axis=2)
    pinned = front[gaps.argmin(1)].astype(np.int32)
    basis = np.zeros((*ball.shape_basis.shape[:2], shape_count), np.float32)
    basis[..., :6] = ball.shape_basis
    return dataclasses.replace(
        ball,
        shape_basis=basis,
        landmark_triangles=pinned[17:],
        static_contour_triangles=pinned[:17],
        contour_triangles=np.tile(pinned[:17], (79, 1)),
    )


def ict_flame_head(path: Path, vertices: int = 5023) -> HeadModel:
    """ICT-FaceKit's head with identity and expression modes in FLAME's form: jaw and neck turn by
    joints, expressions have no opening of the jaw, correctives are smooth. No eyeballs."""
    source = ict_head(path)
    skin = source.regions["skin"]
    kept = skin[np.linspace(0, len(skin) - 1, vertices).round().astype(int)]
    points = source.template[kept].astype(np.float64)
    names = list(source.expression_names)
    opening = np.linalg.norm(source.expression_basis[kept][:, :, names.index("jawOpen")], axis=1)
    jaw = np.clip(opening / np.quantile(opening, 0.98), 0, 1)
    low, high = points[:, 1].min(), points[:, 1].min() + 0.09
    root = np.clip((high - points[:, 1]) / (high - low), 0, 1) * (1 - jaw)
    weights = np.zeros((vertices, 5), np.float32)
    weights[:, 0], weights[:, 2], weights[:, 1] = root, jaw, 1 - root - jaw
    moving = [index for index, name in enumerate(names) if "jaw" not in name and "Look" not in name]
    regressor = np.zeros((5, vertices), np.float32)
    for row, joint in enumerate(
        (
            [0, -0.17, -0.02],
            [0, -0.08, 0.0],
            [0, -0.01, 0.03],
            [0.031, 0.036, 0.08],
            [-0.031, 0.036, 0.08],
        )
    ):
        regressor[row, np.argsort(((points - joint) ** 2).sum(1))[:9]] = 1 / 9
    waves = np.random.default_rng(3).normal(0, 15, (3, 3, 18))
    correctives = np.zeros((vertices, 3, 36), np.float32)
    correctives[:, :, :18] = 0.002 * np.sin(np.einsum("vi,ick->vck", points, waves))
    landmarks = {
        name: getattr(source, name)
        for name in (
            "landmark_triangles",
            "contour_triangles",
            "static_contour_triangles",
        )
    }
    order = np.full(source.vertices_count, -1)
    nearest = np.searchsorted(kept, np.arange(source.vertices_count)).clip(0, vertices - 1)
    order[:] = nearest
    triangles = order[source.triangles]
    return HeadModel(
        name="ict-flame",
        version="1",
        licence=source.licence,
        template=points.astype(np.float32),
        triangles=triangles.astype(np.int32),
        shape_basis=source.shape_basis[kept],
        expression_basis=np.ascontiguousarray(source.expression_basis[kept][:, :, moving]),
        pose_basis=correctives,
        joint_regressor=regressor,
        skinning_weights=weights,
        landmark_barycentric=source.landmark_barycentric,
        contour_barycentric=source.contour_barycentric,
        static_contour_barycentric=source.static_contour_barycentric,
        expression_convention="flame",
        expression_names=tuple(f"expression_{index:03d}" for index in range(len(moving))),
        **landmarks,
    )


@torch.no_grad()
def sequence(head: HeadModel, frames: int, seed: int = 0, *, degrees: float = 25.0) -> Sequence:
    """Random expressions, jaws, necks, rotations and places of one person."""
    rng = np.random.default_rng(seed)
    turn = np.deg2rad(degrees)
    shape = np.tile(rng.standard_normal(head.shape_count), (frames, 1))
    expression = rng.standard_normal((frames, head.expression_count))
    if head.expression_bounds is not None:
        expression = rng.uniform(*head.expression_bounds, expression.shape) ** 3
    jaw = rng.uniform([0.0, -0.08, -0.05], [0.4, 0.08, 0.05], (frames, 3))
    neck, rotation = (rng.uniform(-turn, turn, (frames, 3)) for _ in range(2))
    eyes = np.zeros((frames, 3))
    rows = (shape, expression, rotation, neck, jaw, eyes, eyes)
    parameters = HeadParameters(*(torch.from_numpy(row).float() for row in rows))
    translation = rng.uniform(-0.3, 0.3, (frames, 3))
    decoder = HeadDecoder(head).double()
    vertices = decoder(HeadParameters(*(part.double() for part in parameters))).vertices.numpy()
    return Sequence(vertices + translation[:, None], parameters, translation)
