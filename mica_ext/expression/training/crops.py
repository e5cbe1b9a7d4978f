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
from mica_ext.expression.mirror import HeadMirror
from mica_ext.expression.training.losses import Truth
from mica_ext.expression.training.mirrored_truth import mirrored_truth
from mica_ext.fitting.correspondence.calibration import UNCALIBRATED, load_calibration
from mica_ext.fitting.geometry.rotations import matrix_to_axis_angle
from mica_ext.models.projection import project
from mica_ext.models.types import FaceParameters
from mica_ext.preprocess.crop import arcface_input
from pacofr.faces.align import (
    IMAGENET_MEAN_COLOUR,
    CropWindow,
    compose,
    ffhq_matrix,
    move_points,
)
from pacofr.faces.face_mesh.topology import IBUG68, SKIN_POINTS
from pacofr.faces.warp import warp_face


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
    point_confidence: Float[np.ndarray, "478"] | None
    """Of the dense points, 0 to 1; None: 1."""
    parameters: FaceParameters
    """A batch of one; not used where `has_3d` is 0."""
    has_3d: float
    """Weight of the parameters: 1 if exact, less if a fit made them, 0 if unknown."""
    has_shape: float
    """1 where the parameters' identity was measured, 0 where a fit to a photo guessed it."""


class TrainingCrops(NamedTuple):
    """Crops and what is known of them."""

    crops: UInt8[Tensor, "B S S 3"]
    """The encoder's window of the crop, RGB."""
    truth: Truth
    arcface: Float[Tensor, "B 3 A A"]
    """ArcFace crops of the same pictures, unchanged, RGB in [-1, 1]; 112 a side, or empty."""
    has_shape: Float[Tensor, " B"]
    """See `LabelledPicture`."""


