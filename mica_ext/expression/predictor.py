"""ExpressionPredictor: aligned faces to expression, jaw, eyes, pose and camera, without a fit."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.crop_camera import crop_view, photo_scale
from mica_ext.expression.mirror import HeadMirror
from mica_ext.expression.network import face_parameters, head_parameters
from mica_ext.expression.weights import load_expression_network, read_expression_config
from mica_ext.fitting.config import FitConfig
from mica_ext.models.types import AlignedFace, FaceParameters


class ExpressionPredictor:
    """An expression network for one head; build once, call with any batch."""

    def __init__(self, folder: Path, decoder: HeadDecoder, device: torch.device) -> None:
        """Load the weights of `folder` for the decoder's head.

        Raises:
            UserError: the weights cannot be used, or belong to another head.
        """
        self.about = read_expression_config(folder)
        self.decoder = decoder
        self.small = decoder.landmark_head()
        self.device = device
        self.network = load_expression_network(folder, decoder.head).to(device)
        self.mirror = HeadMirror.of(decoder.head)

    @torch.no_grad()
    def __call__(
        self, faces: AlignedFace, shape: Float[Tensor, "B S"] | None = None
    ) -> FaceParameters:
        """Parameters of a batch of `collate_faces`, on the CPU.

        The focal length is the one that `FitConfig` assumes.

        Args:
            faces: the batch.
            shape: identity coefficients, kept to the last bit; None: those that the network reads,
                or the mean head's.
        """
        output = self.read(faces)
        if shape is None:
            shape = output.shape
        if not shape.shape[1]:
            shape = torch.zeros(len(faces.crop), self.decoder.head.shape_count)
        scale = photo_scale(crop_view(output.crop_pose, output.crop_camera), faces.crop_to_image)
        config = FitConfig()
        longer = faces.image_size.amax(1).to(scale)
        focal = torch.maximum(scale * config.default_distance_m, longer * config.min_focal_ratio)
        return face_parameters(output, shape, faces, self.small, focal)

    @torch.no_grad()
    def movement(self, faces: AlignedFace) -> HeadParameters:
        """The movement alone, on the mean identity, turned as in the crops."""
        head = self.decoder.head
        shape = torch.zeros(len(faces.crop), head.shape_count)
        return head_parameters(self.read(faces), shape, head.expression_bounds)

    def read(self, faces: AlignedFace) -> BranchOutput:
        """What the branch says of the crops; a face's does not depend on the others' of a batch.

        For heads whose sides are alike the mean of what it says of the crop and of its mirror
        image, which is nearer to the truth than either.
        """
        rows = [self._read_crop(crop.to(self.device)) for crop in faces.crop]
        return BranchOutput(*map(torch.cat, zip(*rows, strict=True)))

    def _read_crop(self, crop: Float[Tensor, "3 224 224"]) -> BranchOutput:
        if self.mirror is None:
            return BranchOutput(*(values.cpu() for values in self.network.read(crop[None])))
        both = self.network.read(torch.stack([crop, crop.flip(-1)]))
        seen, flipped = (BranchOutput(*(v[[i]].cpu() for v in both)) for i in (0, 1))
        pairs = zip(seen, self.mirror.movement(flipped), strict=True)
        return BranchOutput(*((ours + theirs) / 2 for ours, theirs in pairs))
