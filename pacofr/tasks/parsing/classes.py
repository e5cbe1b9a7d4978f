"""Classes of the parsing data sets, in the order of their numbers."""

from collections.abc import Mapping
from typing import NamedTuple

LAPA = (
    "background",
    "skin",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "nose",
    "upper lip",
    "inner mouth",
    "lower lip",
    "hair",
)
"""LaPa's label map; left and right are those of the picture."""
SYNTHETIC = (*LAPA, "ears", "neck")
"""`mica-ext synth-parsing`: LaPa's, and what LaPa has no class for."""
CELEBAMASK_HQ = (
    "background",
    "neck",
    "skin",
    "cloth",
    "left ear",
    "right ear",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "nose",
    "inner mouth",
    "lower lip",
    "upper lip",
    "hair",
    "eyeglasses",
    "hat",
    "earring",
    "necklace",
)
"""In FaRL's order, in which later parts overwrite earlier ones."""
CELEBAMASK_HQ_FILES = (
    *("neck", "skin", "cloth", "l_ear", "r_ear", "l_brow", "r_brow", "l_eye", "r_eye", "nose"),
    *("mouth", "l_lip", "u_lip", "hair", "eye_g", "hat", "ear_r", "neck_l"),
)
"""Names of the parts in CelebAMask-HQ's files, classes 1 to 18."""


class ParsingSet(NamedTuple):
    """What is particular to a data set."""

    classes: tuple[str, ...]
    warp: float
    """Tanh warp of FaRL's protocol."""
    epochs: int = 300


PARSING_SETS: Mapping[str, ParsingSet] = {
    "lapa": ParsingSet(LAPA, 0.8),
    "celebamask-hq": ParsingSet(CELEBAMASK_HQ, 0.0),
    "synthetic": ParsingSet(SYNTHETIC, 0.8),
}
"""By the name that --data takes."""

PALETTE = (
    *((0, 0, 0), (232, 176, 144), (120, 72, 200), (200, 72, 160), (40, 120, 240), (40, 200, 240)),
    *((255, 200, 60), (220, 50, 60), (110, 20, 60), (255, 110, 110), (90, 60, 40), (60, 160, 90)),
    *((170, 200, 90), (0, 110, 140), (160, 160, 160), (250, 250, 120), (255, 140, 0), (80, 0, 120)),
    (150, 220, 200),
)
"""RGB of the classes in drawings and label maps."""
