"""Cuts of a video: frames that differ from the one before far more than frames of a shot do.

A cut is a jump of the picture (mean absolute difference of thumbnails) that is both large and many
times the usual one, so that neither fast motion nor noise counts; fades are no cuts.
"""

from collections import deque

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

THUMBNAIL = (48, 27)
MIN_JUMP = 14.0
"""Mean absolute difference of two thumbnails, in levels of 255, below which nothing is a cut."""
MIN_JUMP_ALONE = 40.0
"""The same while fewer than `MIN_MEMORY` frames of the shot tell how much it moves."""
MIN_RATIO = 5.0
"""Of the jump to the median of the last frames' differences."""
MEMORY, MIN_MEMORY = 15, 2
"""Frames that the median is taken over, at most and at least."""


class CutDetector:
    """Told one frame after another."""

    def __init__(self) -> None:
        self._before: Float32[np.ndarray, "h w 3"] | None = None
        self._usual: deque[float] = deque(maxlen=MEMORY)

    def is_cut(self, image: UInt8[np.ndarray, "H W 3"]) -> bool:
        """Whether a new shot begins with this frame; never with the first one."""
        step = max(min(image.shape[:2]) // 200, 1)
        small = cv2.resize(image[::step, ::step], THUMBNAIL, interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32)
        before, self._before = self._before, small
        if before is None:
            return False
        jump = float(np.abs(small - before).mean())
        least = MIN_JUMP_ALONE
        if len(self._usual) >= MIN_MEMORY:
            least = max(MIN_JUMP, MIN_RATIO * float(np.median(self._usual)))
        if jump > least:
            self._usual.clear()
            return True
        self._usual.append(jump)
        return False
