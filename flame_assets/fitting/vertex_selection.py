"""Which vertices of a registered mesh a fit uses."""

import numpy as np
from jaxtyping import Int

from flame_assets.model.head import EYE_JOINTS, HeadModel

MASKED_REGIONS = ("left_eyeball", "right_eyeball", "boundary")
"""Registrations do not see the eyeballs, and the edge of the neck follows no scan."""
EYE_WEIGHT = 0.5
"""Skinning weight above which a vertex belongs to an eyeball."""


def fitted_vertices(head: HeadModel) -> Int[np.ndarray, " N"]:
    """Ids of the vertices that fits compare: all but the eyeballs and the boundary of the mesh.

    Eyeballs are also what turns with the eye joints; without a region "boundary" the boundary is
    the longest closed line of edges that have one triangle, FLAME's neck.
    """
    keep = np.ones(head.vertices_count, bool)
    for name in MASKED_REGIONS:
        keep[head.regions.get(name, [])] = False
    keep &= head.skinning_weights[:, EYE_JOINTS].sum(1) < EYE_WEIGHT
    if "boundary" not in head.regions:
        keep[_longest_boundary(head.triangles)] = False
    kept = np.flatnonzero(keep)
    return kept if len(kept) else np.arange(head.vertices_count)


def _longest_boundary(triangles: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, " n"]:
    """Vertices of the connected line with the most edges that only one triangle has."""
    edges = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    )
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    open_edges = unique[counts == 1]
    if not len(open_edges):
        return np.zeros(0, np.int64)
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ids, ends = np.unique(open_edges, return_inverse=True)
    ends = ends.reshape(open_edges.shape)
    ones = np.ones(len(ends))
    graph = coo_matrix((ones, (ends[:, 0], ends[:, 1])), shape=(len(ids), len(ids)))
    _, labels = connected_components(graph, directed=False)
    return ids[labels == np.bincount(labels[ends[:, 0]]).argmax()]
