"""Skinning of a head with its eyes at rest, and its derivatives by the rotations of neck and jaw.

Everything is written in the frame of the neck joint (the "head frame"), where most vertices do not
move at all. With x a vertex at rest (identity, expression and pose correctives added), w0, w1, w2
its weights of root, neck (with both eyes) and jaw, and J1, J2 the joints of neck and jaw at rest:

    z = w1 x + w0 (Rn (x - J1) + J1) + w2 (Rj (x - J2) + J2),    world point = Rh z + th

Rn is the root's rotation relative to the head frame, the inverse of FLAME's neck rotation; Rj is
FLAME's jaw rotation; Rh, th are the rigid motion of the head frame. Arrays are coordinate-major,
[batch, 3, vertices]: every operation runs along contiguous rows.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int
from scipy.spatial.transform import Rotation

from flame_assets.model.head import HeadModel

POSE_UNKNOWNS = 12
"""Rotation and translation of the head frame, rotation of the neck, rotation of the jaw."""
MIN_BLEND = 1e-6
"""Of w0 + w2, below which a vertex moves with the head frame."""


class HeadPose(NamedTuple):
    """Rigid motion of the head frame and the rotations of its two other parts, in a batch."""

    rotation: Float64[np.ndarray, "B 3 3"]
    translation: Float64[np.ndarray, "B 3"]
    """[m]."""
    neck: Float64[np.ndarray, "B 3 3"]
    """Of the root relative to the head frame: the inverse of FLAME's neck rotation."""
    jaw: Float64[np.ndarray, "B 3 3"]

    def moved(self, step: Float64[np.ndarray, "B 12"]) -> "HeadPose":
        """The pose after a step: rotation vectors [rad] of head (from the right), neck and jaw
        (from the left), and a translation [m] in the head frame."""
        head, neck, jaw = (_matrices(step[:, at : at + 3]) for at in (0, 6, 9))
        offset = np.einsum("bij,bj->bi", self.rotation, step[:, 3:6])
        return HeadPose(
            self.rotation @ head, self.translation + offset, neck @ self.neck, jaw @ self.jaw
        )


class BlendWeights(NamedTuple):
    """Skinning weights of the vertices that are fitted, with the eyes' at the neck.

    The M vertices that do not move with the head frame alone come last: slices, not index arrays.
    """

    vertices: Int[np.ndarray, " N"]
    """Ids, in the order of everything that is computed with the weights."""
    blended: slice
    """The last M of them."""
    root: Float32[np.ndarray, " M"]
    jaw: Float32[np.ndarray, " M"]

    @classmethod
    def of_head(cls, head: HeadModel, vertices: Int[np.ndarray, " N"]) -> "BlendWeights":
        """Weights of some vertices of a head, in an order of their own."""
        weights = head.skinning_weights[vertices]
        weights = weights / weights.sum(1, keepdims=True)
        moving = weights[:, 0] + weights[:, 2] > MIN_BLEND
        order = np.argsort(moving, kind="stable")
        blended = slice(len(order) - int(moving.sum()), len(order))
        weights = weights[order[blended]]
        return cls(vertices[order], blended, weights[:, 0].copy(), weights[:, 2].copy())


class Unposed(NamedTuple):
    """Target points in the rest frame of each vertex, where the model is linear."""

    points: Float32[np.ndarray, "B 3 N"]
    """A^-1 (z - t), with A = w1 + w0 Rn + w2 Rj and t the blended translation [m]."""
    head_frame: Float32[np.ndarray, "B 3 N"]
    """The targets z in the head frame [m]."""
    inverse: Float32[np.ndarray, "B 3 3 M"]
    """A^-1 of the blended vertices; it is the identity for the others."""


def pose_vertices(
    rest: Float32[np.ndarray, "B 3 N"],
    pose: HeadPose,
    joints: Float64[np.ndarray, "B 2 3"],
    weights: BlendWeights,
) -> Float32[np.ndarray, "B 3 N"]:
    """Rest vertices [m] and the joints of neck and jaw [m] to points of the world [m]."""
    matrix, offset = _blend(pose, joints, weights)
    z = rest.copy()
    z[:, :, weights.blended] = _apply(matrix, rest[:, :, weights.blended]) + offset
    rotation, translation = _float32(pose.rotation, pose.translation)
    return rotation @ z + translation[:, :, None]


def unpose(
    targets: Float32[np.ndarray, "B 3 N"],
    pose: HeadPose,
    joints: Float64[np.ndarray, "B 2 3"],
    weights: BlendWeights,
) -> Unposed:
    """World points [m] to where they would be at rest; the inverse of `pose_vertices`."""
    rotation, translation = _float32(pose.rotation, pose.translation)
    z = rotation.transpose(0, 2, 1) @ (targets - translation[:, :, None])
    matrix, offset = _blend(pose, joints, weights)
    inverse = _inverse(matrix)
    points = z.copy()
    points[:, :, weights.blended] = _apply(inverse, z[:, :, weights.blended] - offset)
    return Unposed(points, z, inverse)


