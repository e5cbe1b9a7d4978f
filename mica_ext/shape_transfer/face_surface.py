"""A neutral head as deformation transfer sees it: parts, anchored points, sides of its openings."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int8, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from flame_assets.model.head import EYE_JOINTS
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.fitting.correspondence.anchors import PointAnchors, locate_points
from mica_ext.fitting.correspondence.calibration import UNCALIBRATED, load_calibration
from mica_ext.fitting.correspondence.mean_picture import SAME_FEATURES, MeanPicture, mean_picture
from pacofr.faces.face_mesh.topology import (
    INNER_LIPS,
    LEFT_EYE,
    LEFT_EYE_OUTER,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_EYE_OUTER,
)

SKIN, UPPER_TEETH, LOWER_TEETH, TONGUE, EYEBALL = range(5)
PART_NAMES = (
    ("upper_teeth", UPPER_TEETH),
    ("lower_teeth", LOWER_TEETH),
    ("tongue", TONGUE),
    ("eyeball", EYEBALL),
)
"""Substrings of region names, and the part that they mean; all else is skin."""

MOUTH, RIGHT_LIDS, LEFT_LIDS = 1, 2, 3
"""Openings: vertices near one are labelled with it, positive above it and negative below."""
LIPS = np.concatenate([OUTER_LIPS, INNER_LIPS])
_LIP_ROWS = (np.r_[11:20, 31:40], np.r_[1:10, 21:30])
_LID_ROWS = (np.r_[9:16], np.r_[1:8])
OPENINGS = (
    (MOUTH, LIPS, _LIP_ROWS, 0.33),
    (RIGHT_LIDS, RIGHT_EYE, _LID_ROWS, 0.14),
    (LEFT_LIDS, LEFT_EYE, _LID_ROWS, 0.14),
)
"""Label, ring of points, rows of the upper and of the lower edge, and how far along the surface the
sides are told apart, in distances of the outer eye corners."""


MAX_FEATURE_RESIDUAL = 0.15
"""Root mean square of eye corners, nose and mouth from a mean face's, likewise."""


class FaceSurface(NamedTuple):
    """A neutral head without its eyeballs' triangles; lengths in metres."""

    vertices: Float64[np.ndarray, "V 3"]
    triangles: Int64[np.ndarray, "F 3"]
    """Of skin, teeth and tongue."""
    parts: Int8[np.ndarray, " V"]
    sides: Int8[np.ndarray, " V"]
    """Above or below which opening; 0 far from all."""
    anchors: PointAnchors
    anchor_corners: Int64[np.ndarray, "468 3"]
    """Vertices around the anchored points."""
    spots: Float64[np.ndarray, "468 3"]
    """The anchors' places on the skin."""
    eyes: Float64[np.ndarray, "2 3"]
    """Centres of the left and the right eye."""
    unit: float
    """Distance of the outer eye corners."""

    @property
    def triangle_parts(self) -> Int8[np.ndarray, " F"]:
        """Part of each triangle."""
        return self.parts[self.triangles[:, 0]]

    @classmethod
    @torch.no_grad()
    def of_head(cls, decoder: HeadDecoder) -> "FaceSurface":
        """The mean person of a head with 68 landmarks."""
        head = decoder.head
        mesh = decoder(HeadParameters.zeros(head))
        vertices = mesh.vertices[0].double().numpy()
        landmarks = decoder.frontal_landmarks(mesh.vertices)[0].double().numpy()
        picture = mean_picture(landmarks, load_calibration(UNCALIBRATED.parent).mean)
        _check_face(picture, landmarks, head.name)
        anchors = locate_points(decoder, picture)
        corners = head.triangles[anchors.triangles].astype(np.int64)
        spots = np.einsum("lc,lcx->lx", anchors.barycentric, vertices[corners])
        unit = float(np.linalg.norm(spots[LEFT_EYE_OUTER] - spots[RIGHT_EYE_OUTER]))
        parts = np.zeros(len(vertices), np.int8)
        for words, part in PART_NAMES:
            for name, ids in head.regions.items():
                if words in name:
                    parts[ids] = part
        triangles = head.triangles.astype(np.int64)
        kept = (parts[triangles] == parts[triangles[:, :1]]).all(1)
        triangles = triangles[kept & (parts[triangles[:, 0]] != EYEBALL)]
        skin = triangles[parts[triangles[:, 0]] == SKIN]
        sides = _sides_of_openings(vertices, skin, corners, unit)
        eyes = mesh.joints[0, EYE_JOINTS].double().numpy()
        return cls(vertices, triangles, parts, sides, anchors, corners, spots, eyes, unit)


def _check_face(picture: MeanPicture, landmarks: Float64[np.ndarray, "68 3"], name: str) -> None:
    features = picture.project(landmarks[SAME_FEATURES[:, 1]])[0]
    wanted = picture.observations.points_px[0, SAME_FEATURES[:, 0]]
    residual = np.sqrt(np.square(features - wanted).sum(1).mean())
    if not residual < MAX_FEATURE_RESIDUAL:
        raise UserError(
            f"expected a face, the landmarks of the head {name} differ from a face's by "
            f"{100 * residual:.0f} % of the eyes' distance: are they in iBUG's order?"
        )


def _sides_of_openings(
    vertices: Float64[np.ndarray, "V 3"],
    triangles: Int64[np.ndarray, "F 3"],
    corners: Int64[np.ndarray, "468 3"],
    unit: float,
) -> Int8[np.ndarray, " V"]:
    """Label of each vertex: the edge of the opening that is nearest along the surface.

    `corners` [468,3] are the vertices around the anchored points.
    """
    count = len(vertices)
    starts, ends = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    lengths = np.linalg.norm(vertices[starts] - vertices[ends], axis=1)
    graph = coo_array((lengths, (starts, ends)), (count, count)).tocsr()
    graph = graph.maximum(graph.T)
    sides = np.zeros(count, np.int8)
    for label, ring, (upper, lower), reach in OPENINGS:
        above, below = (np.unique(corners[ring[rows]]) for rows in (upper, lower))
        above = np.setdiff1d(above, below)
        distance, _, nearest = dijkstra(
            graph,
            indices=np.concatenate([above, below]),
            limit=reach * unit,
            min_only=True,
            return_predecessors=True,
        )
        near = np.isfinite(distance)
        sides[near] = np.where(np.isin(nearest[near], above), label, -label)
    return sides
