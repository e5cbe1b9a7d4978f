"""Rotations of head and eyes as Live Link Face's last nine columns."""

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

ANGLES = tuple(
    f"{part}{axis}" for part in ("Head", "LeftEye", "RightEye") for axis in ("Yaw", "Pitch", "Roll")
)


def live_link_angles(
    head: Float64[np.ndarray, "N 3"],
    left_eye: Float64[np.ndarray, "N 3"],
    right_eye: Float64[np.ndarray, "N 3"],
) -> Float64[np.ndarray, "N 9"]:
    """`ANGLES` [rad] of rotation vectors [rad].

    Yaw is positive to the subject's right, pitch down, as recordings have them for the eyes; roll
    is positive where the top of the head leans to the subject's right. The rotation is roll first,
    then pitch, then yaw, about axes of the parent.
    """
    angles = []
    for vectors in (head, left_eye, right_eye):
        yaw, pitch, roll = Rotation.from_rotvec(vectors).as_euler("YXZ").T
        angles += [-yaw, pitch, roll]
    return np.stack(angles, 1)


def rotation_vectors(angles: Float64[np.ndarray, "N 9"]) -> Float64[np.ndarray, "3 N 3"]:
    """Rotation vectors [rad] of head, left and right eye: the inverse of `live_link_angles`."""
    parts = angles.reshape(-1, 3, 3).transpose(1, 0, 2) * [-1.0, 1.0, 1.0]
    return np.stack([Rotation.from_euler("YXZ", part).as_rotvec() for part in parts])
