"""Annotated faces: where their files lie, landmarks and boxes; the splits of data sets."""

import hashlib
import io
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped, UInt8

from pacofr.errors import UserError
from pacofr.images import decode_image, load_image
from pacofr.utils.bounded import read_bounded
from pacofr.utils.budgets import ANNOTATION_LINE, ANNOTATION_LINES

MAX_COORDINATE = 1e7
FAR_OUTSIDE = 0.5
"""Distance from the photo's border, in its longer sides, from which on a point must be wrong."""


class StoredFile(NamedTuple):
    """A file, or some bytes within one."""

    path: Path
    offset: int = 0
    size: int | None = None
    """None: the whole file."""
    name: str = ""
    """The original file of bytes that a cache holds."""

    def __str__(self) -> str:
        return self.name or str(self.path)

    def read(self, limit: int) -> bytes:
        """The bytes.

        Raises:
            UserError: the file is missing, cut short or larger than `limit`.
        """
        try:
            if self.size is None:
                return read_bounded(self.path, limit)
            with self.path.open("rb") as stream:
                data = os.pread(stream.fileno(), self.size, self.offset)
        except FileNotFoundError as error:
            raise UserError(f"{self.path}: expected a file of the data set, found none") from error
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}") from error
        if len(data) != self.size:
            raise UserError(f"{self.path} is cut short; delete the cache to have it made anew")
        return data


class LabelLayer(NamedTuple):
    """A file of labels: a map of class numbers, or the mask of one class."""

    file: StoredFile
    class_id: int | None = None
    """The class that the mask gives; None: the file is a map."""


class FaceSample(NamedTuple):
    """A picture of a face and what is known of it."""

    name: str
    image: StoredFile
    points: Float64[np.ndarray, "K 2"] | None = None
    """Landmarks, or for parsing the five points that align the face [px]."""
    box: Float64[np.ndarray, "4"] | None = None
    """x0, y0, x1, y1 [px]."""
    labels: tuple[LabelLayer, ...] = ()
    """Later layers overwrite earlier ones."""


class Split(NamedTuple):
    """A part of a data set."""

    data: str
    """Name of the data set."""
    split: str
    samples: tuple[FaceSample, ...]
    subsets: Mapping[str, tuple[int, ...]]
    """Positions of the samples of each subset that is scored, the whole split among them."""
    published: Mapping[str, tuple[int, ...]]
    """Numbers of samples of each subset that publications give."""

    @property
    def other_counts(self) -> list[str]:
        """The subsets that have other numbers of samples than published, in words."""
        return [
            f"{len(self.subsets[name])} in {name}, published are {' or '.join(map(str, counts))}"
            for name, counts in self.published.items()
            if len(self.subsets[name]) not in counts
        ]

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the samples, their points, boxes or order."""
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(sample.name.encode())
            for array in (sample.points, sample.box):
                digest.update(b"" if array is None else np.float32(array).tobytes())
        return digest.hexdigest()

    def subset(self, count: int | None, seed: int) -> "Split":
        """`count` samples drawn by `seed`, a larger draw contains the smaller ones; None: all.

        Raises:
            UserError: there are fewer.
        """
        if count is None:
            return self
        if count > len(self.samples):
            raise UserError(
                f"{self.data} {self.split}: expected {count} labelled pictures for --labels, found"
                f" {len(self.samples)}"
            )
        chosen = np.random.default_rng(seed).permutation(len(self.samples))[:count]
        return self._replace(samples=tuple(self.samples[i] for i in sorted(chosen)))


def read_photo(sample: FaceSample) -> UInt8[np.ndarray, "H W 3"]:
    """The sample's picture as RGB.

    Raises:
        UserError: it cannot be read, or landmarks lie far outside of it.
    """
    image = sample.image
    if image.size is None:
        photo = load_image(image.path)
    else:
        photo = decode_image(image.read(image.size), str(image))
    if sample.points is not None:
        _check_points(sample, photo.shape[1], photo.shape[0])
    return photo


def _check_points(sample: FaceSample, width: int, height: int) -> None:
    assert sample.points is not None
    margin = FAR_OUTSIDE * max(width, height)
    outside = (sample.points < -margin) | (sample.points > [width + margin, height + margin])
    if outside.any():
        number = int(outside.any(axis=1).argmax())
        x, y = sample.points[number]
        raise UserError(
            f"{sample.image}: expected landmarks in the picture of {width} x {height} px, point"
            f" {number + 1} lies at ({x:.0f}, {y:.0f}); are they those of this picture?"
        )


def read_lines(path: Path, limit: int) -> list[str]:
    """Lines of a text file of a data set that are not empty.

    Raises:
        UserError: it is missing, too large, without any line or no text.
    """
    try:
        text = io.TextIOWrapper(io.BytesIO(read_bounded(path, limit)), "utf-8")
        lines = [line.rstrip("\n") for line in islice(text, ANNOTATION_LINES + 1) if line.strip()]
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a file of the data set, found none") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected a text file, got other bytes") from error
    if not 0 < len(lines) <= ANNOTATION_LINES:
        raise UserError(f"{path}: expected 1 to {ANNOTATION_LINES} lines, got {len(lines)}")
    longest = max(map(len, lines))
    if longest > ANNOTATION_LINE:
        raise UserError(f"{path}: expected lines of at most {ANNOTATION_LINE} characters")
    return lines


def numbers(words: list[str], count: int, where: str) -> Float64[np.ndarray, " count"]:
    """`count` numbers below `MAX_COORDINATE`.

    Raises:
        UserError: there are others, or fewer or more; `where` begins the line.
    """
    try:
        values = np.array(words, np.float64)
    except ValueError as error:
        raise UserError(f"{where}: expected {count} numbers, got other text") from error
    if len(values) != count or not (np.abs(values) < MAX_COORDINATE).all():
        raise UserError(f"{where}: expected {count} finite numbers, got {len(values)}")
    return values


def points_box(points: Shaped[np.ndarray, "K 2"], scale: float = 1.0) -> Float64[np.ndarray, "4"]:
    """The square about the points' bounding box whose side is its longer one, times `scale`."""
    low, high = points.min(axis=0), points.max(axis=0)
    centre, half = (low + high) / 2, scale * (high - low).max() / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float64)