def pose_jacobian(
    rest: Float32[np.ndarray, "B 3 N"],
    unposed: Unposed,
    pose: HeadPose,
    joints: Float64[np.ndarray, "B 2 3"],
    weights: BlendWeights,
    pose_basis: Float32[np.ndarray, "18 3 N"] | None,
    out: Float32[np.ndarray, "B 12 3 N"] | None = None,
) -> Float32[np.ndarray, "B 12 3 N"]:
    """A^-1 d(z)/d(step): how points of the head follow `HeadPose.moved`, in the rest frame.

    Args:
        rest: current rest vertices of the head [m].
        unposed: the targets; the head's rigid motion turns about them.
        pose: current pose.
        joints: of neck and jaw at rest [m].
        weights: of the vertices.
        pose_basis: correctives by the entries of R - I of neck and jaw; None: there are none.
        out: array to write to and to return; None: a new one.
    """
    z, blended = unposed.head_frame, weights.blended
    shape = (len(z), POSE_UNKNOWNS, *z.shape[1:])
    columns = np.empty(shape, np.float32) if out is None else out
    columns[:, 3:] = 0
    for axis in range(3):
        columns[:, axis] = _cross_axis(axis, z)
        columns[:, 3 + axis, axis] = 1
    local = rest[:, :, blended]
    for first, rotation, joint, weight in (
        (6, pose.neck, joints[:, 0], weights.root),
        (9, pose.jaw, joints[:, 1], weights.jaw),
    ):
        matrix, centre = _float32(rotation, joint)
        arm = matrix @ (local - centre[:, :, None]) * weight
        for axis in range(3):
            columns[:, first + axis][:, :, blended] = _cross_axis(axis, arm)
    for column in range(POSE_UNKNOWNS):
        part = columns[:, column]
        part[:, :, blended] = _apply(unposed.inverse, part[:, :, blended])
    if pose_basis is not None:
        slopes = pose_feature_jacobian(pose).astype(np.float32)
        correctives = slopes.transpose(0, 2, 1) @ pose_basis.reshape(18, -1)
        columns[:, 6:] += correctives.reshape(len(z), 6, *z.shape[1:])
    return columns


def pose_feature(pose: HeadPose) -> Float64[np.ndarray, "B 18"]:
    """R - I of neck and jaw, row by row: the coefficients of the pose correctives."""
    neck = pose.neck.transpose(0, 2, 1)
    return (np.stack([neck, pose.jaw], 1) - np.eye(3)).reshape(len(neck), 18)


def pose_feature_jacobian(pose: HeadPose) -> Float64[np.ndarray, "B 18 6"]:
    """d(pose_feature)/d(rotation vectors of neck and jaw in `HeadPose.moved`)."""
    crosses = np.stack([_CROSS[axis] for axis in range(3)])
    neck = -np.einsum("bij,ajk->baik", pose.neck.transpose(0, 2, 1), crosses)
    jaw = np.einsum("aij,bjk->baik", crosses, pose.jaw)
    slopes = np.zeros((len(neck), 18, 6))
    slopes[:, :9, :3] = neck.reshape(-1, 3, 9).transpose(0, 2, 1)
    slopes[:, 9:, 3:] = jaw.reshape(-1, 3, 9).transpose(0, 2, 1)
    return slopes


_CROSS = np.array(
    [
        [[0.0, 0, 0], [0, 0, -1], [0, 1, 0]],
        [[0.0, 0, 1], [0, 0, 0], [-1, 0, 0]],
        [[0.0, -1, 0], [1, 0, 0], [0, 0, 0]],
    ]
)
"""Matrices of the cross products of the three axes with a vector."""


def _cross_axis(axis: int, points: Float32[np.ndarray, "B 3 N"]) -> Float32[np.ndarray, "B 3 N"]:
    """Unit vector of an axis x points."""
    crossed = np.zeros_like(points)
    one, two = (axis + 1) % 3, (axis + 2) % 3
    crossed[:, one], crossed[:, two] = -points[:, two], points[:, one]
    return crossed


def _blend(
    pose: HeadPose, joints: Float64[np.ndarray, "B 2 3"], weights: BlendWeights
) -> tuple[Float32[np.ndarray, "B 3 3 M"], Float32[np.ndarray, "B 3 M"]]:
    """Matrix A and translation t of the blended vertices, from rest to the head frame."""
    identity = np.eye(3)
    parts = []
    for rotation, joint, weight in (
        (pose.neck, joints[:, 0], weights.root),
        (pose.jaw, joints[:, 1], weights.jaw),
    ):
        turn = (rotation - identity).astype(np.float32)
        offset = -np.einsum("bij,bj->bi", rotation - identity, joint).astype(np.float32)
        parts.append((turn[..., None] * weight, offset[..., None] * weight))
    matrix = parts[0][0] + parts[1][0] + identity.astype(np.float32)[..., None]
    return matrix, parts[0][1] + parts[1][1]


def _apply(
    matrix: Float32[np.ndarray, "B 3 3 M"], points: Float32[np.ndarray, "B 3 M"]
) -> Float32[np.ndarray, "B 3 M"]:
    """A 3x3 matrix of each vertex times the vertex."""
    return (
        matrix[:, :, 0] * points[:, 0, None]
        + matrix[:, :, 1] * points[:, 1, None]
        + matrix[:, :, 2] * points[:, 2, None]
    )


def _inverse(matrix: Float32[np.ndarray, "B 3 3 M"]) -> Float32[np.ndarray, "B 3 3 M"]:
    """Inverses of 3x3 matrices by their adjugates."""
    a, b, c = matrix[:, 0], matrix[:, 1], matrix[:, 2]
    rows = [_cross(b, c), _cross(c, a), _cross(a, b)]
    determinant = (a * rows[0]).sum(1)
    return np.stack(rows, 2) / determinant[:, None, None]


def _cross(
    a: Float[np.ndarray, "B 3 M"], b: Float[np.ndarray, "B 3 M"]
) -> Float[np.ndarray, "B 3 M"]:
    return np.stack(
        [
            a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1],
            a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2],
            a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0],
        ],
        1,
    )


def _matrices(vectors: Float64[np.ndarray, "B 3"]) -> Float64[np.ndarray, "B 3 3"]:
    return Rotation.from_rotvec(vectors).as_matrix()


def _float32(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(array.astype(np.float32) for array in arrays)