def network_input(crops: UInt8[Tensor, "B S S 3"]) -> Float[Tensor, "B 3 S S"]:
    """RGB in [0, 1], channels first."""
    return crops.permute(0, 3, 1, 2).float() / 255


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
        self.mirror = HeadMirror.of(decoder.head) if changes.mirrored else None
        mean = load_calibration(UNCALIBRATED.parent).mean
        self.mean_points = np.column_stack([mean, np.ones(len(mean))])
        self.from_inner = np.linalg.pinv(self.mean_points[IBUG68[17:]])
        self.photo_share = _photo_share(window)

    @torch.no_grad()
    def __call__(
        self, faces: Sequence[LabelledPicture], rngs: Sequence[np.random.Generator]
    ) -> TrainingCrops:
        """Crops of a batch; every draw for a face is of its own generator."""
        parameters = _batch_of([face.parameters for face in faces])
        mesh = self.decoder(parameters.head)
        landmarks = project(parameters.camera, mesh.landmarks).numpy()
        crops, matrices, seen, flipped = [], [], [], []
        for row, (face, rng) in enumerate(zip(faces, rngs, strict=True)):
            points = landmarks[row] if face.landmarks_px is None else face.landmarks_px
            matrix = ffhq_matrix(self._noisy(face.five_points, rng))
            crop = self._crop(face, matrix, points, rng)
            flip = self.mirror is not None and rng.random() < self.changes.mirrored
            crops.append(crop[:, ::-1] if flip else crop)
            flipped.append(flip)
            matrices.append(matrix)
            seen.append(move_points(matrix, points))
        trust = [np.ones(68) if face.confidence is None else face.confidence for face in faces]
        points, confidence = (torch.from_numpy(np.stack(part)).float() for part in (seen, trust))
        image_to_crop = torch.from_numpy(np.stack(matrices)).float()
        truth = Truth(
            parameters.head.shape,
            self._movement(parameters, mesh.landmarks, image_to_crop),
            points,
            confidence,
            torch.tensor([face.has_3d for face in faces]),
            *self._dense(faces, matrices),
        )
        rows = torch.tensor(flipped)
        arcface = self._arcface(faces)
        return TrainingCrops(
            torch.from_numpy(np.stack(crops)),
            truth if self.mirror is None else mirrored_truth(self.mirror, rows, truth),
            torch.where(rows.view(-1, 1, 1, 1), arcface.flip(-1), arcface),
            torch.tensor([face.has_shape for face in faces]),
        )

    def _dense(
        self, faces: Sequence[LabelledPicture], matrices: Sequence[Float[np.ndarray, "2 3"]]
    ) -> tuple[Float[Tensor, "B 468 2"], Float[Tensor, "B 468"]]:
        """Dense points and their confidence, of faces of which nothing is known in 3D."""
        places = np.zeros((len(faces), SKIN_POINTS, 2), np.float32)
        confidence = np.zeros((len(faces), SKIN_POINTS), np.float32)
        for row, (face, matrix) in enumerate(zip(faces, matrices, strict=True)):
            if face.points_px is None or face.has_3d:
                continue
            places[row] = move_points(matrix, face.points_px[:SKIN_POINTS])
            trust = face.point_confidence
            confidence[row] = 1.0 if trust is None else trust[:SKIN_POINTS]
        return torch.from_numpy(places), torch.from_numpy(confidence)

    def _arcface(self, faces: Sequence[LabelledPicture]) -> Float[Tensor, "B 3 A A"]:
        if not self.arcface:
            return torch.zeros(len(faces), 3, 0, 0)
        return torch.stack([arcface_input(face.picture, face.five_points) for face in faces])

    def _noisy(
        self, five: Float[np.ndarray, "5 2"], rng: np.random.Generator
    ) -> Float[np.ndarray, "5 2"]:
        eyes = np.linalg.norm(five[1] - five[0])
        return five + rng.normal(0, self.changes.five_points * eyes, five.shape)

    def _crop(
        self,
        face: LabelledPicture,
        matrix: Float[np.ndarray, "2 3"],
        landmarks_px: Float[np.ndarray, "68 2"],
        rng: np.random.Generator,
    ) -> UInt8[np.ndarray, "S S 3"]:
        window, changes = self.window, self.changes
        crop = self._window_of(face.picture, matrix)
        if rng.random() < changes.occlusion:
            dense = face.points_px
            if dense is None:  # the mean person's, by the affine map that fits best
                dense = self.mean_points @ (self.from_inner @ landmarks_px[17:])
            points = move_points(compose(window.from_crop, matrix), dense)
            scene = Scene(crop, points, rng, lambda: background(rng, window.pixels, window.pixels))
            crop, _ = occlude(scene)
        return photometric_augment(crop, rng) if rng.random() < changes.light else crop

    def _window_of(
        self, picture: UInt8[np.ndarray, "H W 3"], matrix: Float[np.ndarray, "2 3"]
    ) -> UInt8[np.ndarray, "S S 3"]:
        """`encoder_crop`'s window in one warp at twice its resolution."""
        window = self.window
        finer = CropWindow(window.start, window.side, 2 * window.pixels)
        warped = warp_face(picture, compose(finer.from_crop, matrix), finer.pixels)
        size = (window.pixels, window.pixels)
        crop = np.asarray(cv2.resize(warped, size, interpolation=cv2.INTER_AREA), np.uint8)
        if self.photo_share is None:
            return crop
        share = self.photo_share[:, :, None]
        return (crop * share + IMAGENET_MEAN_COLOUR * (1 - share) + 0.5).astype(np.uint8)

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
            head.shape.new_zeros(len(head.shape), 0),
        )


def _photo_share(window: CropWindow) -> Float[np.ndarray, "S S"] | None:
    """How much of each pixel of the window the photo covers; None: all of it, everywhere."""
    content, begin = window.content, np.arange(window.pixels)
    inside = np.minimum(begin + 1, content.end) - np.maximum(begin, content.start)
    inside = inside.clip(0, 1)
    return None if inside.min() == 1 else np.outer(inside, inside)


def _batch_of(parameters: Sequence[FaceParameters]) -> FaceParameters:
    heads, cameras = zip(*parameters, strict=True)
    return FaceParameters(
        type(heads[0])(*(torch.cat(part) for part in zip(*heads, strict=True))),
        type(cameras[0])(*(torch.cat(part) for part in zip(*cameras, strict=True))),
    )
