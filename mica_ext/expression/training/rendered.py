"""Rendered heads as labelled pictures: everything is known."""

import numpy as np

from flame_assets.model.head import HeadModel
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.expression.training.crops import LabelledPicture
from pacofr.faces.landmarks68 import five_points


class RenderedHeads:
    """Rendered heads of one head model; a function of (seed, epoch, index)."""

    def __init__(self, head: HeadModel, seed: int, *, epoch_size: int) -> None:
        self.faces = SyntheticFaces(head, seed=seed)
        self.seed, self.epoch_size = seed, epoch_size

    def __call__(self, epoch: int, index: int) -> LabelledPicture:
        """Head `index` of an epoch; each epoch has new ones."""
        face = self.faces.sample(self.number(epoch, index))
        five = five_points(face.landmarks_px.astype(np.float64))
        return LabelledPicture(
            face.image, five, face.landmarks_px, None, None, None, face.parameters, 1.0, 1.0
        )

    def number(self, epoch: int, index: int) -> int:
        """Of the head, from 0, without end."""
        return epoch * self.epoch_size + index
