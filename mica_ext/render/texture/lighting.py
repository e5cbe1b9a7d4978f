"""The photo's light on the face: second-order spherical harmonics of the luminance.

Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps" (2001): nine
coefficients describe 98 % of the light on a matt surface.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

_RIDGE = np.array([0.0, 0.02, 0.02, 0.02] + [0.2] * 5)
"""Penalty per coefficient and unit of weight: bright sides before finer patterns."""
_ROUNDS, _HUBER = 6, 0.25
"""Reweightings, and the relative residual from which a texel counts as an outlier."""
SHADING_LIMITS = (0.45, 1.7)
"""Shading is held within these multiples of its mean."""


class PhotoLight(NamedTuple):
    """Light by the direction that a surface faces."""

    coefficients: Float[np.ndarray, "9"]
    """Luminance of the skin by `harmonics` of its normal."""
    mean: float
    """Mean luminance of the skin."""

    def on(self, normals: Float[np.ndarray, "N 3"]) -> Float32[np.ndarray, " N"]:
        """Light at each normal over `mean`, within `SHADING_LIMITS`."""
        light = harmonics(normals) @ self.coefficients / max(self.mean, 1e-6)
        return np.clip(light, *SHADING_LIMITS).astype(np.float32)


EVEN_LIGHT = PhotoLight(np.eye(9)[0], 1.0)


def fit_shading(
    normals: Float[np.ndarray, "N 3"],
    luminance: Float[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"],
) -> Float[np.ndarray, "9"]:
    """Coefficients that describe the luminance of one material by its normals, robustly."""
    basis = harmonics(normals)
    scale = float(np.average(luminance, weights=weights))
    target, robust = luminance / max(scale, 1e-6), weights.astype(float)
    coefficients = np.zeros(9)
    for _ in range(_ROUNDS):
        weighted = basis * robust[:, None]
        normal = weighted.T @ basis + np.diag(_RIDGE * robust.sum())
        coefficients = np.linalg.solve(normal, weighted.T @ target)
        residual = np.abs(basis @ coefficients - target)
        robust = weights * np.minimum(1.0, _HUBER / np.maximum(residual, 1e-9))
    return coefficients * scale


def harmonics(normals: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 9"]:
    """Real spherical harmonics up to order 2, without their constant factors."""
    x, y, z = normals.T.astype(float)
    return np.stack(
        [np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], axis=1
    )
