"""MicaExt: face crops of a photo to the parameters of the heads in it.

    FaceCrop.face -LandmarkNetwork-> 68 points -crop_to_image-> in the photo -PhotoFitter-> head

Identity and expression networks will start the fit, or take its place, behind the same interface.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from threadpoolctl import ThreadpoolController
from torch import Tensor

from flame_assets.flame import Flame
from mica_ext.crop import FaceCrop, move_points
from mica_ext.landmarks import load_landmark_network
from mica_ext.model import FaceParameters
from mica_ext.packs import Pack
from mica_ext.photofit import PhotoFitter


class Estimate(NamedTuple):
    """What the networks make of a batch of faces."""

    parameters: FaceParameters
    landmarks_px: Float[Tensor, "B 68 2"]  # as the network saw them in the photo


class MicaExt:
    """All that lies between a face crop and `FaceParameters`, for one head."""

    def __init__(self, pack: Pack, flame: Flame, device: torch.device) -> None:
        """Load the pack's networks, strictly."""
        self.device = device
        self.landmarks = load_landmark_network(pack.landmarks).to(device)
        self.fitter = PhotoFitter(flame)
        # The fit solves many small systems: NumPy's BLAS threads gain nothing there, and on a
        # busy machine or under a CPU quota they wait many times longer than they work.
        self.blas = ThreadpoolController().select(user_api="blas")

    @torch.inference_mode()
    def __call__(self, crops: Sequence[FaceCrop], photo_size: tuple[int, int]) -> Estimate:
        """Faces of one photo of `photo_size` (height, width); results are on the CPU."""
        faces = torch.stack([crop.face for crop in crops]).to(self.device)
        points = self.landmarks(faces).cpu()
        in_photo = move_points(torch.stack([crop.crop_to_image for crop in crops]), points)
        height, width = photo_size
        middle = torch.tensor([(width - 1) / 2, (height - 1) / 2]).expand(len(crops), 2)
        with self.blas.limit(limits=1):
            fit = self.fitter(in_photo, middle)
        return Estimate(fit.parameters, in_photo)
