"""Anchored points and eye centres of a head as a linear function of its coefficients."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from flame_assets.model.head import EYE_JOINTS
from flame_assets.model.head_module import HeadDecoder
from mica_ext.fitting.correspondence.anchors import PointAnchors
from mica_ext.fitting.points.response import PointResponse

MIN_SHAPE_VARIANCE = 1e-4
"""Fraction of the points' variance below which a shape axis is left at the mean."""


class PointBasis(NamedTuple):
    """Points = skull q + R_jaw (jaw q) with q = (1, shape axes, expression, jaw features).

    The model is FLAME's (Li et al. 2017) restricted to the points, with neck and eyes at rest and
    the global rotation left to the caller; exact but for lid contacts. Shape is reduced to the
    principal axes that move points. The jaw features are the nine entries of R_jaw - I, the weights
    of the pose correctives; heads without jaw correctives have none.
    """

    points: Float64[np.ndarray, "L 6 Q"]
    """Rows `skull` (3) over `jaw` (3) [m]."""
    eyes: Float64[np.ndarray, "2 3 Q"]
    """Centres of the left and the right eye [m]."""
    shape_axes: Float64[np.ndarray, "S R"]
    """Shape coefficients of each axis; orthonormal columns."""
    has_jaw_correctives: bool

    @classmethod
    def from_head(
        cls,
        decoder: HeadDecoder,
        anchors: PointAnchors,
        response: PointResponse | None = None,
        shape_axes: Float64[np.ndarray, "S R"] | None = None,
    ) -> "PointBasis":
        """Assemble the basis of the anchored points of a head.

        Args:
            decoder: of the head.
            anchors: of the points.
            response: of the network that detects them; None: it detects them where they are.
            shape_axes: None: the principal axes that move these points.
        """
        head = decoder.head
        jaw_features = decoder.pose_basis[9:18].double()
        has_jaw_correctives = bool(jaw_features.abs().max() > 0)
        jaw_features = jaw_features if has_jaw_correctives else jaw_features[:0]
        corners = torch.from_numpy(head.triangles[anchors.triangles]).long()
        modes = [decoder.template[None, corners], decoder.basis[:, corners]]
        points = torch.cat([*(part.double() for part in modes), jaw_features[:, corners]])
        joints = torch.cat([decoder.joints_template[None], decoder.joints_basis]).double()
        joints = torch.cat([joints, joints.new_zeros(len(jaw_features), 5, 3)])  # [Q,5,3]
        weights = torch.from_numpy(anchors.barycentric)
        jaw_weights = weights * decoder.skinning_weights[corners, 2].double()
        offsets = torch.zeros(len(joints), len(weights), 3, dtype=torch.float64)
        offsets[0] = torch.from_numpy(anchors.offsets)
        total = torch.einsum("qlcx,lc->lxq", points, weights)
        moving = torch.einsum("qlcx,lc->lxq", points, jaw_weights)
        share = jaw_weights.sum(1)
        offset = offsets.permute(1, 2, 0)
        pivot = torch.einsum("qx,l->lxq", joints[:, 2], share)
        moving = moving + share[:, None, None] * offset
        basis = torch.cat([total + offset - moving + pivot, moving - pivot], 1)
        eyes = joints[:, EYE_JOINTS].permute(1, 2, 0)
        shape = slice(1, 1 + head.shape_count)
        if response is not None:
            basis = response.applied(basis, rest=slice(0, shape.stop))
        if shape_axes is None:
            shape_basis = basis[:, :, shape].flatten(0, 1)
            variance, axes = torch.linalg.eigh(shape_basis.mT @ shape_basis)
            axes = axes[:, variance > MIN_SHAPE_VARIANCE * variance.sum()].flip(1)
        else:
            axes = torch.from_numpy(shape_axes)

        def reduced(rows: torch.Tensor) -> Float64[np.ndarray, "n k Q"]:
            parts = [rows[..., :1], rows[..., shape] @ axes, rows[..., shape.stop :]]
            return torch.cat(parts, -1).numpy()

        return cls(reduced(basis), reduced(eyes), axes.numpy(), has_jaw_correctives)
