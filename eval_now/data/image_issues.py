"""What a run reports about single images: why one has no score, and named warnings."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

WarningName = Literal[
    "landmark_order",  # another order of the seven landmarks would fit much better
    "reflection",  # the landmark fit is a reflection
    "landmarks_off_surface",  # landmarks and mesh do not belong together (units?)
    "unit",  # the face is 10 or 1000 times too large or small for the stated unit
    "not_neutral",  # the predictor states that its mesh has an expression
    "large_turn",  # the refinement rotated further than landmark errors explain
    "step_limit",  # the refinement did not converge
    "two_meshes",  # both .obj and .ply exist; the .obj is used
]


class ImageWarning(NamedTuple):
    """A warning about one image; `protocol` is empty if it is about the prediction itself."""

    name: WarningName
    image: str
    protocol: str
    text: str


@dataclass(frozen=True, kw_only=True)
class MissingImage:
    """An image without a score, and the reason."""

    image: str
    reason: str


def relative_reason(error: Exception, folder: Path) -> str:
    """The text of an error without the path of `folder`: reports do not hold absolute paths."""
    return str(error).replace(f"{folder}{os.sep}", "")
