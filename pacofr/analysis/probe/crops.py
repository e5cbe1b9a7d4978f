"""The crops that encoders are probed on: aligned as for pre-training, then displaced at random.

Shift, rotation and scale keep the crop itself from giving the landmarks away. Every draw is a
function of (seed, photo, copy), so encoders are compared on the same crops, photo by photo.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8

from pacofr.analysis.config import ProbeConfig
from pacofr.errors import UserError
from pacofr.faces.align import CANVAS_PX, FACE_PX, ffhq_crop, ffhq_matrix, move_points
from pacofr.faces.landmarks68 import mirrored, read_pts
from pacofr.images import list_images, load_image
from pacofr.tasks.parsing.classes import SYNTHETIC
from pacofr.tasks.parsing.labels import read_photo_and_labels
from pacofr.tasks.parsing.layouts import load_parsing_split
from pacofr.utils.counter_rng import Stream, uniforms
from pacofr.utils.progress import track

TEST_SEED = 1_000_003  # the test crops do not depend on the config's seed


class AnnotatedCrops(NamedTuple):
    """Displaced crops of annotated photos."""

    images: UInt8[np.ndarray, "N S S 3"]
    points: Float64[np.ndarray, "N 68 2"]
    """In crop pixels."""
    photo: Int64[np.ndarray, " N"]
    """Number of the photo each crop shows."""


class LabelledCrops(NamedTuple):
    """Displaced crops of pictures with a class for every pixel."""

    images: UInt8[np.ndarray, "N S S 3"]
    labels: UInt8[np.ndarray, "N S S"]
    """0 also where the crop shows no picture."""
    photo: Int64[np.ndarray, " N"]


def annotated_crops(folder: Path, side: int, config: ProbeConfig, *, test: bool) -> AnnotatedCrops:
    """Displaced crops of every photo of `folder`, `copies` or `test_copies` of each.

    Every second copy is mirrored.

    Raises:
        UserError: a photo or its landmarks cannot be read.
    """
    photos = list_images(folder)
    images, points, owner = [], [], []
    for number, photo in enumerate(track(photos, f"cropping {folder.name}")):
        image, truth = load_image(photo), read_pts(photo.with_suffix(".pts"))
        for copy, guide in enumerate(_guides(truth, number, config, test=test)):
            crop = _sized(ffhq_crop(image, guide, FACE_PX, CANVAS_PX), side)
            matrix = ffhq_matrix(guide, FACE_PX, CANVAS_PX, CANVAS_PX)
            moved = (move_points(matrix, truth) + 0.5) * (side / CANVAS_PX) - 0.5
            if copy % 2:
                crop, moved = crop[:, ::-1], mirrored(moved, side)
            images.append(crop)
            points.append(moved)
            owner.append(number)
    return AnnotatedCrops(np.stack(images), np.stack(points), np.array(owner))


def labelled_crops(root: Path, side: int, config: ProbeConfig, *, test: bool) -> LabelledCrops:
    """Displaced crops of a set in LaPa's layout, as `mica-ext synth-parsing` writes them.

    None is mirrored: the classes tell left from right.

    Raises:
        UserError: the set cannot be read.
    """
    split = load_parsing_split("synthetic", root, "test" if test else "train")
    images, labels, owner = [], [], []
    for number, sample in enumerate(track(split.samples, f"cropping {split.split}")):
        if sample.points is None:
            raise UserError(f"{sample.image}: expected landmarks that align the face, found none")
        image, classes = read_photo_and_labels(sample, len(SYNTHETIC))
        for guide in _guides(sample.points, number, config, test=test):
            images.append(_sized(ffhq_crop(image, guide, FACE_PX, CANVAS_PX), side))
            matrix = ffhq_matrix(guide, FACE_PX, CANVAS_PX, side)
            labels.append(cv2.warpAffine(classes, matrix, (side, side), flags=cv2.INTER_NEAREST))
            owner.append(number)
    return LabelledCrops(np.stack(images), np.stack(labels), np.array(owner))


def mean_per_photo(
    errors: Float64[np.ndarray, " N"], photo: Int64[np.ndarray, " N"]
) -> Float64[np.ndarray, " P"]:
    """Mean error of each photo's crops."""
    return np.bincount(photo, weights=errors) / np.bincount(photo)


def subset(photo: Int64[np.ndarray, " N"], count: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Crops of `count` photos drawn by `seed`; a smaller subset of a seed lies in a larger one."""
    photos = int(photo.max()) + 1
    draws = uniforms(seed, 0, np.arange(photos), Stream.PROBE_SUBSET, 1)[:, 0]
    chosen = np.argsort(draws, kind="stable")[:count]
    return np.flatnonzero(np.isin(photo, chosen))


def _guides(
    truth: Shaped[np.ndarray, "P 2"], number: int, config: ProbeConfig, *, test: bool
) -> Sequence[Float64[np.ndarray, "P 2"]]:
    """The displaced points that each copy of a photo is cropped by."""
    copies = config.test_copies if test else config.copies
    seed, stream = (TEST_SEED, Stream.PROBE_TEST) if test else (config.seed, Stream.PROBE_TRAIN)
    guides = []
    for copy in range(copies):
        draws = uniforms(seed, copy, np.array([number]), stream, 4)[0] * 2 - 1
        guides.append(_displaced(truth, draws, config))
    return guides


def _displaced(
    truth: Shaped[np.ndarray, "P 2"], draws: Float64[np.ndarray, " 4"], config: ProbeConfig
) -> Float64[np.ndarray, "P 2"]:
    """Points moved by `draws` in [-1, 1]: shift x and y, rotation and scale."""
    angle, scale = np.radians(config.turn_degrees) * draws[2], 1 + config.stretch * draws[3]
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(ffhq_matrix(truth, FACE_PX, FACE_PX, FACE_PX)[:, :2])
    shift = inverse @ (config.shift * FACE_PX * draws[:2])
    centre = truth.mean(axis=0)
    return (truth - centre) @ rotation.T + centre + shift


def _sized(canvas: UInt8[np.ndarray, "C C 3"], side: int) -> UInt8[np.ndarray, "side side 3"]:
    if side == len(canvas):
        return canvas
    how = cv2.INTER_AREA if side < len(canvas) else cv2.INTER_LINEAR
    return cv2.resize(canvas, (side, side), interpolation=how)
