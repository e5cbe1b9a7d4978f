"""Resampling of photos under an affine map, without aliasing where the photo is much larger.

Pixel coordinates are (x, y) with pixel centres at whole numbers, as OpenCV has them.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

SUPERSAMPLED_ABOVE = 2.0
"""From this many photo pixels per crop pixel on, the photo is shrunk before it is warped."""


def warp_face(
    image: UInt8[np.ndarray, "H W 3"],
    matrix: Float[np.ndarray, "2 3"],
    size: int,
    *,
    supersampled_above: float = SUPERSAMPLED_ABOVE,
    border: int = cv2.BORDER_REFLECT_101,
) -> UInt8[np.ndarray, "size size 3"]:
    """Antialiased similarity warp: large reductions first shrink the part of the photo in use.

    `border` is OpenCV's mode for what lies outside the photo.
    """
    reduction = 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if reduction >= supersampled_above:
        image, matrix = _downscaled_region(image, matrix, size, max(int(reduction), 2))
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)


def _downscaled_region(
    image: UInt8[np.ndarray, "H W 3"], matrix: Float[np.ndarray, "2 3"], size: int, factor: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "2 3"]]:
    """The photo's region under the crop, `factor` times smaller by area, and the matrix from it."""
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]]) - [0.5, 0.5, 0]
    inverse = cv2.invertAffineTransform(matrix)
    reach = corners @ inverse.T
    height, width = image.shape[:2]
    margin = 2 * factor
    x0, y0 = np.clip(np.floor(reach.min(axis=0)) - margin, 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(reach.max(axis=0)) + margin, 1, [width, height]).astype(int)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    new_width, new_height = max((x1 - x0) // factor, 1), max((y1 - y0) // factor, 1)
    small = cv2.resize(image[y0:y1, x0:x1], (new_width, new_height), interpolation=cv2.INTER_AREA)
    step = np.array([(x1 - x0) / new_width, (y1 - y0) / new_height])
    linear = matrix[:, :2] * step
    # small pixel p lies at x0 + (p + .5) * step - .5 in the photo
    offset = matrix[:, :2] @ (np.array([x0, y0]) + 0.5 * step - 0.5) + matrix[:, 2]
    return small, np.column_stack([linear, offset])
