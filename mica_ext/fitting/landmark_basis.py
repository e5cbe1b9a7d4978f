"""A head's 68 landmarks as a small linear table: what the photo fit differentiates."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int

from flame_assets.model.head_module import HeadDecoder
from flame_assets.model.landmarks import CONTOUR_MAX_DEGREES

UNSEEN = 1e-5
"""Share of the landmarks' variance below which an identity axis is left at the mean."""
CONTOUR = 17


class LandmarkBlend(NamedTuple):
    """Landmarks as `still q + R_jaw moving q`, with q = (1, identity, expression, jaw features).

    Exact for a head that turns as a whole with eyes at rest, but for lid contacts. Identity runs
    along the few axes that move landmarks at all; the jaw features (the nine entries of R_jaw - I)
    are left out when the head has no jaw correctives.
    """

    rows: Float64[np.ndarray, "80 17 6 Q"]
    """still over moving [m] of iBUG 0..16: the contours by yaw, then the frontal one."""
    inner: Float64[np.ndarray, "51 6 Q"]
    """The same of iBUG 17..67."""
    axes: Float64[np.ndarray, "S R"]
    """Identity coefficients of each axis; columns of unit length."""
    corrected: bool
    """Whether the jaw features are part of q."""

    @classmethod
    def of(cls, flame: HeadDecoder) -> "LandmarkBlend":
        """Tables for a head."""
        small = flame.landmark_head().double()
        features = small.pose_basis[9:18]
        corrected = bool(features.abs().max() > 0)
        features = features if corrected else features[:0]
        modes = torch.cat([small.template[None], small.basis, features])  # [Q,V,3]
        joint = torch.cat([small.joints_template[None, 2], small.joints_basis[:, 2]])
        joint = torch.cat([joint, joint.new_zeros(len(features), 3)])  # [Q,3]
        corners, weights = small.landmark_corners, small.landmark_weights
        corners = torch.cat([corners[:, :CONTOUR].flatten(0, 1), corners[0, CONTOUR:]])
        weights = torch.cat([weights[:, :CONTOUR].flatten(0, 1), weights[0, CONTOUR:]])
        jaw_share = weights * small.skinning_weights[corners, 2]
        points = modes[:, corners]  # [Q,P,3 corners,3]
        moving = torch.einsum("qpcx,pc->pxq", points, jaw_share)
        pivot = torch.einsum("qx,p->pxq", joint, jaw_share.sum(1))
        everything = torch.einsum("qpcx,pc->pxq", points, weights)
        table = torch.cat([everything - moving + pivot, moving - pivot], 1)
        identity = slice(1, 1 + flame.head.shape_count)
        own = table[:, :, identity].flatten(0, 1)
        strength, axes = torch.linalg.eigh(own.mT @ own)
        axes = axes[:, strength > UNSEEN * strength.sum()]
        parts = [table[:, :, :1], table[:, :, identity] @ axes, table[:, :, identity.stop :]]
        whole = torch.cat(parts, 2).numpy()
        rows = whole[: 80 * CONTOUR].reshape(80, CONTOUR, 6, -1)
        return cls(rows, whole[80 * CONTOUR :].copy(), axes.numpy(), corrected)

    def at(self, turn: Float64[np.ndarray, "B 3 3"]) -> Float64[np.ndarray, "B 68 6 Q"]:
        """The tables of the 68 points, with the contours that heads turned like this show."""
        row = contour_row(turn)
        table = np.empty((len(row), 68, *self.inner.shape[1:]))
        table[:, :CONTOUR] = self.rows[row]
        table[:, CONTOUR:] = self.inner
        return table


def contour_row(turn: Float64[np.ndarray, "B 3 3"]) -> Int[np.ndarray, " B"]:
    """`flame_assets.landmarks.contour_row` of turned heads, without the detour over tensors."""
    yaw = np.arctan2(-turn[:, 2, 0], np.hypot(turn[:, 0, 0], turn[:, 1, 0]))
    degrees = np.rint(np.degrees(yaw)).clip(-CONTOUR_MAX_DEGREES, CONTOUR_MAX_DEGREES)
    return np.where(degrees < 0, CONTOUR_MAX_DEGREES - degrees, degrees).astype(np.int64)
