"""What photos teach about the 478 points: the mean person's, and their errors. One file.

    points478.safetensors    arrays; format, version, licence and command in its metadata
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mica_ext.fitting.point_noise import PointNoise


class PointCalibration(NamedTuple):
    """The points of neutral people, and their noise; for any head."""

    mean: Float64[np.ndarray, "478 2"]
    """From the front, y down, in distances of the outer eye corners."""
    noise: PointNoise
    response: Float64[np.ndarray, "478"]
    """How far each point follows the skin that expressions move: networks damp."""
