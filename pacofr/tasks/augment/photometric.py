"""Photometric augmentations of FaRL's protocol, on uint8 RGB frames."""

import cv2
import numpy as np
from jaxtyping import UInt8

Frame = UInt8[np.ndarray, "S S 3"]

GREY_PROBABILITY = 0.1
MAX_BLUR = 0.01
"""Largest side of the box blur, in sides of the frame."""
NOISE_PROBABILITY, MAX_NOISE = 0.5, 0.5
"""Of mixing the frame with uniform noise, and the largest weight of the noise."""
OCCLUSION = (0.1, 0.4)
"""Sides of the black rectangle, in sides of the frame."""
_GAMMA = tuple(
    np.round(255 * (np.arange(256) / 255) ** power).astype(np.uint8) for power in (0.5, 2.0)
)


def vary_colour(frame: Frame, rng: np.random.Generator) -> Frame:
    """Sometimes grey; its square root, itself or its square; a box blur of up to 1 %."""
    if rng.random() < GREY_PROBABILITY:
        frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    gamma = int(rng.integers(3))
    if gamma < 2:
        frame = cv2.LUT(frame, _GAMMA[gamma])
    side = int(rng.uniform(0, MAX_BLUR) * len(frame))
    return cv2.blur(frame, (side, side)) if side > 1 else frame


def occlude(frame: Frame, rng: np.random.Generator) -> Frame:
    """Black out a rectangle of 10 to 40 % of the frame's sides."""
    size = len(frame)
    width, height = (rng.uniform(*OCCLUSION, 2) * size).astype(int)
    x, y = int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))
    frame = frame.copy()
    frame[y : y + height, x : x + width] = 0
    return frame


def add_noise(frame: Frame, rng: np.random.Generator) -> Frame:
    """Half of the time: mix with uniform noise of weight up to a half."""
    if rng.random() >= NOISE_PROBABILITY:
        return frame
    weight = rng.uniform(0, MAX_NOISE)
    noise = rng.integers(0, 256, frame.shape, np.uint8)
    return cv2.addWeighted(frame, 1 - weight, noise, weight, 0.0)
