"""478 points of detected faces by Face Mesh V2, in the photo's pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from pacofr.faces.face_mesh.network import CROP, FaceMeshNetwork
from pacofr.faces.face_mesh.region import Region, crop_region, region_of_five, region_of_points
from pacofr.faces.face_mesh.topology import IBUG68, LEFT_IRIS, RIGHT_IRIS

PASSES = 2
"""The second looks at the square around the first's points.

A detector's noise moves the points of one pass by 4.3 % of the eye distance, of two by 1.2 %.
"""


class FaceMeshPoints(NamedTuple):
    """Points of a batch of faces, each in its photo's pixels (centre of the first pixel: 0)."""

    points_px: Float[Tensor, "B 478 2"]
    depth_px: Float[Tensor, "B 478"]
    """Distance along the line of sight in the same unit, larger is farther; its zero is free."""
    face_logit: Float[Tensor, " B"]
    """Real faces have 3.1 or more, backs of heads less than 0: a check, not a judge."""

    @property
    def landmarks68_px(self) -> Float[Tensor, "B 68 2"]:
        """The nearest points to iBUG's 68 landmarks."""
        return self.points_px[:, torch.from_numpy(IBUG68)]

    @property
    def iris_centres_px(self) -> Float[Tensor, "B 2 2"]:
        """Of the subject's right and left eye."""
        return self.points_px[:, [RIGHT_IRIS.start, LEFT_IRIS.start]]


@torch.inference_mode()
def detect_points(
    network: FaceMeshNetwork,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    five_points: Sequence[Shaped[np.ndarray, "5 2"]],
    *,
    passes: int = PASSES,
) -> FaceMeshPoints:
    """Points of one face in each RGB photo, as one batch.

    Args:
        network: from `load_face_mesh`.
        images: photos of any sizes; one with several faces stands there several times.
        five_points: the detector's points of each face [px].
        passes: how often each face is cut out and read.
    """
    device = next(network.parameters()).device
    regions = [region_of_five(five) for five in five_points]
    for number in range(passes):
        crops = [crop_region(*pair, CROP) for pair in zip(images, regions, strict=True)]
        batch = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2).float() / 255
        output = network(batch)
        points = output.points.cpu()
        points_px = torch.stack([_to_photo(*pair) for pair in zip(points, regions, strict=True)])
        if number + 1 < passes:
            regions = [region_of_points(each.numpy()) for each in points_px]
    scale = torch.tensor([region.side / CROP for region in regions])
    return FaceMeshPoints(points_px, points[..., 2] * scale[:, None], output.face_logit.cpu())


def _to_photo(points: Float[Tensor, "478 3"], region: Region) -> Float[Tensor, "478 2"]:
    matrix = torch.from_numpy(region.to_photo(CROP)).float()
    return (points[:, :2] - 0.5) @ matrix[:, :2].T + matrix[:, 2]
