"""Training samples of the landmark network, cut out of annotated photos; imports no torch."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mica_ext.landmarks.annotated_photos import LabelledPhoto
from mica_ext.landmarks.augment import local_warp, photometric_augment
from mica_ext.landmarks.view import VIEW, view_matrix, view_to_crop
from pacofr.faces import landmarks68
from pacofr.faces.align import ffhq_quad, move_points, square_quad

INPUT = VIEW.pixels


class CropSample(NamedTuple):
    """An input of the landmark network, and the landmarks in pixels of the face crop."""

    view: UInt8[np.ndarray, "128 128 3"]
    points: Float[np.ndarray, "68 2"]


def sample_crop(
    photos: Sequence[LabelledPhoto],
    index: int,
    rng: np.random.Generator,
    *,
    augment: bool = True,
    warp_probability: float = 0.0,
) -> CropSample:
    """One training sample of photo `index`; a function of the arguments and the generator.

    Args:
        photos: `index` is one of them; the others may be pasted over it.
        index: of the photo.
        rng: all randomness.
        augment: False gives the centred crop of the annotated face.
        warp_probability: of a `local_warp`.
    """
    image, points = photos[index]
    quad = ffhq_quad(points)
    centre, x = quad.mean(0), (quad[3] - quad[0]) / 2
    flip = False
    if augment:
        side = 2 * float(np.linalg.norm(x))
        large = rng.random() < 0.3
        centre = centre + rng.normal(0, 0.03 if large else 0.012, 2) * side
        angle = rng.uniform(-0.45, 0.45) if large else rng.normal(0, 0.04)
        scale = np.exp(rng.normal(0.015, 0.10 if large else 0.05))
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        x = scale * (rotation @ x)
        flip = bool(rng.random() < 0.5)
    matrix = view_matrix(square_quad(centre, x))
    if augment:
        stretch = np.diag(np.exp(rng.normal(0, 0.03, 2)))
        centre_px = np.full(2, INPUT / 2 - 0.5)
        matrix = stretch @ matrix
        matrix[:, 2] += centre_px - stretch @ centre_px
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / shrink)
    view = cv2.warpAffine(
        image, matrix, (INPUT, INPUT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    moved = move_points(matrix, points)
    if warp_probability and rng.random() < warp_probability:
        view, moved = local_warp(view, moved, rng)
    if flip:
        view = np.ascontiguousarray(view[:, ::-1])
        moved = landmarks68.mirrored(moved, INPUT)
    if augment:
        view = photometric_augment(view, photos, rng)
    return CropSample(view, view_to_crop(moved))
