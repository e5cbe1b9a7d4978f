"""The camera of a photo: a pinhole that looks along -z at the head.

The head's own turning is part of its parameters (global_pose), so a camera only moves and scales:
camera point = head point + translation [m]; x right, y up, the subject at negative z.
Pixels: centre of the top left pixel (0, 0), x right, y down.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from mica_ext.render.shading import View


class Camera(NamedTuple):
    """A batch of pinhole cameras."""

    focal_px: Float[Tensor, " B"]
    centre_px: Float[Tensor, "B 2"]
    translation: Float[Tensor, "B 3"]  # [m], head frame to camera frame

    def view(self, index: int = 0) -> "View":
        """One camera of the batch in the renderer's terms."""
        import numpy as np

        from mica_ext.render.shading import View

        return View(
            float(self.focal_px[index]),
            self.centre_px[index].double().cpu().numpy(),
            self.translation[index].double().cpu().numpy(),
            np.eye(3),
        )


def project(camera: Camera, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 2"]:
    """Head points [m] to pixels of the photo; differentiable, undefined behind the camera."""
    x, y, z = (points + camera.translation[:, None]).unbind(-1)
    scale = camera.focal_px[:, None] / -z
    centre_x, centre_y = camera.centre_px[:, None].unbind(-1)
    return torch.stack([centre_x + scale * x, centre_y - scale * y], -1)
