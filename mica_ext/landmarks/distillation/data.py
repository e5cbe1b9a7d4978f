"""The training's faces and how a step's crops are drawn from them."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor

from mica_ext.landmarks.distillation.face_store import FaceStore
from mica_ext.landmarks.distillation.face_surface import FaceSurface, yaw_of
from mica_ext.landmarks.distillation.samples import (
    POINT_ODDS,
    CropOdds,
    Sample,
    normalised,
    sample_crop,
)
from mica_ext.landmarks.regions import KEY_POINTS
from mica_ext.landmarks.student.network import ROLL_FROM_MOUTH, SIDE_PER_BOX
from pacofr.engine.batches.sampling import RankBatch
from pacofr.faces.face_mesh.region import crop_region, region_of_five
from pacofr.faces.face_mesh.topology import IBUG68, LEFT_EYE_OUTER, POINTS, RIGHT_EYE_OUTER
from pacofr.faces.landmarks68 import eye_aspect_ratio, mouth_opening

CLOSED_EYE = 0.13
"""Eye aspect ratio below which a face is rare, if it is frontal enough to tell."""
TELLING_YAW = np.radians(30)
OPEN_MOUTH = 0.18
TURNED = np.radians(22)
SHARP_PX = 115.0
"""Longer side of the points' box above which a crop is not enlarged much."""


class CropBatch(NamedTuple):
    """Crops of a step and their truth."""

    crops: UInt8[Tensor, "b S S 3"]
    points: Float[Tensor, "b 478 2"]
    visibility: Float[Tensor, "b 7"]
    face: Float[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class TrainingFaces:
    """All faces of a training; the held-out ones are in none of the other lists."""

    photos: FaceStore
    heads: FaceStore
    """Rendered ones."""
    surface: FaceSurface
    common: Int64[np.ndarray, " n"]
    """Faces of photos to train on."""
    rare: Int64[np.ndarray, " m"]
    """Those among them with closed eyes, open mouth or turned head; never empty."""
    sharp: Int64[np.ndarray, " s"]
    """Those among them that show lids and lips in detail; never empty."""
    held_out: Int64[np.ndarray, " k"]

    @property
    def fingerprint(self) -> str:
        """Changes with any face."""
        digest = hashlib.sha256()
        for store in (self.photos, self.heads):
            digest.update(store.points.tobytes() + store.ends.tobytes())
        return digest.hexdigest()


def split_faces(photos: FaceStore, heads: FaceStore, holdout: int, seed: int) -> TrainingFaces:
    """Hold out `holdout` random faces and find the rare ones among the others."""
    order = np.random.default_rng(seed).permutation(len(photos))
    common = np.sort(order[holdout:])
    rare = common[_is_rare(photos.points[common])]
    sharp = common[np.ptp(photos.points[common, :, :2], axis=1).max(1) > SHARP_PX]
    return TrainingFaces(
        photos=photos,
        heads=heads,
        surface=FaceSurface.from_faces(photos.points),
        common=common,
        rare=rare if len(rare) else common,
        sharp=sharp if len(sharp) else common,
        held_out=np.sort(order[:holdout]),
    )


def _is_rare(points: Shaped[np.ndarray, "n 478 3"]) -> Shaped[np.ndarray, " n"]:
    marks, yaw = points[:, IBUG68, :2], np.abs(yaw_of(points))
    closed = (eye_aspect_ratio(marks).min(1) < CLOSED_EYE) & (yaw < TELLING_YAW)
    return closed | (mouth_opening(marks) > OPEN_MOUTH) | (yaw > TURNED)


class CropReader:
    """Draws a step's crops of common (source 0), rare (1) and sharp photos (3), of heads (2)."""

    def __init__(
        self, faces: TrainingFaces, size: int, seed: int, odds: CropOdds = POINT_ODDS
    ) -> None:
        self.faces, self.size, self.seed, self.odds = faces, size, seed, odds

    def __call__(self, batch: RankBatch) -> CropBatch:
        """The tensors of a step; a function of (seed, source, epoch, index)."""
        samples = [self._sample(*(int(value) for value in row)) for row in zip(*batch, strict=True)]
        crops, points, visibility, face = zip(*samples, strict=True)
        return CropBatch(
            torch.from_numpy(np.stack(crops)),
            torch.from_numpy(np.stack(points)),
            torch.from_numpy(np.stack(visibility)),
            torch.tensor(face, dtype=torch.float32),
        )

    def _sample(self, source: int, epoch: int, index: int) -> Sample:
        faces = self.faces
        rng = np.random.default_rng((self.seed, source, epoch, index))
        if source == 2:
            face = faces.heads.face(index)
        else:
            lists = {0: faces.common, 1: faces.rare, 3: faces.sharp}
            face = faces.photos.face(int(lists[source][index]))
        return sample_crop(
            face,
            faces.surface,
            rng,
            self.size,
            may_turn=source != 2,
            other_photo=lambda: faces.photos.face(int(rng.choice(faces.common))).picture,
            odds=self.odds,
        )


class InferenceCrops(NamedTuple):
    """Crops as at inference, around the detector's points, and the teacher's points in them."""

    crops: UInt8[Tensor, "k S S 3"]
    points: Float[Tensor, "k 478 2"]
    """In [-1, 1]."""


def inference_crops(
    store: FaceStore, indices: Int64[np.ndarray, " k"], size: int
) -> InferenceCrops:
    """Faces of photos without any augmentation."""
    crops, points = [], []
    for index in indices:
        face = store.face(int(index))
        region = region_of_five(face.five, SIDE_PER_BOX, roll_from_mouth=ROLL_FROM_MOUTH)
        matrix = region.to_crop(size)
        crops.append(crop_region(face.picture, region, size))
        in_crop = face.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        points.append(normalised(in_crop, size))
    return InferenceCrops(
        torch.from_numpy(np.array(crops, np.uint8).reshape(-1, size, size, 3)),
        torch.from_numpy(np.array(points, np.float32).reshape(-1, POINTS, 2)),
    )


def decoder_regression(
    points: Float[Tensor, "n 478 2"],
) -> tuple[Float[Tensor, "956 k"], Float[Tensor, "956"]]:
    """Least-squares weight and bias of the linear map from true key points to all points."""
    flat = points.double().flatten(1)
    keys = torch.cat([points[:, KEY_POINTS].double().flatten(1), torch.ones(len(flat), 1)], 1)
    ridge = 1e-2 * torch.eye(keys.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(keys.T @ keys + ridge, keys.T @ flat)
    return solution[:-1].T.float(), solution[-1].float()


def eye_distances(points: Float[Tensor, "n 478 2"]) -> Float[Tensor, " n"]:
    """Distance of the outer eye corners."""
    return (points[:, LEFT_EYE_OUTER] - points[:, RIGHT_EYE_OUTER]).norm(dim=-1)
