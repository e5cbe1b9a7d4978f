"""Frames and landmarks of alignment samples, as they are trained on and evaluated."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from pacofr.engine.batches.sampling import RankBatch
from pacofr.faces.align import compose, move_points
from pacofr.faces.landmarks68 import mirrored
from pacofr.tasks.augment.matrices import about_centre, crop_matrix
from pacofr.tasks.augment.photometric import add_noise, occlude, vary_colour
from pacofr.tasks.augment.tanh_warp import warp_image
from pacofr.tasks.config import AlignmentConfig
from pacofr.tasks.evaluation import EvaluationBatch
from pacofr.tasks.records import FaceSample, read_photo


class AlignmentBatch(NamedTuple):
    """Frames and their landmarks."""

    frames: UInt8[Tensor, "b S S 3"]
    points: Float[Tensor, "b K 2"]
    """Normalised to the frame: (x, y) in [0, 1] from edge to edge."""


def normalise(points: Float64[np.ndarray, "K 2"], size: int) -> Float64[np.ndarray, "K 2"]:
    """Frame pixels to [0, 1]."""
    return (points + 0.5) / size


class HeldPhotos:
    """Decoded photos by number: the first ones that are read, until `limit` bytes are held."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._photos: dict[int, UInt8[np.ndarray, "H W 3"]] = {}

    def read(self, number: int, sample: FaceSample) -> UInt8[np.ndarray, "H W 3"]:
        """`read_photo` of the sample, or what it gave before.

        Raises:
            UserError: as `read_photo`.
        """
        if number in self._photos:
            return self._photos[number]
        photo = read_photo(sample)
        if photo.nbytes <= self._left:
            self._left -= photo.nbytes
            self._photos[number] = photo
        return photo


class AlignmentReader:
    """Makes training batches; augmentations are functions of (seed, epoch, sample)."""

    def __init__(self, samples: Sequence[FaceSample], config: AlignmentConfig, seed: int) -> None:
        self.samples, self.config, self.seed = samples, config, seed
        self.photos = HeldPhotos(round(1e9 * config.hold_gb))

    def __call__(self, batch: RankBatch) -> AlignmentBatch:
        """The tensors of a step."""
        frames, points = [], []
        for epoch, index in zip(batch.epoch.tolist(), batch.index.tolist(), strict=True):
            rng = np.random.default_rng((self.seed, epoch, index))
            frame, landmarks = self.sample(index, rng)
            frames.append(frame)
            points.append(landmarks)
        return AlignmentBatch(
            torch.from_numpy(np.stack(frames)),
            torch.from_numpy(np.stack(points).astype(np.float32)),
        )

    def sample(
        self, index: int, rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "S S 3"], Float64[np.ndarray, "K 2"]]:
        """An augmented frame and its normalised landmarks."""
        config, sample, size = self.config, self.samples[index], self.config.frame
        assert size is not None
        assert config.crop_scale is not None
        assert sample.points is not None
        assert sample.box is not None
        photo = self.photos.read(index, sample)
        scale = config.crop_scale + config.scaling * rng.uniform(-1, 1)
        augment = about_centre(
            size,
            angle=config.rotation * rng.uniform(-1, 1),
            shift=config.shift * size * rng.uniform(-1, 1, 2),
        )
        matrix = compose(augment, crop_matrix(sample.box, size, scale))
        frame = warp_image(photo, matrix, size, 0.0)
        points = move_points(matrix, sample.points)
        if config.mirror and rng.random() < config.mirror:
            frame, points = np.ascontiguousarray(frame[:, ::-1]), mirrored(points, size)
        frame = add_noise(occlude(frame, rng), rng)
        return vary_colour(frame, rng), normalise(points, size)


class AlignmentEvaluationReader:
    """Makes batches of frames as they are evaluated: cut out by the box, not augmented."""

    def __init__(self, samples: Sequence[FaceSample], size: int, crop_scale: float) -> None:
        self.samples, self.size, self.crop_scale = samples, size, crop_scale

    def __call__(self, batch: RankBatch) -> EvaluationBatch:
        """The tensors of a batch."""
        frames, matrices = [], []
        for index in batch.index.tolist():
            sample = self.samples[index]
            assert sample.box is not None
            matrix = crop_matrix(sample.box, self.size, self.crop_scale)
            frames.append(warp_image(read_photo(sample), matrix, self.size, 0.0))
            matrices.append(matrix)
        return EvaluationBatch.stack(frames, matrices, batch)
