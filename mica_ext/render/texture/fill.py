"""Smooth colours all over a mesh from colours on a part of it: a screened Laplace equation."""

import numpy as np
from jaxtyping import Float, Int32
from scipy import sparse
from scipy.sparse.linalg import splu


def fill_smoothly(
    triangles: Int32[np.ndarray, "F 3"],
    colours: Float[np.ndarray, "V C"],
    confidence: Float[np.ndarray, " V"],
    prior: Float[np.ndarray, "V C"],
    *,
    data_weight: float,
    prior_weight: float | Float[np.ndarray, " V"],
) -> Float[np.ndarray, "V C"]:
    """Minimise sum over edges (f_i - f_j)^2 + data |f - colours|^2 + prior |f - prior|^2.

    Between known colours f is harmonic; far from all of them it tends to `prior`.

    Args:
        triangles: their edges connect the vertices.
        colours: known where `confidence` is above 0.
        confidence: 0 to 1.
        prior: colours of what nothing is known of.
        data_weight: pull of a fully known colour, in units of one edge.
        prior_weight: pull of the prior, in units of one edge; of all vertices or of each.
    """
    count = len(colours)
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    adjacency = sparse.csc_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    data = data_weight * confidence
    matrix = sparse.diags(degree + data + prior_weight) - adjacency
    right = data[:, None] * colours + np.reshape(prior_weight, (-1, 1)) * prior
    return splu(matrix.tocsc()).solve(right)
