"""Anthropometric measures: pooled adult means and standard deviations, and their end points.

Definitions after Farkas, Anthropometry of the Head and Face (1994), and Farkas et al., J Craniofac
Surg 2005; head and face breadths agree with Zhuang and Bradtmiller, J Occup Environ Hyg 2005 (3997
US adults). Numbers are rounded averages over both sexes and were not all checked against the
printed tables: treat them as design targets of this head, not as a citable source.
"""

from collections.abc import Callable
from typing import NamedTuple

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


# fmt: off
MEASURES: tuple[Measure, ...] = (
    Measure("eu-eu head breadth", "eu", None, 150.0, 6.0),
    Measure("g-op head length", "glabella", "opisthocranion", 192.0, 7.5),
    Measure("zy-zy face breadth", "zygion", None, 133.0, 6.5),
    Measure("t-t tragion breadth", "tragion", None, 139.0, 6.0),
    Measure("ft-ft forehead breadth", "front_temp", None, 111.0, 5.5),
    Measure("go-go jaw breadth", "gonion", None, 105.0, 7.5),
    Measure("n-gn face height", "sellion", "menton", 118.0, 7.0),
    Measure("n-sn nose height", "sellion", "subnasale", 52.0, 3.8),
    Measure("sn-gn lower face height", "subnasale", "menton", 67.0, 5.2),
    Measure("en-en intercanthal width", "lid0", None, 32.0, 2.7),
    Measure("ex-ex biocular width", "lid8", None, 89.0, 4.5),
    Measure("ps-pi fissure height", "lid4", "lid12", 10.4, 1.2),
    Measure("al-al nose width", "alare", None, 34.0, 3.2),
    Measure("sn-prn tip protrusion", "subnasale", "pronasale", 19.6, 1.9),
    Measure("ch-ch mouth width", "cheilion", None, 52.0, 3.8),
    Measure("sn-sto upper lip height", "subnasale", "stoU", 21.0, 2.3),
    Measure("ls-sto upper vermilion", "ls", "stoU", 8.0, 1.5),
    Measure("sto-li lower vermilion", "stoL", "li", 9.3, 1.6),
    Measure("sto-sl lower lip height", "stoL", "sublabiale", 19.0, 2.0),
    Measure("v-n crown to nasion", "vertex", "sellion", None, 6.0),
    Measure("n-prn nose bridge length", "sellion", "pronasale", None, 3.4),
    Measure("ac-ac alar base width", "ac", None, None, 2.8),
    Measure("cph-cph philtrum width", "cph", None, None, 1.6),
    Measure("t-n upper face depth", "tragion", "sellion", None, 5.5),
    Measure("t-gn lower face depth", "tragion", "menton", None, 6.5),
    Measure("neck breadth", "neck_side", None, None, 8.0),
)
# fmt: on


def ends(
    measure: Measure, at: Callable[[str], Float[ndarray, "3"]]
) -> tuple[Float[ndarray, "3"], Float[ndarray, "3"]]:
    """Both end points [mm] of a measure; `at` finds a named point of the left half."""
    first = at(measure.first)
    mirrored = first * np.array([-1.0, 1.0, 1.0])
    return first, mirrored if measure.second is None else at(measure.second)
