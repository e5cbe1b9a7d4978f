"""The dense points of Face Mesh on a head, for photos of which nothing else is known."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.fitting.correspondence.anchors import locate_points
from mica_ext.fitting.correspondence.calibration import UNCALIBRATED, load_calibration
from mica_ext.fitting.correspondence.mean_picture import mean_picture

LEAST_FACING = 0.2
"""Cosine of skin to the viewer below which a point is not compared: near the outline, points slide
over the skin."""


class SkinPoints(nn.Module):
    """The 468 points of skin, as they move with a head whose rotation is not applied."""

    corners: Tensor
    weights: Tensor
    offsets: Tensor
    normals: Tensor

    def __init__(self, decoder: HeadDecoder) -> None:
        """Find them on the neutral head, all of whose vertices `decoder` must give."""
        super().__init__()
        with torch.no_grad():
            neutral = decoder(HeadParameters.zeros(decoder.head)).vertices
            landmarks = decoder.frontal_landmarks(neutral)[0].double().numpy()
        mean = load_calibration(UNCALIBRATED.parent).mean
        anchors = locate_points(decoder, mean_picture(landmarks, mean))
        self.vertex_ids: Int[np.ndarray, "468 3"] = decoder.head.triangles[anchors.triangles]
        for name, values in (
            ("corners", torch.from_numpy(self.vertex_ids).long()),
            ("weights", torch.from_numpy(anchors.barycentric).float()),
            ("offsets", torch.from_numpy(anchors.offsets).float()),
            ("normals", torch.from_numpy(anchors.normals).float()),
        ):
            self.register_buffer(name, values, persistent=False)

    def among(self, vertex_ids: Int[np.ndarray, " n"]) -> "SkinPoints":
        """Read the points from the vertices with these ids, in this order; self."""
        self.corners = torch.from_numpy(np.searchsorted(vertex_ids, self.vertex_ids))
        return self

    def forward(self, vertices: Float[Tensor, "B n 3"]) -> Float[Tensor, "B 468 3"]:
        """The points of moved heads [m]."""
        return torch.einsum("blcx,lc->blx", vertices[:, self.corners], self.weights) + self.offsets

    def facing(self, rotation: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 468"]:
        """1 where the skin of a head with this rotation faces the viewer, else 0."""
        return (rotation[:, 2] @ self.normals.T > LEAST_FACING).float()
