"""A bounding-volume hierarchy of the triangles of a mesh, for closest-point queries."""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int

from eval_now.geometry.numba_jit import cached_njit

TRIANGLES_PER_LEAF = 3


class TriangleTree(NamedTuple):
    """Complete binary tree of axis-aligned boxes; the children of node i are 2i+1 and 2i+2.

    boxes: minimum and maximum corner of each node. corners: per triangle in tree order, corner a,
    edges ab and ac, and their dot products ab.ab, ab.ac, ac.ac. order: input index of each triangle
    in tree order.
    """

    boxes: Float[np.ndarray, "N 6"]
    corners: Float[np.ndarray, "F 12"]
    order: Int[np.ndarray, " F"]


def build_tree(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> TriangleTree:
    """Build the tree of at least one triangle; a degenerate triangle becomes its longest edge."""
    corners = _degenerate_to_edges(np.asarray(vertices, np.float64)[triangles])
    leaves = 1
    while leaves * TRIANGLES_PER_LEAF < len(triangles):
        leaves *= 2
    order = np.arange(len(triangles))
    boxes = np.empty((2 * leaves - 1, 6))
    _partition(corners.mean(axis=1), order, leaves)
    corners = corners[order]
    _fill_boxes(corners.min(axis=1), corners.max(axis=1), boxes, leaves)
    first = corners[:, 0]
    edge_b, edge_c = corners[:, 1] - first, corners[:, 2] - first
    dots = [(a * b).sum(axis=1) for a, b in ((edge_b, edge_b), (edge_b, edge_c), (edge_c, edge_c))]
    packed = np.concatenate([first, edge_b, edge_c, np.stack(dots, axis=1)], axis=1)
    return TriangleTree(boxes, packed, order)


def _degenerate_to_edges(corners: Float[np.ndarray, "F 3 3"]) -> Float[np.ndarray, "F 3 3"]:
    """Replace triangles without area by (p, q, q), which a query treats as the segment pq."""
    edges = corners[:, [1, 2, 0]] - corners
    squared = (edges**2).sum(axis=2)
    area = (np.cross(edges[:, 0], edges[:, 1]) ** 2).sum(axis=1)
    degenerate = np.flatnonzero(area <= 1e-22 * squared.max(axis=1) ** 2)
    if len(degenerate):
        longest = squared[degenerate].argmax(axis=1)
        begin = corners[degenerate, longest]
        end = corners[degenerate, (longest + 1) % 3]
        corners[degenerate] = np.stack([begin, end, end], axis=1)
    return corners


@cached_njit(error_model="numpy")
@no_type_check
def _partition(centres, order, leaves):  # noqa: ANN001, ANN202
    """Sort `order` so that every node's range is split at the median of its longest box side."""
    count = len(order)
    nodes = 1  # of the level to split
    while nodes < leaves:
        for node in range(nodes):
            start, stop = count * node // nodes, count * (node + 1) // nodes
            middle = count * (2 * node + 1) // (2 * nodes)
            if stop - start < 2:
                continue
            axis, longest = 0, -1.0
            for k in range(3):
                low, high = np.inf, -np.inf
                for i in range(start, stop):
                    value = centres[order[i], k]
                    low, high = min(low, value), max(high, value)
                if high - low > longest:
                    axis, longest = k, high - low
            left, right = start, stop - 1
            while left < right:  # quickselect of the median
                pivot = centres[order[(left + right) // 2], axis]
                i, j = left, right
                while i <= j:
                    while centres[order[i], axis] < pivot:
                        i += 1
                    while centres[order[j], axis] > pivot:
                        j -= 1
                    if i <= j:
                        order[i], order[j] = order[j], order[i]
                        i += 1
                        j -= 1
                if middle <= j:
                    right = j
                elif middle >= i:
                    left = i
                else:
                    break
        nodes *= 2


@cached_njit(error_model="numpy")
@no_type_check
def _fill_boxes(low, high, boxes, leaves):  # noqa: ANN001, ANN202
    """Compute the boxes of the leaves from their triangles, then those of the inner nodes."""
    count = len(low)
    for leaf in range(leaves):
        node = leaves - 1 + leaf
        boxes[node, :3] = np.inf
        boxes[node, 3:] = -np.inf
        for i in range(count * leaf // leaves, count * (leaf + 1) // leaves):
            for k in range(3):
                boxes[node, k] = min(boxes[node, k], low[i, k])
                boxes[node, 3 + k] = max(boxes[node, 3 + k], high[i, k])
    for node in range(leaves - 2, -1, -1):
        for k in range(3):
            boxes[node, k] = min(boxes[2 * node + 1, k], boxes[2 * node + 2, k])
            boxes[node, 3 + k] = max(boxes[2 * node + 1, 3 + k], boxes[2 * node + 2, 3 + k])
