"""Similarity transforms and their least-squares fit to corresponding points."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + translation; `rotation` is orthogonal and may be a reflection."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]

    def apply(self, points: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "P 3"]:
        """Transform points."""
        return self.scale * points @ self.rotation.T + self.translation

    def compose(self, first: "Similarity") -> "Similarity":
        """The transform that applies `first`, then this one."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.translation + self.translation,
        )


def fit_similarity(
    source: Float[np.ndarray, "K 3"], target: Float[np.ndarray, "K 3"]
) -> Similarity:
    """Least-squares similarity from `source` to `target` (orthogonal Procrustes analysis).

    As in the official evaluator, the rotation is a reflection where that fits better.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_centred, target_centred = source - source_mean, target - target_mean
    left, singular, right = np.linalg.svd(target_centred.T @ source_centred)
    rotation = left @ right
    scale = float(singular.sum() / max(float((source_centred**2).sum()), 1e-300))
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)
