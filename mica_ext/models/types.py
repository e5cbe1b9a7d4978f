"""What the product passes from stage to stage: aligned faces, cameras, parameters."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_assets.model.head_module import HeadParameters


class AlignedFace(NamedTuple):
    """Faces as the networks and the fit see them: one face, or a batch of `collate_faces`."""

    arcface: Float[Tensor, "*batch 3 112 112"]
    """ArcFace alignment, RGB in [-1, 1]: input of the identity network."""
    crop: Float[Tensor, "*batch 3 224 224"]
    """FFHQ alignment, RGB in [0, 1]: input of the face encoder."""
    crop_to_image: Float[Tensor, "*batch 2 3"]
    """Affine map from pixels of `crop` to pixels of the photo."""
    points_px: Float[Tensor, "*batch 478 2"]
    """Detected points in the photo [px]; see `pacofr.faces.face_mesh.topology`."""
    landmarks_px: Float[Tensor, "*batch 68 2"]
    """Those of them nearest to the iBUG landmarks, in their order [px]."""
    visibility: Float[Tensor, "*batch 7"]
    """Share of each of `landmarks.regions.REGIONS`' points that can be seen, 0 to 1."""
    point_error: Float[Tensor, "*batch 7"]
    """Expected error of each region's points [% of the eye distance]."""
    confidence: Float[Tensor, "*batch"]
    """Probability that this is the photo of a face."""
    image_size: Int[Tensor, "*batch 2"]
    """Height and width of the photo [px]."""


def collate_faces(faces: Sequence[AlignedFace]) -> AlignedFace:
    """Single faces, of one photo or of several, as a batch."""
    return AlignedFace(*(torch.stack(values) for values in zip(*faces, strict=True)))


class Camera(NamedTuple):
    """A batch of pinhole cameras that look along -z; see `models.projection`."""

    focal_px: Float[Tensor, " B"]
    centre_px: Float[Tensor, "B 2"]
    """Principal point; the centre of the top left pixel is (0, 0), y down."""
    translation: Float[Tensor, "B 3"]
    """From head frame to camera frame [m]; the head's rotation is its `global_pose`."""


class FaceParameters(NamedTuple):
    """A batch of faces: a head and the camera that saw it, of the same batch size."""

    head: HeadParameters
    camera: Camera

    def select(self, index: int) -> "FaceParameters":
        """Item `index` as a batch of one."""
        rows = slice(index, index + 1)
        return FaceParameters(
            HeadParameters(*(values[rows] for values in self.head)),
            Camera(*(values[rows] for values in self.camera)),
        )

    @classmethod
    def concatenated(cls, batches: Sequence["FaceParameters"]) -> "FaceParameters":
        """Several batches as one."""
        heads, cameras = zip(*batches, strict=True)
        return cls(
            HeadParameters(*(torch.cat(values) for values in zip(*heads, strict=True))),
            Camera(*(torch.cat(values) for values in zip(*cameras, strict=True))),
        )
