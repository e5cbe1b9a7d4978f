"""Landmarks of a head: 68 iBUG points pinned to triangles, the outer 17 sliding with the yaw.

iBUG 0..16 is the contour (subject's right ear to left ear), 17..67 the inner face. Seen from the
side the visible contour is another line on the head, hence FLAME's table of 79 contours.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_assets.model.head import CONTOUR_MAX_DEGREES

# NoW benchmark order: outer right, inner right, inner left, outer left eye corner, nose bottom,
# right, left mouth corner (subject's sides).
NOW_LANDMARKS = (36, 39, 42, 45, 33, 48, 54)


def head_yaw(
    global_rotation: Float[Tensor, "B 3 3"], neck_rotation: Float[Tensor, "B 3 3"]
) -> Float[Tensor, " B"]:
    """Turn [rad] of the head about the vertical, the neck's and the global rotation together.

    Positive towards the subject's left (+x). It is the y angle of R = Rz Ry Rx, as in FLAME's code.
    """
    R = global_rotation @ neck_rotation
    return torch.atan2(-R[:, 2, 0], R[:, :2, 0].square().sum(-1).sqrt())


def contour_row(yaw: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Row of the 79-row contour table for a head yaw [rad].

    Row a for 0..39 whole degrees, 39 - a for -1..-39, clamped at both ends: FLAME's table with the
    sign of MICA and DECA. smplx looks up the row of the opposite yaw; `formats.contour_direction`
    tells by geometry which sign a table is made for.
    """
    degrees = torch.round(yaw.detach() * (180 / math.pi))
    degrees = degrees.clamp(-CONTOUR_MAX_DEGREES, CONTOUR_MAX_DEGREES).long()
    return torch.where(degrees < 0, CONTOUR_MAX_DEGREES - degrees, degrees)


def points_on(
    vertices: Float[Tensor, "B V 3"],
    corners: Int[Tensor, "B points 3"],
    weights: Float[Tensor, "B points 3"],
) -> Float[Tensor, "B points 3"]:
    """Barycentric points [m] on the vertices; the corners may differ from item to item."""
    batch = torch.arange(len(vertices), device=vertices.device)[:, None, None]
    return torch.einsum("bpcx,bpc->bpx", vertices[batch, corners], weights)
