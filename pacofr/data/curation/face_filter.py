"""Which detected face of a photo becomes a crop, and why a photo gives none."""

import hashlib
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.stats import Reason
from pacofr.faces.align import ffhq_crop
from pacofr.faces.detect import Face
from pacofr.faces.mtcnn.cascade import load_mtcnn

MIN_CONFIRMED_SCORE = 0.3
"""MTCNN's score of a face that another detector found."""
MIN_UPRIGHT_SCORE = 0.5
BROWS_TO_MOUTH = (slice(88, 198), slice(68, 188))
"""Rows and columns of the 256 px canvas in which sharpness is measured."""


class FilteredFace(NamedTuple):
    """A face's crop, or the reason why it gives none."""

    crop: UInt8[np.ndarray, "256 256 3"] | None
    reason: Reason | None
    face: Face | None = None
    sharpness: float = 0.0


def select_face(
    image: UInt8[np.ndarray, "H W 3"],
    faces: list[Face],
    config: CurateConfig,
    *,
    name: str,
    confirm: bool,
) -> FilteredFace:
    """One face that passes the filters; else what the last one of them failed.

    The order in which faces are tried is drawn from the config's seed and `name`, the photo's.
    With `confirm`, MTCNN's last network must agree to a face that another detector found.
    """
    seed = f"{config.seed}/{name}".encode("utf-8", "surrogateescape")
    number = int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "little")
    result = FilteredFace(None, Reason.NO_FACE)
    for index in np.random.default_rng(number).permutation(len(faces)):
        result = _filter_face(image, faces[index], config, confirm)
        if result.crop is not None:
            break
    return result


def sharpness(crop: UInt8[np.ndarray, "256 256 3"]) -> float:
    """Ratio of fine to coarse detail between brows and mouth, whatever contrast and background."""
    grey = cv2.cvtColor(crop[BROWS_TO_MOUTH], cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = cv2.GaussianBlur(grey, (0, 0), 1.5), cv2.GaussianBlur(grey, (0, 0), 5.0)
    return float((grey - fine).std() / max(float((fine - coarse).std()), 1.0))


def _filter_face(
    image: UInt8[np.ndarray, "H W 3"], face: Face, config: CurateConfig, confirm: bool
) -> FilteredFace:
    if not (np.isfinite(face.box).all() and np.isfinite(face.points).all()):
        return FilteredFace(None, Reason.NOT_A_FACE)
    if face.size < config.min_face:
        return FilteredFace(None, Reason.SMALL, face)
    if face.score < config.min_score:
        return FilteredFace(None, Reason.LOW_SCORE, face)
    border = np.array([[-0.5, -0.5], [image.shape[1] + 0.5, image.shape[0] + 0.5]])
    centre = face.points.mean(axis=0)
    inside = (centre > border[0]).all() and (centre < border[1]).all()
    if not inside or face.upright_score < MIN_UPRIGHT_SCORE:
        return FilteredFace(None, Reason.NOT_A_FACE, face)
    if confirm and load_mtcnn().confirm(image, face.box[None])[0] < MIN_CONFIRMED_SCORE:
        return FilteredFace(None, Reason.NOT_A_FACE, face)
    crop = ffhq_crop(image, face.points)
    sharp = sharpness(crop)
    if sharp < config.min_sharpness:
        return FilteredFace(None, Reason.BLURRED, face, sharp)
    return FilteredFace(crop, None, face, sharp)
