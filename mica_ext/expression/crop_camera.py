"""The branch's view of a head in its crop, and the photo's camera.

In the crop the head is seen by weak perspective: a rotation in the frame of the ray through the
head's anchor, a scale [crop px per m] at the anchor's depth, and the anchor's place [crop px]. The
anchor is the mean of the 51 inner landmarks of the posed head. For a photo with known focal length

    R_photo = R_ray R_roll R_crop        depth = focal / (scale * photo px per crop px)

where R_ray turns the viewing axis to the ray, and R_roll undoes the crop's rotation in the image.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.lbs import rotation_matrices
from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from pacofr.faces.align import CROP_PX

SCALE = 690.0
"""Usual scale [crop px / m]: FFHQ's crop shows the eyes, 63 mm apart, 43.75 pixels apart."""
HALF = CROP_PX / 2
CENTRE = (CROP_PX - 1) / 2
"""Where an anchor with zero offset lies [crop px]."""


class CropView(NamedTuple):
    """How heads are seen in their crops."""

    rotation: Float[Tensor, "B 3 3"]
    """Of the head, in the frame of the crop and the ray."""
    scale: Float[Tensor, " B"]
    """[crop px / m] at the anchor."""
    anchor_px: Float[Tensor, "B 2"]
    """[crop px]"""


class PhotoView(NamedTuple):
    """How heads are seen in their photos."""

    rotation: Float[Tensor, "B 3 3"]
    """Of the head, in the camera's frame."""
    anchor: Float[Tensor, "B 3"]
    """Where the anchor lies in the camera's frame [m]."""


def crop_view(crop_pose: Float[Tensor, "B 3"], crop_camera: Float[Tensor, "B 3"]) -> CropView:
    """The view that `BranchOutput.crop_pose` and `.crop_camera` mean."""
    return CropView(
        rotation_matrices(crop_pose),
        SCALE * crop_camera[:, 0].exp(),
        CENTRE + HALF * crop_camera[:, 1:],
    )


def crop_camera(
    scale: Float[Tensor, " B"], anchor_px: Float[Tensor, "B 2"]
) -> Float[Tensor, "B 3"]:
    """`BranchOutput.crop_camera` of a view: the inverse of `crop_view`."""
    return torch.cat([(scale / SCALE).log()[:, None], (anchor_px - CENTRE) / HALF], 1)


def anchor_of(landmarks: Float[Tensor, "B 68 3"]) -> Float[Tensor, "B 3"]:
    """The anchor of heads with these posed landmarks [m]."""
    return landmarks[:, 17:].mean(1)


def to_photo(
    view: CropView,
    crop_to_image: Float[Tensor, "B 2 3"],
    focal_px: Float[Tensor, " B"],
    centre_px: Float[Tensor, "B 2"],
) -> PhotoView:
    """The same heads in the frame of the photo's camera."""
    pixel = (crop_to_image[..., :2] @ view.anchor_px[..., None])[..., 0] + crop_to_image[..., 2]
    ray = _ray(pixel, focal_px, centre_px)
    rotation = _to_ray(ray) @ _roll(crop_to_image) @ view.rotation
    depth = focal_px / photo_scale(view, crop_to_image)
    return PhotoView(rotation, depth[:, None] * ray)


def photo_scale(view: CropView, crop_to_image: Float[Tensor, "B 2 3"]) -> Float[Tensor, " B"]:
    """Scale of the heads in their photos [px / m] at the anchor."""
    return view.scale * _zoom(crop_to_image)


def to_crop(
    rotation: Float[Tensor, "B 3 3"],
    anchor: Float[Tensor, "B 3"],
    camera: Camera,
    image_to_crop: Float[Tensor, "B 2 3"],
) -> CropView:
    """The view in a crop of heads that a photo's camera sees.

    Args:
        rotation: of the heads, in the camera's frame.
        anchor: of the posed heads, in the head's frame [m].
        camera: of the photos.
        image_to_crop: affine map from pixels of the photo to pixels of the crop.
    """
    pixel = project(camera, anchor[:, None])[:, 0]
    depth = -(anchor + camera.translation)[:, 2]
    ray = _ray(pixel, camera.focal_px, camera.centre_px)
    place = (image_to_crop[..., :2] @ pixel[..., None])[..., 0] + image_to_crop[..., 2]
    scale = camera.focal_px / depth * _zoom(image_to_crop)
    local = _roll(image_to_crop) @ _to_ray(ray).transpose(1, 2) @ rotation
    return CropView(local, scale, place)


def _ray(
    pixel: Float[Tensor, "B 2"], focal_px: Float[Tensor, " B"], centre_px: Float[Tensor, "B 2"]
) -> Float[Tensor, "B 3"]:
    """Directions with z = -1 through pixels."""
    x, y = ((pixel - centre_px) / focal_px[:, None]).unbind(-1)
    return torch.stack([x, -y, -torch.ones_like(x)], -1)


def _to_ray(ray: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 3"]:
    """The smallest rotation from the viewing axis -z to directions in front of the camera.

    R = I + K + K^2 / (1 + c) with K the cross-product matrix of (-z) x d and c their cosine.
    """
    x, y, z = (ray / ray.norm(dim=-1, keepdim=True)).unbind(-1)
    zero = torch.zeros_like(x)
    a, b = y, -x  # (0, 0, -1) x d = (y, -x, 0)
    K = torch.stack([zero, zero, b, zero, zero, -a, -b, a, zero], -1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=x.dtype, device=x.device)
    return identity + K + K @ K / (1 - z)[:, None, None]


def _zoom(matrix: Float[Tensor, "B 2 3"]) -> Float[Tensor, " B"]:
    """Pixels after a similarity per pixel before it."""
    return torch.linalg.det(matrix[..., :2]).abs().sqrt()


def _roll(matrix: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B 3 3"]:
    """The rotation of a similarity of pixels (y down) as one about the camera's z (y up)."""
    angle = -torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    zero = torch.zeros_like(angle)
    return rotation_matrices(torch.stack([zero, zero, angle], -1))
