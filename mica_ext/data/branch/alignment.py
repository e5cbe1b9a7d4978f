"""Photos cut to the samples' aligned picture, with the head's pose and camera in its pixels."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, Shaped, UInt8
from scipy.spatial.transform import Rotation

from mica_ext.data.branch.sample import FACE_PX, PICTURE_PX
from pacofr.faces.align import ffhq_matrix, move_points

MIN_SHRINK = 0.75
"""Photos that are shrunk by more than this are blurred first, against aliasing."""


class AlignedPicture(NamedTuple):
    """The picture of a sample, and how it lies in its photo."""

    picture: UInt8[np.ndarray, "320 320 3"]
    from_photo: Float64[np.ndarray, "2 3"]
    """Photo pixels to pixels of the picture: a similarity."""
    five_points: Float32[np.ndarray, "5 2"]


class CameraPose(NamedTuple):
    """A head's rotation and the pinhole camera that sees it; see `models.types.Camera`."""

    rotation: Float64[np.ndarray, "3 3"]
    """Global rotation of the head, about its root joint."""
    focal_px: float
    centre_px: Float64[np.ndarray, "2"]
    translation: Float64[np.ndarray, "3"]
    """Camera point = head point + translation [m]."""


def align_picture(
    photo: UInt8[np.ndarray, "H W 3"], five: Shaped[np.ndarray, "5 2"]
) -> AlignedPicture:
    """Cut the face with these five points [px] out of a photo; grey outside of the photo."""
    matrix = ffhq_matrix(five, FACE_PX, PICTURE_PX, PICTURE_PX)
    scale = float(np.hypot(*matrix[:, 0]))
    if scale < MIN_SHRINK:
        photo = cv2.GaussianBlur(photo, (0, 0), 0.5 * np.sqrt(1 / scale**2 - 1))
    picture = cv2.warpAffine(
        photo,
        matrix,
        (PICTURE_PX, PICTURE_PX),
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=[128] * 3,
    )
    moved = move_points(matrix, np.asarray(five, np.float64)).astype(np.float32)
    return AlignedPicture(np.asarray(picture, np.uint8), matrix, moved)


def move_camera(
    camera: CameraPose, root: Float[np.ndarray, "3"], matrix: Float64[np.ndarray, "2 3"]
) -> CameraPose:
    """The camera whose pixels are those of `camera` moved by a similarity, exactly.

    A rotation of the picture about its principal point turns the head about the optical axis.

    Args:
        camera: in photo pixels.
        root: root joint of the head at rest, about which `rotation` turns [m].
        matrix: photo pixels -> new pixels.
    """
    scale = float(np.hypot(*matrix[:, 0]))
    flip = np.diag([1.0, -1.0])  # pixels' y is down, the camera's up
    turn = np.eye(3)
    turn[:2, :2] = flip @ (matrix[:, :2] / scale) @ flip
    return CameraPose(
        turn @ camera.rotation,
        scale * camera.focal_px,
        move_points(matrix, camera.centre_px[None])[0],
        turn @ (root + camera.translation) - root,
    )


def turned_vertices(
    vertices: Float[np.ndarray, "V 3"],
    root: Float[np.ndarray, "3"],
    before: Float64[np.ndarray, "3 3"],
    after: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, "V 3"]:
    """Vertices of a head frame with global rotation `before`, given the rotation `after` [m]."""
    return (vertices - root) @ (after @ before.T).T + root


def rotation_vector(matrix: Float64[np.ndarray, "3 3"]) -> Float32[np.ndarray, "3"]:
    """Axis-angle [rad] of a rotation matrix."""
    return Rotation.from_matrix(matrix).as_rotvec().astype(np.float32)
