"""Random heads, cameras and lights for rendered faces."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32

from flame_assets.arkit import ArkitPose, arkit
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from mica_ext.data.synthetic.expressions import sample_expression
from mica_ext.models.types import Camera
from mica_ext.render.shading import Lighting

MAX_ROTATION = np.deg2rad([30.0, 60.0, 30.0])
"""Largest pitch, yaw and roll [rad]."""
UNIFORM_ROTATIONS = 0.35
"""Fraction of heads rotated uniformly within `MAX_ROTATION`; the others are nearly frontal."""


def sample_head(
    generator: np.random.Generator, head: HeadModel, max_yaw: float | None = None
) -> HeadParameters:
    """Random identity, a natural expression, gaze and head rotation; a batch of one.

    Rotation is shared between neck and root joint; `max_yaw` is that of `sample_head_rotation`.
    """
    shape = generator.standard_normal(head.shape_count) * generator.uniform(0.8, 1.15)
    if head.expression_convention == "arkit":
        names = head.expression_names
        pose = arkit(sample_expression(generator, names), names)
    else:
        expression = generator.standard_normal(head.expression_count)
        jaw = np.array([max(0.0, generator.normal(0.02, 0.14)), 0.0, 0.0])
        gaze = generator.normal(0, [0.10, 0.16, 0.0])
        pose = ArkitPose(*(row.astype(np.float32) for row in (expression, jaw, gaze, gaze)))
    rotation = sample_head_rotation(generator, max_yaw)
    neck = generator.uniform(0, 0.4)
    rows = (shape, pose.expression, rotation * (1 - neck), rotation * neck, *pose[1:])
    return HeadParameters(*(torch.from_numpy(row.astype(np.float32)[None]) for row in rows))


def sample_head_rotation(
    generator: np.random.Generator, max_yaw: float | None = None
) -> Float[np.ndarray, "3"]:
    """Rotation vector [rad] of Rz(roll) Rx(pitch) Ry(yaw).

    `max_yaw` is the largest yaw of heads that are rotated uniformly [rad]; None: `MAX_ROTATION`'s.
    """
    if generator.random() < UNIFORM_ROTATIONS:
        pitch, yaw, roll = generator.uniform(-1, 1, 3) * MAX_ROTATION
        yaw *= 1.0 if max_yaw is None else max_yaw / MAX_ROTATION[1]
    else:
        sigma = np.deg2rad([9.0, 18.0, 8.0])
        pitch, yaw, roll = np.clip(
            generator.standard_normal(3) * sigma, -MAX_ROTATION, MAX_ROTATION
        )
    about_x, about_y, about_z = (
        cv2.Rodrigues(np.eye(3)[axis] * angle)[0] for axis, angle in enumerate((pitch, yaw, roll))
    )
    return cv2.Rodrigues(about_z @ about_x @ about_y)[0][:, 0]


def sample_camera(
    generator: np.random.Generator, landmarks: Float32[np.ndarray, "68 3"], size: int
) -> Camera:
    """A camera 0.35 to 2.5 m away; the face fills 40 to 64 per cent of a square picture [px]."""
    centre = (landmarks.min(axis=0) + landmarks.max(axis=0)) / 2
    distance = np.exp(generator.uniform(np.log(0.35), np.log(2.5)))
    extent = np.ptp(landmarks[:, :2], axis=0).max()
    focal = generator.uniform(0.40, 0.64) * size * distance / extent
    aim = size / 2 + generator.normal(0, 0.035, 2) * size
    principal_point = np.full(2, (size - 1) / 2)
    offset = (aim - principal_point) * [1, -1] * distance / focal
    translation = np.append(offset, -distance) - [centre[0], centre[1], centre[2]]
    return Camera(
        torch.tensor([focal], dtype=torch.float32),
        torch.tensor(principal_point[None], dtype=torch.float32),
        torch.tensor(translation[None], dtype=torch.float32),
    )


def sample_lighting(generator: np.random.Generator) -> Lighting:
    """A key light from anywhere in front, a weaker fill, a rim light in 30 %, and ambient light."""

    def light(strength: float, front: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        direction = generator.normal(0, 1, 3)
        direction[2] = abs(direction[2]) * front + 0.2 * front
        direction[1] = direction[1] * 0.8 + 0.35
        warmth = generator.normal(0, 0.08)
        colour = strength * np.array([1 + warmth, 1.0, 1 - 1.2 * warmth])
        return tuple(direction / np.linalg.norm(direction)), tuple(colour)

    key = generator.uniform(0.15, 1.1)
    lights = [light(key, 1.0), light(key * generator.uniform(0, 0.6), 1.0)]
    if generator.random() < 0.3:
        lights.append(light(generator.uniform(0.2, 0.8), -1.0))
    ambient = generator.uniform(0.12, 0.75 - 0.5 * min(key, 1.0) + 0.1)
    tint = np.exp(generator.normal(0, 0.06, 3)) * ambient
    return Lighting(
        directions=tuple((float(x), float(y), float(z)) for (x, y, z), _ in lights),
        intensities=tuple((float(r), float(g), float(b)) for _, (r, g, b) in lights),
        sky=(float(tint[0]), float(tint[1]), float(tint[2])),
        ground=(float(tint[0] * 0.6), float(tint[1] * 0.55), float(tint[2] * 0.5)),
        specular=float(generator.uniform(0.0, 0.22)),
    )
