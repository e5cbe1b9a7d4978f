"""Distances of moved heads from true ones by region of the face [mm]."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from flame_assets.fitting.rigid_motion import rigid_alignment
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.fitting.correspondence.anchors import NOT_SKIN

FEATURES = {
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}
"""Groups of the iBUG landmarks."""
REST, FACE = "rest", "face"
"""The face's other vertices, and all of them."""
REGIONS = (FACE, *FEATURES, REST)
FEATURE_REACH_M = 0.012
"""Vertices so near to a landmark of the neutral head belong to its feature."""
FACE_REACH_M = 0.06
"""Vertices so near to an inner landmark are the face, on heads that do not say what theirs is."""


class FaceRegions(NamedTuple):
    """Vertices of the face by region."""

    face: Int[np.ndarray, " F"]
    """All of them: skin only, without eyeballs and the mouth's inside."""
    rows: dict[str, Int[np.ndarray, " n"]]
    """Places in `face` of each of `REGIONS`; some may be empty."""


@torch.no_grad()
def face_regions(decoder: HeadDecoder) -> FaceRegions:
    """The regions of a head, by the landmarks of its neutral mesh."""
    head = decoder.head
    vertices = decoder(HeadParameters.zeros(head)).vertices
    landmarks = decoder.frontal_landmarks(vertices)[0].double().numpy()
    points = vertices[0].double().numpy()
    distance, nearest = KDTree(landmarks[17:]).query(points)
    nearest = np.asarray(nearest) + 17
    skin = np.ones(len(points), bool)
    for name, ids in head.regions.items():
        if any(part in name for part in (*NOT_SKIN, "socket")):
            skin[ids] = False
    inside = distance < FACE_REACH_M
    if "face" in head.regions:
        inside = np.zeros(len(points), bool)
        inside[head.regions["face"]] = True
        inside |= distance < FEATURE_REACH_M  # lips and lids may be regions of their own
    face = np.flatnonzero(inside & skin)
    near, feature = distance[face] < FEATURE_REACH_M, nearest[face]
    rows = {FACE: np.arange(len(face))}
    for name, group in FEATURES.items():
        rows[name] = np.flatnonzero(near & (feature >= group.start) & (feature < group.stop))
    rows[REST] = np.flatnonzero(~near)
    return FaceRegions(face, rows)


def posed_errors(
    found: Float[np.ndarray, "V 3"], truth: Float[np.ndarray, "V 3"], regions: FaceRegions
) -> dict[str, float]:
    """Mean distances of corresponding vertices by region [mm], without empty regions.

    The head is aligned rigidly by all vertices of the face: pose is not counted.
    """
    points, wanted = (np.asarray(mesh, np.float64)[regions.face] for mesh in (found, truth))
    rotation, translation = rigid_alignment(points, wanted[None])
    distances = 1000 * np.linalg.norm(points @ rotation[0].T + translation[0] - wanted, axis=1)
    rows = regions.rows.items()
    return {name: float(distances[own].mean()) for name, own in rows if len(own)}


def region_errors(errors: list[Mapping[str, float]]) -> Float[np.ndarray, "N R"]:
    """Errors of several faces in the order of `REGIONS`; NaN for empty ones."""
    return np.array([[each.get(name, np.nan) for name in REGIONS] for each in errors])
