"""FaRL's tanh warp: the aligned face keeps its size, all of the photo around it is squeezed in.

A coordinate u of the frame, normalised to [-1, 1], beyond 1 - w becomes
tanh((u - 1 + w) / w) w + 1 - w, and mirrored below w - 1; w = 0 is no warp. Normalised coordinates
are x / size * 2 - 1, without the half pixel.
"""

import cv2
import numpy as np
from jaxtyping import Float, Float32, Shaped

from pacofr.faces.align import move_points
from pacofr.tasks.augment.matrices import invert

MAX_TANH = 0.999
"""Arguments of arctanh are limited to it, so that the inverse stays finite."""


def points_to_frame(
    points: Shaped[np.ndarray, "*n 2"], matrix: Shaped[np.ndarray, "2 3"], size: int, warp: float
) -> Float[np.ndarray, "*n 2"]:
    """Photo pixels -> pixels of the warped frame.

    Args:
        points: in the photo [px].
        matrix: photo -> aligned frame.
        size: side of the frame [px].
        warp: w, 0 to 1.
    """
    return _warped(move_points(matrix, points), size, warp)


def points_from_frame(
    points: Shaped[np.ndarray, "*n 2"], matrix: Shaped[np.ndarray, "2 3"], size: int, warp: float
) -> Float[np.ndarray, "*n 2"]:
    """Pixels of the warped frame -> photo pixels; the inverse of `points_to_frame`."""
    return move_points(invert(matrix), _unwarped(points, size, warp))


def frame_map(
    matrix: Shaped[np.ndarray, "2 3"], size: int, warp: float
) -> Float32[np.ndarray, "size size 2"]:
    """The place in the photo [px] of every pixel of the warped frame, for `cv2.remap`."""
    axis = _unwarped(np.arange(size, dtype=np.float64), size, warp)
    inverse = invert(matrix)
    # one axis at a time: the map is a sum of a function of x and one of y
    across = axis[:, None] * inverse[:, 0]
    down = axis[:, None] * inverse[:, 1] + inverse[:, 2]
    return (across[None] + down[:, None]).astype(np.float32)


def photo_map(
    matrix: Shaped[np.ndarray, "2 3"], size: int, warp: float, height: int, width: int
) -> Float32[np.ndarray, "height width 2"]:
    """The place in the warped frame [px] of every pixel of a photo of that height and width."""
    across = np.arange(width)[:, None] * matrix[:, 0]
    down = np.arange(height)[:, None] * matrix[:, 1] + matrix[:, 2]
    return _warped(across[None] + down[:, None], size, warp).astype(np.float32)


def warp_image(
    image: Shaped[np.ndarray, "H W *c"],
    matrix: Shaped[np.ndarray, "2 3"],
    size: int,
    warp: float,
    *,
    nearest: bool = False,
) -> Shaped[np.ndarray, "size size *c"]:
    """A photo, or with `nearest` a label map, in the warped frame; 0 outside of it."""
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    if warp == 0.0:
        return cv2.warpAffine(image, np.asarray(matrix, np.float64), (size, size), flags=how)
    x, y = cv2.split(frame_map(matrix, size, warp))
    return cv2.remap(image, x, y, how)


def _warped(values: Float[np.ndarray, "*n"], size: int, warp: float) -> Float[np.ndarray, "*n"]:
    if warp == 0.0:
        return values
    u = np.asarray(values) / size * 2 - 1
    over = np.abs(u) - 1 + warp
    squeezed = np.sign(u) * (np.tanh(over / warp) * warp + 1 - warp)
    return (np.where(over > 0, squeezed, u) + 1) / 2 * size


def _unwarped(values: Float[np.ndarray, "*n"], size: int, warp: float) -> Float[np.ndarray, "*n"]:
    if warp == 0.0:
        return values
    u = np.asarray(values) / size * 2 - 1
    over = np.abs(u) - 1 + warp
    inside = np.clip(over / warp, -MAX_TANH, MAX_TANH)
    spread = np.sign(u) * (np.arctanh(inside) * warp + 1 - warp)
    return (np.where(over > 0, spread, u) + 1) / 2 * size
