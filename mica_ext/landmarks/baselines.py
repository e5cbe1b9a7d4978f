"""Baselines for landmark detection that see no pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pacofr.faces.align import ffhq_matrix, move_points


class FivePointBaselines(NamedTuple):
    """68 landmarks from five points alone: mean shape and linear map, in pixels of the crop."""

    mean: Float[np.ndarray, "68 2"]
    linear: Float[np.ndarray, "11 136"]

    @classmethod
    def fit(
        cls, five: Sequence[Float[np.ndarray, "5 2"]], points: Sequence[Float[np.ndarray, "68 2"]]
    ) -> "FivePointBaselines":
        """Fit to detected five points and annotated landmarks of training photos [px]."""
        matrices = [ffhq_matrix(p) for p in five]
        inputs = np.stack([move_points(m, p).ravel() for m, p in zip(matrices, five, strict=True)])
        outputs = np.stack(
            [move_points(m, p).ravel() for m, p in zip(matrices, points, strict=True)]
        )
        inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], 1)
        linear = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
        return cls(outputs.mean(0).reshape(68, 2), linear)

    def predict(
        self, five: Float[np.ndarray, "5 2"]
    ) -> tuple[Float[np.ndarray, "68 2"], Float[np.ndarray, "68 2"]]:
        """Mean shape and linear map for one face, in the photo [px]."""
        matrix = ffhq_matrix(five)
        mapped = np.append(move_points(matrix, five).ravel(), 1.0) @ self.linear
        back = np.linalg.inv(np.concatenate([matrix, [[0, 0, 1]]]))[:2]
        return move_points(back, self.mean), move_points(back, mapped.reshape(68, 2))
