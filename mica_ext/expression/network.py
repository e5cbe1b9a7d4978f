"""Encoder and branch together, and the face that they and an identity make."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.expression.branch import BranchOutput, ExpressionBranch
from mica_ext.expression.config import BranchConfig
from mica_ext.expression.crop_camera import anchor_of, crop_view, to_photo
from mica_ext.fitting.geometry.rotations import matrix_to_axis_angle
from mica_ext.models.types import AlignedFace, Camera, FaceParameters
from pacofr.faces.align import CROP_PX, CropWindow
from pacofr.models.encoders import FaceEncoder, face_encoder
from pacofr.models.vit import VisionTransformer


class ExpressionNetwork(nn.Module):
    """Crops to `BranchOutput`: a face encoder and the branch on its levels."""

    def __init__(
        self,
        vit: VisionTransformer,
        config: BranchConfig,
        expression_count: int,
        *,
        shape_count: int = 0,
        tuned: bool = False,
    ) -> None:
        """Put a branch for a head with so many expressions on a transformer.

        Args:
            vit: pre-trained.
            config: sizes of the branch.
            expression_count: E of the head.
            shape_count: S of the head, where the branch reads identity.
            tuned: whether the encoder is trained too.
        """
        super().__init__()
        self.encoder: FaceEncoder = face_encoder(vit, config.layers)
        self.branch = ExpressionBranch(
            config,
            vit.config.width,
            expression_count,
            tokens=vit.config.patches + 1,
            levels=len(set(self.encoder.layers)),
            shape_count=shape_count,
        )
        self.tuned = tuned
        if not tuned:
            self.encoder.requires_grad_(False)
        vit.norm.requires_grad_(False)  # levels are read before it

    def read(self, crops: Float[Tensor, "B 3 224 224"]) -> BranchOutput:
        """Read RGB crops in [0, 1] (`AlignedFace.crop`)."""
        window = self.window
        inside = slice(window.start, window.start + window.side)
        return self(area_resize(crops[:, :, inside, inside], window.pixels))

    @property
    def window(self) -> CropWindow:
        """What the encoder sees of the crop."""
        return encoder_window(self.branch.config, self.encoder.config.image_size)

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> BranchOutput:
        """Read the middle of crops: `window.pixels` a side, RGB in [0, 1]."""
        if crops.shape[-1] != self.window.pixels:
            raise ValueError(
                f"expected windows of {self.window.pixels} pixels, got {crops.shape[-1]}"
            )
        with torch.set_grad_enabled(self.tuned and torch.is_grad_enabled()):
            levels = self.encoder(crops)
        return self.branch(levels)


def encoder_window(config: BranchConfig, image_size: int) -> CropWindow:
    """What an encoder with inputs of `image_size` sees of the crop; never enlarged."""
    side = config.window
    return CropWindow((CROP_PX - side) // 2, side, min(side, image_size))


def area_resize(images: Float[Tensor, "B C S S"], size: int) -> Float[Tensor, "B C size size"]:
    """Shrink square images by averaging the area under each pixel, as OpenCV's INTER_AREA."""
    side = images.shape[-1]
    if side == size:
        return images
    edges = torch.arange(size + 1, dtype=torch.float64) * (side / size)
    pixels = torch.arange(side, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    weights = (overlap.clamp(min=0) * (size / side)).to(images)
    return weights @ images @ weights.T


def head_parameters(
    output: BranchOutput,
    shape: Float[Tensor, "B S"],
    bounds: tuple[float, float] | None,
    global_pose: Float[Tensor, "B 3"] | None = None,
) -> HeadParameters:
    """The branch's movement on given identities.

    Args:
        output: of the branch.
        shape: identity coefficients, kept to the last bit.
        bounds: of the head's expressions; coefficients are cut to them.
        global_pose: axis-angle [rad]; None: the rotation in the crop's frame.
    """
    expression = output.expression if bounds is None else output.expression.clamp(*bounds)
    return HeadParameters(
        shape=shape,
        expression=expression,
        global_pose=output.crop_pose if global_pose is None else global_pose,
        neck_pose=torch.zeros_like(output.jaw_pose),
        jaw_pose=output.jaw_pose,
        left_eye_pose=output.left_eye_pose,
        right_eye_pose=output.right_eye_pose,
    )


@torch.no_grad()
def face_parameters(
    output: BranchOutput,
    shape: Float[Tensor, "B S"],
    faces: AlignedFace,
    decoder: HeadDecoder,
    focal_px: Float[Tensor, " B"],
) -> FaceParameters:
    """Head and camera in the photos, whose principal points are their middles.

    Args:
        output: of the branch for `faces`' crops.
        shape: identity coefficients, kept to the last bit.
        faces: a batch.
        decoder: of the head.
        focal_px: of the photos' cameras.
    """
    centre_px = (faces.image_size.flip(-1) - 1).to(output.jaw_pose) / 2
    view = crop_view(output.crop_pose, output.crop_camera)
    photo = to_photo(view, faces.crop_to_image, focal_px, centre_px)
    matrices = photo.rotation.double().cpu().numpy()
    rotation = torch.from_numpy(matrix_to_axis_angle(matrices)).to(output.crop_pose)
    head = head_parameters(output, shape, decoder.head.expression_bounds, rotation)
    anchor = anchor_of(decoder(head).landmarks)
    return FaceParameters(head, Camera(focal_px, centre_px, photo.anchor - anchor))
