"""Pinhole cameras: the only projection of the package.

Camera frame: x right, y up, the camera looks along -z [m]. Pixels: centre of the top left pixel at
(0, 0), x right, y down. The head's rotation is part of its parameters (global_pose), so a `Camera`
only translates: camera point = head point + translation.
"""

from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mica_ext.models.types import Camera

Array = TypeVar("Array", np.ndarray, Tensor)


def project(camera: Camera, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 2"]:
    """Head points [m] to pixels of the photo; differentiable, undefined behind the camera."""
    moved = points + camera.translation[:, None]
    x, y = perspective(moved, camera.focal_px[:, None], camera.centre_px[:, None])
    return torch.stack([x, y], -1)


def perspective(points: Array, focal_px: Array | float, centre_px: Array) -> tuple[Array, Array]:
    """Pixel x [...] and y [...] of camera-frame points [..., 3] [m], NumPy or torch.

    x = centre_x + f X / -Z, y = centre_y - f Y / -Z; `focal_px` and `centre_px` broadcast.
    """
    scale = focal_px / -points[..., 2]
    return centre_px[..., 0] + scale * points[..., 0], centre_px[..., 1] - scale * points[..., 1]
