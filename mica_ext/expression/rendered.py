"""Rendered heads as training samples of the expression branch: crops with everything known."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.head import HeadModel
from flame_assets.model.lbs import rotation_matrices
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.crop_camera import anchor_of, crop_camera, to_crop
from mica_ext.expression.losses import Truth
from mica_ext.fitting.geometry.rotations import matrix_to_axis_angle
from pacofr.engine.sampling import RankBatch
from pacofr.faces.align import encoder_crop, ffhq_matrix
from pacofr.faces.landmarks68 import five_points

FIVE_POINTS_SIGMA = 0.03
"""Noise of the five points that the crop is cut by, in eye distances: what detectors do."""


class TrainingCrops(NamedTuple):
    """Crops and what is known of them."""

    crops: Float[Tensor, "B 3 224 224"]
    """RGB in [0, 1]."""
    truth: Truth


class RenderedCrops:
    """Draws rendered heads of one head model; a function of (seed, epoch, index)."""

    def __init__(self, head: HeadModel, seed: int, *, epoch_size: int) -> None:
        self.faces = SyntheticFaces(head, seed=seed)
        self.seed, self.epoch_size = seed, epoch_size

    def __call__(self, batch: RankBatch) -> TrainingCrops:
        """The samples of a step."""
        rows = zip(batch.epoch.tolist(), batch.index.tolist(), strict=True)
        samples = [self.sample(epoch * self.epoch_size + index) for epoch, index in rows]
        crops, truths = zip(*samples, strict=True)
        movement = BranchOutput(
            *(torch.cat(v) for v in zip(*(t.movement for t in truths), strict=True))
        )
        shape, _, *others = zip(*truths, strict=True)
        points, confidence, has_3d = (torch.cat(values) for values in others)
        return TrainingCrops(
            torch.cat(crops), Truth(torch.cat(shape), movement, points, confidence, has_3d)
        )

    @torch.no_grad()
    def sample(self, number: int) -> TrainingCrops:
        """Face `number`, cropped by noisy five points; a batch of one."""
        face = self.faces.sample(number)
        rng = np.random.default_rng((self.seed, number, 1))
        five = five_points(face.landmarks_px.astype(np.float64))
        eyes = np.linalg.norm(five[1] - five[0])
        five = five + rng.normal(0, FIVE_POINTS_SIGMA * eyes, five.shape)
        crop = encoder_crop(face.image, five)
        to_pixels = torch.from_numpy(ffhq_matrix(five)).float()[None]
        points = torch.from_numpy(face.landmarks_px)[None]
        in_crop = points @ to_pixels[..., :2].transpose(1, 2) + to_pixels[:, None, :, 2]

        head, camera = face.parameters
        mesh = self.faces.decoder(head)
        rotation = rotation_matrices(head.global_pose) @ rotation_matrices(head.neck_pose)
        view = to_crop(rotation, anchor_of(mesh.landmarks), camera, to_pixels)
        pose = torch.from_numpy(matrix_to_axis_angle(view.rotation.double().numpy())).float()
        movement = BranchOutput(
            head.expression,
            head.jaw_pose,
            head.left_eye_pose,
            head.right_eye_pose,
            pose,
            crop_camera(view.scale, view.anchor_px),
        )
        ones = torch.ones(1, 68)
        picture = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
        return TrainingCrops(picture, Truth(head.shape, movement, in_crop, ones, torch.ones(1)))
