"""Anthropometric measures of the head: means and standard deviations, and their end points.

Definitions after Farkas, Anthropometry of the Head and Face (1994), and Farkas et al., J Craniofac
Surg 2005. `scans` rows are the mean and spread of ICT-FaceKit's identity model (MIT, see
`scanned_people.py`), taken between the surface points under these names; `published` rows, about
the skull, ears and neck that scanners do not see under hair and collars, are rounded averages over
both sexes (head breadth and length agree with Zhuang and Bradtmiller, J Occup Environ Hyg 2005,
3997 US adults) and were not all checked against the printed tables.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray


class Measure(NamedTuple):
    """Distance between two named points, or the breadth between one and its mirror image."""

    name: str
    first: str
    second: str | None
    """None: breadth from `first` to its mirror image."""
    mean: float | None
    """mm; None where only the spread is constrained."""
    sd: float
    source: Literal["published", "scans"]
    """Published spreads condition the identity prior; scanned ones follow from its stations."""


# fmt: off
MEASURES: tuple[Measure, ...] = (
    Measure("eu-eu head breadth", "eu", None, 150.0, 6.0, "published"),
    Measure("g-op head length", "glabella", "opisthocranion", 192.0, 7.5, "published"),
    Measure("v-n crown to nasion", "vertex", "sellion", None, 6.0, "published"),
    Measure("t-t tragion breadth", "tragion", None, None, 8.6, "scans"),
    Measure("t-n upper face depth", "tragion", "sellion", None, 6.8, "scans"),
    Measure("t-gn lower face depth", "tragion", "menton", None, 8.9, "scans"),
    Measure("neck breadth", "neck_side", None, None, 8.0, "published"),
    Measure("ft-ft forehead breadth", "front_temp", None, 114.4, 5.4, "scans"),
    Measure("zy-zy face breadth", "zygion", None, 143.0, 7.4, "scans"),
    Measure("go-go jaw breadth", "gonion", None, 115.3, 9.3, "scans"),
    Measure("n-gn face height", "sellion", "menton", 119.1, 6.8, "scans"),
    Measure("n-sn nose height", "sellion", "subnasale", 53.9, 3.3, "scans"),
    Measure("sn-gn lower face height", "subnasale", "menton", 67.7, 4.7, "scans"),
    Measure("n-prn nose bridge length", "sellion", "pronasale", 46.3, 3.3, "scans"),
    Measure("sn-prn tip protrusion", "subnasale", "pronasale", 20.2, 1.9, "scans"),
    Measure("al-al nose width", "alare", None, 36.9, 4.6, "scans"),
    Measure("ac-ac alar base width", "ac", None, 37.0, 4.3, "scans"),
    Measure("en-en intercanthal width", "lid0", None, 37.1, 3.5, "scans"),
    Measure("ex-ex biocular width", "lid8", None, 89.9, 5.1, "scans"),
    Measure("ps-pi fissure height", "lid4", "lid12", 10.4, 1.2, "scans"),
    Measure("ch-ch mouth width", "cheilion", None, 51.5, 3.9, "scans"),
    Measure("cph-cph philtrum width", "cph", None, 12.9, 1.0, "scans"),
    Measure("sn-sto upper lip height", "subnasale", "stoU", 22.0, 2.0, "scans"),
    Measure("ls-sto upper vermilion", "ls", "stoU", 9.4, 1.6, "scans"),
    Measure("sto-li lower vermilion", "stoL", "li", 10.0, 1.9, "scans"),
    Measure("sto-sl lower lip height", "stoL", "sublabiale", 16.4, 1.7, "scans"),
)
# fmt: on


def ends(
    measure: Measure, at: Callable[[str], Float[ndarray, "3"]]
) -> tuple[Float[ndarray, "3"], Float[ndarray, "3"]]:
    """Both end points [mm] of a measure; `at` finds a named point of the left half."""
    first = at(measure.first)
    mirrored = first * np.array([-1.0, 1.0, 1.0])
    return first, mirrored if measure.second is None else at(measure.second)
