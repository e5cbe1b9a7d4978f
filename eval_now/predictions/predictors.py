"""Predictors: methods registered in the entry-point group `eval_now.predictors`.

An entry point names a factory `factory(argument: str | None) -> Predict`. A predictor takes one
photo and its face box and returns the neutral face: identity only, in any pose. It may have an
attribute `fingerprint: str` that changes with its code and weights; predictions made under another
fingerprint are not reused. Sums of floating point in it, whose last bits depend on the processor,
are written with five decimals or more (see `fingerprints`).
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval_now.data.boxes import Box
from eval_now.errors import UserError
from eval_now.io.budgets import MAX_COORDINATE
from eval_now.io.landmarks import MIN_EXTENT
from eval_now.io.meshes import MIN_TRIANGLES
from eval_now.predictions.files import UNIT_MM, Unit

GROUP = "eval_now.predictors"


class Photo(NamedTuple):
    """One photo of the benchmark; `box` is the distributed face box, if there is one."""

    name: str
    path: Path
    box: Box | None


class Prediction(NamedTuple):
    """A predicted face with its seven NoW landmarks; `neutral` is None if unknown."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
    landmarks: Float[np.ndarray, "7 3"]
    unit: Unit
    neutral: bool | None


Predict = Callable[[Photo], Prediction]


class NoFaceError(Exception):
    """Raised by predictors that find no face; the image counts as missing."""


def load_predictor(name: str) -> Predict:
    """Load the predictor `NAME` or `NAME:ARGUMENT`, e.g. `mica_ext:runs/x/model`."""
    short, _, argument = name.partition(":")
    registered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if short not in registered:
        known = ", ".join(sorted(registered)) or "none"
        raise UserError(
            f"--predictor {short}: not registered (entry-point group {GROUP}); known: {known}"
        )
    return registered[short].load()(argument or None)


def fingerprint_of(predict: Predict) -> str | None:
    """The predictor's fingerprint of its code and weights, or None."""
    fingerprint = getattr(predict, "fingerprint", None)
    return None if fingerprint is None else str(fingerprint)


def validate_prediction(outcome: object, source: str) -> Prediction | str:
    """The prediction with its arrays as NumPy arrays, or the reason why this photo has none.

    Raises:
        UserError: type, shapes, triangles or unit are wrong: an error of the predictor, not of the
            photo.
    """
    expected = f"{source}: expected a Prediction with"
    if not isinstance(outcome, Prediction):
        raise UserError(f"{expected} a mesh and landmarks, found {type(outcome).__name__}")
    vertices, triangles, landmarks = (np.asarray(array) for array in outcome[:3])
    if outcome.unit not in UNIT_MM:
        raise UserError(f"{expected} the unit m, cm or mm, found {outcome.unit!r}")
    if landmarks.shape != (7, 3) or landmarks.dtype.kind not in "fiu":
        raise UserError(f"{expected} landmarks (7, 3), found {landmarks.dtype}{landmarks.shape}")
    if vertices.ndim != 2 or vertices.shape[1] != 3 or vertices.dtype.kind not in "fiu":
        raise UserError(f"{expected} vertices (V, 3), found {vertices.dtype}{vertices.shape}")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu":
        raise UserError(f"{expected} triangles (F, 3), found {triangles.dtype}{triangles.shape}")
    if len(triangles) < MIN_TRIANGLES:
        raise UserError(f"{expected} {MIN_TRIANGLES} or more triangles, found {len(triangles)}")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise UserError(
            f"{expected} triangles of the vertices 0 to {len(vertices) - 1}, "
            f"found {triangles.min()} to {triangles.max()}"
        )
    limit = MAX_COORDINATE / UNIT_MM[outcome.unit]
    for name, values in (("vertices", vertices), ("landmarks", landmarks)):
        if not (np.abs(values.astype(np.float64)) < limit).all():
            return f"the predictor's {name} are not finite"
    if np.ptp(landmarks, axis=0).max() * UNIT_MM[outcome.unit] < MIN_EXTENT:
        return "the predictor's landmarks are all the same point"
    return outcome._replace(vertices=vertices, triangles=triangles, landmarks=landmarks)
