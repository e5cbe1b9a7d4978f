"""How scanned people differ: the covariance of named surface points, from ICT-FaceKit.

`scanned_people.json` holds the leading components of the mirror-symmetric identity covariance of
ICT-FaceKit Light (Li et al., Learning Formation of Physically-Based Face Attributes, CVPR 2020) at
named points ("stations") of Anthro's surface, rigid motion of the head removed. It holds no vertex
and no mode of that model. `tests/bench/anthro_scanned_people.py` makes the file.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_FILE = Path(__file__).with_name("scanned_people.json")


class ScannedPeople(NamedTuple):
    """Station displacements x ~ N(0, factor factor^T + residual^2 I)."""

    stations: tuple[str, ...]
    """Names of controls of the left half and the midline, whose surface points these are."""
    factor: Float[ndarray, "s 3 r"]
    """mm per standard deviation."""
    residual: float
    """Standard deviation per coordinate of what the components leave out [mm]."""


def scanned_people() -> ScannedPeople:
    """The shipped figures."""
    read = json.loads(_FILE.read_text(encoding="utf-8"))
    factor = np.array(list(read["factor"].values()), float) * read["unit_mm"]
    return ScannedPeople(tuple(read["factor"]), factor, read["residual_mm"])
