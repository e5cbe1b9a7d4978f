"""The 68 landmarks of a head as a linear function of its coefficients."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int

from flame_assets.model.head_module import HeadDecoder
from flame_assets.model.landmarks import CONTOUR_MAX_DEGREES

MIN_SHAPE_VARIANCE = 1e-5
"""Fraction of the landmarks' variance below which a shape axis is left at the mean."""
CONTOUR = 17
"""Landmarks 0..16 are the contour."""


class LandmarkBasis(NamedTuple):
    """Landmarks = skull q + R_jaw (jaw q) with q = (1, shape axes, expression, jaw features).

    The model is FLAME's (Li et al. 2017) restricted to the landmarks, with neck and eyes at rest
    and the global rotation left to the caller; exact but for lid contacts. Shape is reduced to the
    principal axes that move landmarks. The jaw features are the nine entries of R_jaw - I, the
    weights of the pose correctives; heads without jaw correctives have none.
    """

    contour: Float64[np.ndarray, "80 17 6 Q"]
    """Rows `skull` (3) over `jaw` (3) [m] of iBUG 0..16, for 79 contours by yaw and the frontal."""
    inner: Float64[np.ndarray, "51 6 Q"]
    """The same for iBUG 17..67."""
    shape_axes: Float64[np.ndarray, "S R"]
    """Shape coefficients of each axis; orthonormal columns."""
    has_jaw_correctives: bool

    @classmethod
    def from_head(cls, head: HeadDecoder) -> "LandmarkBasis":
        """Assemble the basis of a head."""
        small = head.landmark_head().double()
        features = small.pose_basis[9:18]
        has_jaw_correctives = bool(features.abs().max() > 0)
        features = features if has_jaw_correctives else features[:0]
        modes = torch.cat([small.template[None], small.basis, features])  # [Q,V,3]
        joint = torch.cat([small.joints_template[None, 2], small.joints_basis[:, 2]])
        joint = torch.cat([joint, joint.new_zeros(len(features), 3)])  # [Q,3]
        corners, weights = small.landmark_corners, small.landmark_weights
        corners = torch.cat([corners[:, :CONTOUR].flatten(0, 1), corners[0, CONTOUR:]])
        weights = torch.cat([weights[:, :CONTOUR].flatten(0, 1), weights[0, CONTOUR:]])
        jaw_weights = weights * small.skinning_weights[corners, 2]
        points = modes[:, corners]  # [Q,P,3 corners,3]
        moving = torch.einsum("qpcx,pc->pxq", points, jaw_weights)
        pivot = torch.einsum("qx,p->pxq", joint, jaw_weights.sum(1))
        total = torch.einsum("qpcx,pc->pxq", points, weights)
        basis = torch.cat([total - moving + pivot, moving - pivot], 1)
        shape = slice(1, 1 + head.head.shape_count)
        shape_basis = basis[:, :, shape].flatten(0, 1)
        variance, axes = torch.linalg.eigh(shape_basis.mT @ shape_basis)
        axes = axes[:, variance > MIN_SHAPE_VARIANCE * variance.sum()]
        parts = [basis[:, :, :1], basis[:, :, shape] @ axes, basis[:, :, shape.stop :]]
        reduced = torch.cat(parts, 2).numpy()
        contour = reduced[: 80 * CONTOUR].reshape(80, CONTOUR, 6, -1)
        inner = reduced[80 * CONTOUR :].copy()
        return cls(contour, inner, axes.numpy(), has_jaw_correctives)

    def at_rotation(
        self, rotation: Float64[np.ndarray, "B 3 3"]
    ) -> Float64[np.ndarray, "B 68 6 Q"]:
        """Basis of the 68 landmarks, with the contour that heads rotated like this show."""
        row = contour_row(rotation)
        basis = np.empty((len(row), 68, *self.inner.shape[1:]))
        basis[:, :CONTOUR] = self.contour[row]
        basis[:, CONTOUR:] = self.inner
        return basis


def contour_row(rotation: Float64[np.ndarray, "B 3 3"]) -> Int[np.ndarray, " B"]:
    """Row of the contour table for head rotations: `flame_assets.model.landmarks.contour_row`."""
    yaw = np.arctan2(-rotation[:, 2, 0], np.hypot(rotation[:, 0, 0], rotation[:, 1, 0]))
    degrees = np.rint(np.degrees(yaw)).clip(-CONTOUR_MAX_DEGREES, CONTOUR_MAX_DEGREES)
    return np.where(degrees < 0, CONTOUR_MAX_DEGREES - degrees, degrees).astype(np.int64)
