"""Rigid alignment of point sets, and the fits' poses as FLAME's parameters."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.spatial.transform import Rotation

from flame_assets.fitting.articulation import HeadPose


class FlamePose(NamedTuple):
    """FLAME's pose parameters of a batch: axis-angle [rad], and the translation added last [m]."""

    global_pose: Float32[np.ndarray, "B 3"]
    neck_pose: Float32[np.ndarray, "B 3"]
    jaw_pose: Float32[np.ndarray, "B 3"]
    translation: Float32[np.ndarray, "B 3"]


def to_flame_pose(pose: HeadPose, joints: Float64[np.ndarray, "B 3 3"]) -> FlamePose:
    """The same pose as rotations about root, neck and jaw, whose places at rest [m] are given."""
    root_rotation = pose.rotation @ pose.neck
    root, neck = joints[:, 0], joints[:, 1]
    translation = pose.translation + np.einsum("bij,bj->bi", pose.rotation, neck) - root
    translation -= np.einsum("bij,bj->bi", root_rotation, neck - root)
    return FlamePose(
        _axis_angle(root_rotation),
        _axis_angle(pose.neck.transpose(0, 2, 1)),
        _axis_angle(pose.jaw),
        translation.astype(np.float32),
    )


def rigid_alignment(
    source: Float64[np.ndarray, "N 3"], targets: Float[np.ndarray, "B N 3"]
) -> tuple[Float64[np.ndarray, "B 3 3"], Float64[np.ndarray, "B 3"]]:
    """Rotations and translations of least squares from points to each of several sets (Kabsch)."""
    goals = targets.astype(np.float64)
    mean, means = source.mean(0), goals.mean(1)
    u, _, v = np.linalg.svd((goals - means[:, None]).transpose(0, 2, 1) @ (source - mean))
    signs = np.ones((len(goals), 3))
    signs[:, 2] = np.sign(np.linalg.det(u @ v))
    rotation = (u * signs[:, None]) @ v
    return rotation, means - rotation @ mean


def _axis_angle(rotation: Float64[np.ndarray, "B 3 3"]) -> Float32[np.ndarray, "B 3"]:
    return Rotation.from_matrix(rotation).as_rotvec().astype(np.float32)
