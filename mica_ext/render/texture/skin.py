"""A colour model of one person's skin: which texels show skin, not hair, clothes or background."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from mica_ext.render.sampling import smoothstep
from mica_ext.render.shading import LUMA

_MIN_SIGMA = np.array([0.16, 0.06, 0.08])
"""Least standard deviations of log luminance and of the two chromas."""
_LIMITS = (2.6, 4.2)
"""Distances [standard deviations] up to which a colour is skin, and from which it is not."""

_SHADOW_HUE, _SHADOW_DEPTH, _SHADOW_ROUGHNESS = (1.8, 2.8), (1.0, 1.6), (0.05, 0.09)
"""Where shadows end: distance in chroma [standard deviations], drop of log luminance, roughness."""


class SkinModel(NamedTuple):
    """A normal distribution of `features`."""

    mean: Float[np.ndarray, "3"]
    inverse_covariance: Float[np.ndarray, "3 3"]

    def probability(
        self,
        colours: Float[np.ndarray, "N 3"],
        shading: Float[np.ndarray, " N"],
        darker: float = 0.0,
    ) -> Float32[np.ndarray, " N"]:
        """1 for skin, 0 for other things, from linear RGB and the light on each texel.

        Log luminance may be lower by `darker`.
        """
        offset = features(colours, shading) - self.mean
        offset[:, 0] += np.clip(-offset[:, 0], 0, darker)
        squared = np.einsum("ni,ij,nj->n", offset, self.inverse_covariance, offset)
        return (1 - smoothstep(np.sqrt(squared), *_LIMITS)).astype(np.float32)

    def luminance_offset(
        self, colours: Float[np.ndarray, "N 3"], shading: Float[np.ndarray, " N"]
    ) -> Float[np.ndarray, " N"]:
        """Log luminance without the light, less the mean's."""
        return features(colours, shading)[:, 0] - self.mean[0]

    def shaded(
        self,
        colours: Float[np.ndarray, "N 3"],
        shading: Float[np.ndarray, " N"],
        roughness: Float[np.ndarray, " N"],
        tolerance: float = 1.0,
    ) -> Float32[np.ndarray, " N"]:
        """1 for skin in a shadow that the light does not explain: its hue, darker, and smooth.

        `roughness` is the standard deviation of log luminance in a small neighbourhood; hair is
        rough. `tolerance` widens the limit of hue.
        """
        offset = features(colours, shading) - self.mean
        chroma = np.linalg.inv(np.linalg.inv(self.inverse_covariance)[1:, 1:])
        hue = np.sqrt(np.einsum("ni,ij,nj->n", offset[:, 1:], chroma, offset[:, 1:]))
        shaded = 1 - smoothstep(hue / tolerance, *_SHADOW_HUE)
        shaded *= 1 - smoothstep(-offset[:, 0], *_SHADOW_DEPTH)
        shaded *= (offset[:, 0] < 0) * (1 - smoothstep(roughness, *_SHADOW_ROUGHNESS))
        return shaded.astype(np.float32)


def fit_skin(
    colours: Float[np.ndarray, "N 3"],
    shading: Float[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"],
) -> SkinModel:
    """The model of texels that are surely skin, outliers (a mole, a highlight) cut off."""
    values, kept = features(colours, shading), weights.astype(float)
    mean, covariance = np.zeros(3), np.eye(3)
    for _ in range(4):
        mean = np.average(values, axis=0, weights=kept)
        offset = values - mean
        covariance = (offset * kept[:, None]).T @ offset / kept.sum()
        covariance += np.diag(np.maximum(_MIN_SIGMA**2 - np.diag(covariance), 0))
        squared = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
        kept = weights * (squared < 7.8)
    return SkinModel(mean, np.linalg.inv(covariance))


def features(
    colours: Float[np.ndarray, "N 3"], shading: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "N 3"]:
    """Log luminance without the light, log red over green, log blue over green."""
    logs = np.log(np.maximum(colours, 1e-3).astype(float))
    luminance = np.log(np.maximum(colours @ LUMA, 1e-3)) - np.log(shading)
    return np.stack([luminance, logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 1]], axis=1)
