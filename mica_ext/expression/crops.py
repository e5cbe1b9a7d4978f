"""Training crops of the expression branch, cut out of any labelled picture of a face."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder
from flame_assets.model.lbs import rotation_matrices
from mica_ext.data.augmentation.augment import photometric_augment
from mica_ext.data.augmentation.occlusion import Scene, occlude
from mica_ext.data.synthetic.appearance.painting import background
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import CropChanges
from mica_ext.expression.crop_camera import anchor_of, crop_camera, to_crop
from mica_ext.expression.losses import Truth
from mica_ext.fitting.correspondence.calibration import UNCALIBRATED, load_calibration
from mica_ext.fitting.geometry.rotations import matrix_to_axis_angle
from mica_ext.models.projection import project
from mica_ext.models.types import FaceParameters
from mica_ext.preprocess.crop import crop_points
from pacofr.faces.align import CropWindow, encoder_crop, ffhq_matrix, move_points
from pacofr.faces.face_mesh.topology import IBUG68


class LabelledPicture(NamedTuple):
    """A picture of a face and what is known of it; pixels are the picture's."""

    picture: UInt8[np.ndarray, "H W 3"]
    five_points: Float[np.ndarray, "5 2"]
    """The crop is cut by them: see `pacofr.faces.align`."""
    landmarks_px: Float[np.ndarray, "68 2"] | None
    """iBUG; None: those of the parameters' head."""
    confidence: Float[np.ndarray, "68"] | None
    """Of the landmarks, 0 to 1; None: 1."""
    points_px: Float[np.ndarray, "478 2"] | None
    """Dense points, where occluders are put; None: inferred from the landmarks."""
    parameters: FaceParameters
    """A batch of one; not used where `has_3d` is 0."""
    has_3d: float
    """Weight of the parameters: 1 if exact, less if a fit made them, 0 if unknown."""
    has_shape: float
    """1 where the parameters' identity was measured, 0 where a fit to a photo guessed it."""


class TrainingCrops(NamedTuple):
    """Crops and what is known of them."""

    crops: Float[Tensor, "B 3 S S"]
    """The encoder's window of the crop, RGB in [0, 1]."""
    truth: Truth
    arcface: Float[Tensor, "B 3 A A"]
    """ArcFace crops of the same pictures, unchanged, RGB in [-1, 1]; 112 a side, or empty."""
    has_shape: Float[Tensor, " B"]
    """See `LabelledPicture`."""


class CropMaker:
    """Cuts the window of the encoder out of labelled pictures, and moves their labels along."""

    def __init__(
        self,
        decoder: HeadDecoder,
        window: CropWindow,
        changes: CropChanges,
        *,
        arcface: bool = False,
    ) -> None:
        """Set up for a head.

        Args:
            decoder: of the head that parameters belong to.
            window: what the encoder sees of the crop, see `network.encoder_window`.
            changes: how often and how far crops are changed at random.
            arcface: cut the identity network's crops too.
        """
        self.decoder = decoder.landmark_head()
        self.window, self.changes, self.arcface = window, changes, arcface
        self.mean_points = load_calibration(UNCALIBRATED.parent).mean

    @torch.no_grad()
    def __call__(
        self, faces: Sequence[LabelledPicture], rngs: Sequence[np.random.Generator]
    ) -> TrainingCrops:
        """Crops of a batch; every draw for a face is of its own generator."""
        parameters = _batch_of([face.parameters for face in faces])
        mesh = self.decoder(parameters.head)
        landmarks = project(parameters.camera, mesh.landmarks).numpy()
        crops, matrices, seen, trust = [], [], [], []
        for row, (face, rng) in enumerate(zip(faces, rngs, strict=True)):
            points = landmarks[row] if face.landmarks_px is None else face.landmarks_px
            five = self._noisy(face.five_points, rng)
            matrix = ffhq_matrix(five)
            crops.append(self._crop(face, five, matrix, points, rng))
            matrices.append(matrix)
            seen.append(move_points(matrix, points))
            trust.append(np.ones(68) if face.confidence is None else face.confidence)
        image_to_crop = torch.from_numpy(np.stack(matrices)).float()
        movement = self._movement(parameters, mesh.landmarks, image_to_crop)
        known = torch.tensor([face.has_3d for face in faces])
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        points, confidence = (torch.from_numpy(np.stack(part)).float() for part in (seen, trust))
        return TrainingCrops(
            pixels,
            Truth(parameters.head.shape, movement, points, confidence, known),
            self._arcface(faces),
            torch.tensor([face.has_shape for face in faces]),
        )

    def _arcface(self, faces: Sequence[LabelledPicture]) -> Float[Tensor, "B 3 A A"]:
        if not self.arcface:
            return torch.zeros(len(faces), 3, 0, 0)
        return torch.stack([crop_points(face.picture, face.five_points).arcface for face in faces])

    def _noisy(
        self, five: Float[np.ndarray, "5 2"], rng: np.random.Generator
    ) -> Float[np.ndarray, "5 2"]:
        eyes = np.linalg.norm(five[1] - five[0])
        return five + rng.normal(0, self.changes.five_points * eyes, five.shape)

    def _crop(
        self,
        face: LabelledPicture,
        five: Float[np.ndarray, "5 2"],
        matrix: Float[np.ndarray, "2 3"],
        landmarks_px: Float[np.ndarray, "68 2"],
        rng: np.random.Generator,
    ) -> UInt8[np.ndarray, "S S 3"]:
        window, changes = self.window, self.changes
        inside = slice(window.start, window.start + window.side)
        crop = encoder_crop(face.picture, five)[inside, inside]
        if window.pixels != window.side:
            size = (window.pixels, window.pixels)
            crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
        if rng.random() < changes.occlusion:
            dense = self._dense(landmarks_px) if face.points_px is None else face.points_px
            points = move_points(window.from_crop, move_points(matrix, dense))
            scene = Scene(crop, points, rng, lambda: background(rng, window.pixels, window.pixels))
            crop, _ = occlude(scene)
        return photometric_augment(crop, rng) if rng.random() < changes.light else crop

    def _dense(self, landmarks_px: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "478 2"]:
        """The mean person's 478 points, by the affine map that fits the inner landmarks best."""
        ones = np.ones((len(self.mean_points), 1))
        source = np.concatenate([self.mean_points, ones], 1)
        matrix, *_ = np.linalg.lstsq(source[IBUG68[17:]], landmarks_px[17:], rcond=None)
        return source @ matrix

    def _movement(
        self,
        parameters: FaceParameters,
        landmarks: Float[Tensor, "B 68 3"],
        image_to_crop: Float[Tensor, "B 2 3"],
    ) -> BranchOutput:
        head, camera = parameters
        rotation = rotation_matrices(head.global_pose) @ rotation_matrices(head.neck_pose)
        view = to_crop(rotation, anchor_of(landmarks), camera, image_to_crop)
        pose = torch.from_numpy(matrix_to_axis_angle(view.rotation.double().numpy())).float()
        return BranchOutput(
            head.expression,
            head.jaw_pose,
            head.left_eye_pose,
            head.right_eye_pose,
            pose,
            crop_camera(view.scale, view.anchor_px),
        )


def _batch_of(parameters: Sequence[FaceParameters]) -> FaceParameters:
    heads, cameras = zip(*parameters, strict=True)
    return FaceParameters(
        type(heads[0])(*(torch.cat(part) for part in zip(*heads, strict=True))),
        type(cameras[0])(*(torch.cat(part) for part in zip(*cameras, strict=True))),
    )
