"""Samples of `mica-ext samples` as labelled pictures."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from mica_ext.data.branch.sample import BranchSample
from mica_ext.data.branch.shards import BranchDataset
from mica_ext.data.branch.splits import Split
from mica_ext.errors import UserError
from mica_ext.expression.training.crops import LabelledPicture
from mica_ext.models.types import Camera, FaceParameters
from pacofr.errors import UserError as ContentError
from pacofr.faces.face_mesh.topology import IBUG68
from pacofr.utils.config_json import read_json

ABOUT = "samples.json"
MEASURED = ("coma", "famos", "mica", "heads")
"""Sources whose identities are of scans or exact."""


class SampleFolder:
    """One split of a folder of samples, for a head; may be used in spawned workers."""

    def __init__(
        self, folder: Path, split: Split, head: HeadModel, *, keep_mb: float = 0.0
    ) -> None:
        """Open it.

        Args:
            folder: of `mica-ext samples`.
            split: which of its samples.
            head: whose labels they must be.
            keep_mb: decoded pictures that are kept for the next time [MiB].

        Raises:
            UserError: it holds no samples of this split, or those of another head.
        """
        self.measured = _require_head(folder, head) in MEASURED
        try:
            self.samples = BranchDataset(folder / split)
        except ContentError as error:
            raise UserError(str(error)) from error
        self.folder = folder
        self.sizes = (head.shape_count, head.expression_count)
        self.kept: dict[int, LabelledPicture] = {}
        self.room = keep_mb * 2**20

    def __len__(self) -> int:
        return len(self.samples)

    def __call__(self, epoch: int, index: int) -> LabelledPicture:
        """Sample `index`, the same in every epoch."""
        if index in self.kept:
            return self.kept[index]
        face = self._read(index)
        if face.picture.nbytes <= self.room:
            self.room -= face.picture.nbytes
            self.kept[index] = face
        return face

    def _read(self, index: int) -> LabelledPicture:
        sample = self.samples[index]
        parameters = _parameters(sample, self.sizes)
        landmarks = confidence = None
        if parameters is None:
            if sample.points_px is None:
                raise UserError(
                    f"{self.folder}: sample {index} has neither parameters nor points; make the "
                    "samples again"
                )
            landmarks = sample.points_px[IBUG68]
            if sample.point_confidence is not None:
                confidence = sample.confidence * sample.point_confidence[IBUG68]
        return LabelledPicture(
            sample.picture,
            sample.five_points.astype(np.float64),
            landmarks,
            np.full(68, sample.confidence) if confidence is None else confidence,
            sample.points_px,
            _dense_confidence(sample),
            _unknown(self.sizes) if parameters is None else parameters,
            0.0 if parameters is None else sample.confidence,
            float(self.measured and sample.shape is not None),
        )


class _About(NamedTuple):
    """What is read of samples.json."""

    head: object
    head_version: object


def _dense_confidence(sample: BranchSample) -> Float[np.ndarray, "478"] | None:
    if sample.points_px is None:
        return None
    own = 1.0 if sample.point_confidence is None else sample.point_confidence
    return np.full(len(sample.points_px), sample.confidence) * own


def _require_head(folder: Path, head: HeadModel) -> object:
    """The source of the samples, which must be of this head."""
    path = folder / ABOUT
    try:
        content = read_json(path, "a folder of `mica-ext samples` that is done")
    except ContentError as error:
        raise UserError(f"--data {folder}: {error}") from error
    about = content if isinstance(content, dict) else {}
    found = _About(about.get("head"), about.get("head_version"))
    if found != (head.name, head.version):
        raise UserError(
            f"--data {folder}: its labels belong to the head {json.dumps(found.head)} "
            f"{json.dumps(found.head_version)}, got {head.name} {head.version}: give --head, or "
            "make samples for this one"
        )
    return about.get("source")


def _parameters(sample: BranchSample, sizes: tuple[int, int]) -> FaceParameters | None:
    """None where expression, pose or camera are unknown."""
    needed = (
        sample.expression,
        sample.global_pose,
        sample.focal_px,
        sample.centre_px,
        sample.translation,
    )
    if any(value is None for value in needed):
        return None
    expression, pose, focal, centre, translation = (_row(value) for value in needed)
    shape = np.zeros(sizes[0], np.float32) if sample.shape is None else sample.shape
    if (len(shape), expression.shape[1]) != sizes:
        raise UserError(
            f"{sample.source}: expected {sizes[0]} shape and {sizes[1]} expression coefficients, "
            f"got {len(shape)} and {expression.shape[1]}; make the samples again"
        )
    zero = np.zeros(3, np.float32)
    others = (sample.neck_pose, sample.jaw_pose, sample.left_eye_pose, sample.right_eye_pose)
    turns = [_row(zero if value is None else value) for value in others]
    head = HeadParameters(_row(shape), expression, pose, *turns)
    return FaceParameters(head, Camera(focal[0], centre, translation))


def _unknown(sizes: tuple[int, int]) -> FaceParameters:
    """Stands where parameters are unknown: a head at rest, a metre away."""
    widths = (*sizes, 3, 3, 3, 3, 3)
    head = HeadParameters(*(torch.zeros(1, width) for width in widths))
    return FaceParameters(
        head, Camera(torch.ones(1), torch.zeros(1, 2), torch.tensor([[0.0, 0.0, -1.0]]))
    )


def _row(value: np.ndarray | None) -> Tensor:
    assert value is not None
    return torch.from_numpy(np.ascontiguousarray(value, np.float32))[None]
