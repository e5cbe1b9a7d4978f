"""Affine matrices from a photo to the square frame that a task network sees.

Points are (x, y) in pixels. The frame and its two alignments follow FaRL (Zheng et al. 2022):
`aligned_matrix` for face parsing, `crop_matrix` for face alignment.
"""

import numpy as np
from jaxtyping import Float, Float64, Shaped

from pacofr.faces.align import compose, similarity

ALIGNED_POINTS_512 = np.array([[196, 226], [316, 226], [256, 286], [220, 360.4], [292, 360.4]])
"""Where pupils, nose tip and mouth corners lie in the aligned frame of 512 px."""


def aligned_matrix(points: Shaped[np.ndarray, "5 2"], size: int = 512) -> Float[np.ndarray, "2 3"]:
    """Similarity from a photo to the aligned frame, from pupils, nose tip and mouth corners."""
    return similarity(points, ALIGNED_POINTS_512 / 512 * (size - 1))


def crop_matrix(
    box: Shaped[np.ndarray, "4"], size: int = 512, scale: float = 1.0
) -> Float64[np.ndarray, "2 3"]:
    """From a photo to a frame that the box (x0, y0, x1, y1) fills by the fraction `scale`.

    A box that is not square is stretched.
    """
    box = np.asarray(box, np.float64)
    zoom = size / np.maximum(box[2:] - box[:2], 1e-6)
    offset = -box[:2] * zoom - 0.5
    matrix = np.column_stack([np.diag(zoom), offset])
    return compose(about_centre(size, scale=scale), matrix)


def about_centre(
    size: int,
    *,
    scale: float = 1.0,
    angle: float = 0.0,
    shift: Float64[np.ndarray, "2"] | None = None,
) -> Float64[np.ndarray, "2 3"]:
    """Scale and rotate [rad] a frame about its centre, then shift it [px]."""
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    centre = np.full(2, (size - 1) / 2)
    offset = centre - linear @ centre
    return np.column_stack([linear, offset if shift is None else offset + shift])


def invert(matrix: Shaped[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """The inverse of an affine matrix."""
    inverse = np.linalg.inv(np.asarray(matrix[:, :2], np.float64))
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])
