"""Triangle meshes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Mesh(NamedTuple):
    """A triangle mesh in any length unit; vertices that no triangle uses are allowed."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
