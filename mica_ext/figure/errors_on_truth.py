"""How far a true surface lies from a head, as NoW measures it, and its colours."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from eval_now.geometry.align import align
from eval_now.geometry.crop import crop_mask
from eval_now.geometry.similarity import fit_similarity
from mica_ext.figure.methods import FigureMesh
from mica_ext.render.clay import CLAY_COLOUR

COLOUR_MAP = "YlOrRd"
MM = 1000.0


class ErrorMap(NamedTuple):
    """The true surface in the head's frame, coloured by its distances to the head."""

    surface: FigureMesh
    median_mm: float
    mean_mm: float


def error_map(truth: FigureMesh, head: FigureMesh, max_error_mm: float) -> ErrorMap:
    """Distances of NoW's non-metrical protocol: the head is aligned with its scale fitted.

    What NoW's crop leaves out keeps the colour of clay.

    Args:
        truth: true surface [m].
        head: a method's head [m].
        max_error_mm: of the last colour.
    """
    from matplotlib import colormaps

    points, marks = truth.vertices * MM, truth.landmarks * MM
    inside = crop_mask(points, marks)
    alignment = align(
        np.ascontiguousarray(points[inside]),
        marks,
        head.vertices * MM,
        np.asarray(head.triangles, np.int64),
        head.landmarks * MM,
    )
    moved = alignment.refinement.compose(alignment.initial)
    to_head = fit_similarity(moved.apply(head.vertices * MM), head.vertices)
    colours: Float32[np.ndarray, "V 3"] = np.tile(
        np.array(CLAY_COLOUR, np.float32), (len(points), 1)
    )
    shares: Float[np.ndarray, " P"] = np.clip(alignment.distances / max_error_mm, 0, 1)
    colours[inside] = colormaps[COLOUR_MAP](shares)[:, :3]
    surface = FigureMesh(to_head.apply(points), truth.triangles, to_head.apply(marks), colours)
    return ErrorMap(
        surface, float(np.median(alignment.distances)), float(alignment.distances.mean())
    )
