"""Pictures looked up at any number of places, and smooth steps."""

import cv2
import numpy as np
from jaxtyping import Float, Float32

_ROW = 4096
"""OpenCV's remap takes no more than 32,766 places a row."""


def look_up(
    picture: Float32[np.ndarray, "h w *C"],
    places: Float[np.ndarray, "N 2"],
    interpolation: int = cv2.INTER_LINEAR,
    outside: float = 0.0,
) -> Float32[np.ndarray, "N C"]:
    """Values of a picture at places (column, row) [px], `outside` beyond its border."""
    count = len(places)
    padded = np.zeros((-(-max(count, 1) // _ROW) * _ROW, 2), np.float32)
    padded[:count] = places
    grid = padded.reshape(-1, _ROW, 2)
    found = cv2.remap(
        picture,
        grid[..., 0].copy(),
        grid[..., 1].copy(),
        interpolation,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(outside,) * 4,
    )
    return found.reshape(len(padded), -1)[:count]


def smoothstep(values: Float[np.ndarray, " N"], low: float, high: float) -> Float[np.ndarray, " N"]:
    """0 below `low`, 1 above `high`, a smooth cubic between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
