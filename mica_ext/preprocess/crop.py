"""Face crops for the networks, from five points; training, evaluation and product share it."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from pacofr.faces.align import arcface_crop, encoder_crop, ffhq_matrix


class EncoderInput(NamedTuple):
    """The face encoder's crop of one face."""

    crop: Float[Tensor, "3 224 224"]
    """FFHQ alignment, RGB in [0, 1]; the 200-pixel face on its 256-pixel canvas, resized."""
    crop_to_image: Float[Tensor, "2 3"]
    """Pixels of `crop` to pixels of the photo (pixel centres at whole numbers in both)."""


def encoder_input(
    image: UInt8[np.ndarray, "H W 3"], points: Shaped[np.ndarray, "5 2"]
) -> EncoderInput:
    """Cut the face with these five points [px], in the detector's order, out of an RGB photo."""
    crop = encoder_crop(image, points)
    to_crop = ffhq_matrix(points)
    return EncoderInput(
        crop=torch.from_numpy(crop).permute(2, 0, 1).contiguous() / 255.0,
        crop_to_image=torch.from_numpy(cv2.invertAffineTransform(to_crop)).float(),
    )


def arcface_input(
    image: UInt8[np.ndarray, "H W 3"], points: Shaped[np.ndarray, "5 2"]
) -> Float[Tensor, "3 112 112"]:
    """The same for the identity network: ArcFace alignment, RGB in [-1, 1]."""
    crop = arcface_crop(image, points)
    return torch.from_numpy(crop).permute(2, 0, 1).contiguous() / 127.5 - 1.0


def move_points(
    matrix: Float[Tensor, "*batch 2 3"], points: Float[Tensor, "*batch N 2"]
) -> Float[Tensor, "*batch N 2"]:
    """Apply 2x3 matrices to pixel coordinates."""
    return points @ matrix[..., :2].transpose(-1, -2) + matrix[..., None, :, 2]
