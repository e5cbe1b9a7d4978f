"""Exact closest points on a triangle mesh: a bounding-volume tree with warm-started queries.

Every query starts from the triangle found for the same point last time (or for its neighbour),
whose distance bounds the search; during an alignment that bound is nearly tight, so that few nodes
are visited. The kernel also adds up the normal equations of the alignment, so that one pass over
the points gives distances, gradient and Gauss-Newton matrix.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int

from eval_now.geometry.numba_jit import compiled

TRIANGLES_PER_LEAF = 3
STACK_SIZE = 64


class TriangleTree(NamedTuple):
    """Balanced tree of axis-aligned boxes; node i has the children 2i+1 and 2i+2.

    boxes: low and high corner of every node. corners: per triangle, in tree order, its first
    corner, the two edges leaving it and their three dot products. order: input index of those
    triangles.
    """

    boxes: Float[np.ndarray, "N 6"]
    corners: Float[np.ndarray, "F 12"]
    order: Int[np.ndarray, " F"]


def build_tree(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> TriangleTree:
    """Tree of a mesh with at least one triangle; a flat one counts as its longest edge."""
    corners = _without_flat(np.asarray(vertices, np.float64)[triangles])
    leaves = 1
    while leaves * TRIANGLES_PER_LEAF < len(triangles):
        leaves *= 2
    order = np.arange(len(triangles))
    boxes = np.empty((2 * leaves - 1, 6))
    _split(corners.mean(axis=1), order, leaves)
    corners = corners[order]
    _fill_boxes(corners.min(axis=1), corners.max(axis=1), boxes, leaves)
    first = corners[:, 0]
    edge_b, edge_c = corners[:, 1] - first, corners[:, 2] - first
    dots = [(a * b).sum(axis=1) for a, b in ((edge_b, edge_b), (edge_b, edge_c), (edge_c, edge_c))]
    packed = np.concatenate([first, edge_b, edge_c, np.stack(dots, axis=1)], axis=1)
    return TriangleTree(boxes, packed, order)


def _without_flat(corners: Float[np.ndarray, "F 3 3"]) -> Float[np.ndarray, "F 3 3"]:
    """Triangles without area become (p, q, q), which a query takes for the segment p q."""
    edges = corners[:, [1, 2, 0]] - corners
    squared = (edges**2).sum(axis=2)
    area = (np.cross(edges[:, 0], edges[:, 1]) ** 2).sum(axis=1)
    flat = np.flatnonzero(area <= 1e-22 * squared.max(axis=1) ** 2)
    if len(flat):
        longest = squared[flat].argmax(axis=1)
        begin, end = corners[flat, longest], corners[flat, (longest + 1) % 3]
        corners[flat] = np.stack([begin, end, end], axis=1)
    return corners


@compiled(error_model="numpy")
@no_type_check
def _split(centres, order, leaves):  # noqa: ANN001, ANN202
    """Reorder triangles so that every node's range halves at the median of its longest side."""
    count = len(order)
    parts = 1
    while parts < leaves:
        for part in range(parts):
            start, stop = count * part // parts, count * (part + 1) // parts
            middle = count * (2 * part + 1) // (2 * parts)
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
        parts *= 2


@compiled(error_model="numpy")
@no_type_check
def _fill_boxes(low, high, boxes, leaves):  # noqa: ANN001, ANN202
    """Boxes of the leaves from their triangles, then of the parents from their children."""
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


@compiled(inline="always", error_model="numpy")
@no_type_check
def _box_distance(boxes, node, x, y, z):  # noqa: ANN001, ANN202
    """Squared distance of a point to a box, 0 inside."""
    dx = max(max(boxes[node, 0] - x, x - boxes[node, 3]), 0.0)
    dy = max(max(boxes[node, 1] - y, y - boxes[node, 4]), 0.0)
    dz = max(max(boxes[node, 2] - z, z - boxes[node, 5]), 0.0)
    return dx * dx + dy * dy + dz * dz


@compiled(inline="always", error_model="numpy")
@no_type_check
def _closest_on_triangle(corners, i, x, y, z):  # noqa: ANN001, ANN202
    """Closest point of triangle i as (weight of edge b, weight of edge c, squared distance).

    The regions of Ericson, Real-Time Collision Detection, section 5.1.5.
    """
    px, py, pz = x - corners[i, 0], y - corners[i, 1], z - corners[i, 2]
    bx, by, bz = corners[i, 3], corners[i, 4], corners[i, 5]
    cx, cy, cz = corners[i, 6], corners[i, 7], corners[i, 8]
    bb, bc, cc = corners[i, 9], corners[i, 10], corners[i, 11]
    d1 = bx * px + by * py + bz * pz
    d2 = cx * px + cy * py + cz * pz
    d3, d4 = d1 - bb, d2 - bc
    d5, d6 = d1 - bc, d2 - cc
    vc = d1 * d4 - d3 * d2
    vb = d5 * d2 - d1 * d6
    va = d3 * d6 - d5 * d4
    if d1 <= 0.0 and d2 <= 0.0:
        v, w = 0.0, 0.0
    elif d3 >= 0.0 and d4 <= d3:
        v, w = 1.0, 0.0
    elif d6 >= 0.0 and d5 <= d6:
        v, w = 0.0, 1.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        v, w = d1 / (d1 - d3), 0.0
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        v, w = 0.0, d2 / (d2 - d6)
    elif va <= 0.0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = 1.0 - w
    else:
        scale = 1.0 / (va + vb + vc)
        v, w = vb * scale, vc * scale
    ex, ey, ez = px - v * bx - w * cx, py - v * by - w * cy, pz - v * bz - w * cz
    return v, w, ex * ex + ey * ey + ez * ez


@compiled(error_model="numpy")
@no_type_check
def _query(boxes, corners, x, y, z, start, stack, bounds):  # noqa: ANN001, ANN202
    """Closest triangle (tree order) to one point, beginning with the triangle `start`."""
    count, first_leaf = len(corners), (len(boxes) - 1) // 2
    leaves = first_leaf + 1
    best = start
    best_v, best_w, best_d = _closest_on_triangle(corners, start, x, y, z)
    top = 0
    if _box_distance(boxes, 0, x, y, z) < best_d:
        stack[0], bounds[0] = 0, 0.0
        top = 1
    while top > 0:
        top -= 1
        node = stack[top]
        if bounds[top] >= best_d:
            continue
        while node < first_leaf:  # walk down the nearer child, keep the other for later
            left = 2 * node + 1
            near = _box_distance(boxes, left, x, y, z)
            far = _box_distance(boxes, left + 1, x, y, z)
            node, other = left, left + 1
            if far < near:
                near, far = far, near
                node, other = left + 1, left
            if far < best_d:
                stack[top], bounds[top] = other, far
                top += 1
            if near >= best_d:
                node = -1
                break
        if node < 0:
            continue
        leaf = node - first_leaf
        for i in range(count * leaf // leaves, count * (leaf + 1) // leaves):
            v, w, d = _closest_on_triangle(corners, i, x, y, z)
            if d < best_d:
                best, best_v, best_w, best_d = i, v, w, d
    return best, best_v, best_w, best_d


@compiled(nogil=True, error_model="numpy")
@no_type_check
def _distances_and_normal_equations(  # noqa: ANN202
    boxes, corners, points, scale, rotation, turns, shift, found, distances  # noqa: ANN001
):  # fmt: skip
    """Distances of points to the mesh moved as `scale rotation y + shift`, and J'J, -J'd of them.

    turns: derivative of the rotation along the three rotation variables, [3,3,3]. The variables are
    (scale, rotation 3, shift 3); `found` holds the warm start and receives the closest triangles.
    """
    stack, bounds = np.empty(STACK_SIZE, np.int64), np.empty(STACK_SIZE)
    normal = np.zeros((7, 7))
    gradient = np.zeros(7)
    row = np.empty(7)
    back = rotation.T.copy() / scale
    last = 0
    for i in range(len(points)):
        px, py, pz = points[i, 0] - shift[0], points[i, 1] - shift[1], points[i, 2] - shift[2]
        x = back[0, 0] * px + back[0, 1] * py + back[0, 2] * pz
        y = back[1, 0] * px + back[1, 1] * py + back[1, 2] * pz
        z = back[2, 0] * px + back[2, 1] * py + back[2, 2] * pz
        start = found[i] if found[i] >= 0 else last
        best, v, w, squared = _query(boxes, corners, x, y, z, start, stack, bounds)
        found[i] = last = best
        distance = np.sqrt(squared) * scale
        distances[i] = distance
        if distance <= 0.0:
            continue  # on the surface: no direction, nothing to pull
        qx = corners[best, 0] + v * corners[best, 3] + w * corners[best, 6]
        qy = corners[best, 1] + v * corners[best, 4] + w * corners[best, 7]
        qz = corners[best, 2] + v * corners[best, 5] + w * corners[best, 8]
        for k in range(3):
            moved = rotation[k, 0] * qx + rotation[k, 1] * qy + rotation[k, 2] * qz
            row[4 + k] = -(points[i, k] - scale * moved - shift[k]) / distance
        row[0] = (
            row[4] * (rotation[0, 0] * qx + rotation[0, 1] * qy + rotation[0, 2] * qz)
            + row[5] * (rotation[1, 0] * qx + rotation[1, 1] * qy + rotation[1, 2] * qz)
            + row[6] * (rotation[2, 0] * qx + rotation[2, 1] * qy + rotation[2, 2] * qz)
        )
        for j in range(3):
            total = 0.0
            for k in range(3):
                turned = turns[j, k, 0] * qx + turns[j, k, 1] * qy + turns[j, k, 2] * qz
                total += row[4 + k] * turned
            row[1 + j] = scale * total
        for j in range(7):
            gradient[j] -= row[j] * distance
            for k in range(j, 7):
                normal[j, k] += row[j] * row[k]
    for j in range(7):
        for k in range(j):
            normal[j, k] = normal[k, j]
    return normal, gradient


class Evaluation(NamedTuple):
    """Distances to a moved mesh and the normal equations of their sum of squares."""

    distances: Float[np.ndarray, " P"]
    normal: Float[np.ndarray, "7 7"]
    gradient: Float[np.ndarray, " 7"]


def evaluate_moved(
    tree: TriangleTree,
    points: Float[np.ndarray, "P 3"],
    found: Int[np.ndarray, " P"],
    scale: float,
    rotation: Float[np.ndarray, "3 3"],
    turns: Float[np.ndarray, "3 3 3"],
    shift: Float[np.ndarray, " 3"],
) -> Evaluation:
    """Distance of every point to the mesh moved as `scale rotation y + shift`.

    `found` (closest triangle of every point, -1 unknown) is the warm start and is updated in place.
    The derivatives are along (scale, rotation vector, shift).
    """
    distances = np.empty(len(points))
    normal, gradient = _distances_and_normal_equations(
        tree.boxes, tree.corners, points, float(scale), rotation, turns, shift, found, distances
    )
    return Evaluation(distances, normal, gradient)


def closest_distances(
    tree: TriangleTree, points: Float[np.ndarray, "P 3"]
) -> tuple[Float[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """Exact distance of every point to the mesh, and the input index of its closest triangle."""
    found = np.full(len(points), -1)
    result = evaluate_moved(
        tree,
        np.ascontiguousarray(points, np.float64),
        found,
        1.0,
        np.eye(3),
        np.zeros((3, 3, 3)),
        np.zeros(3),
    )
    return result.distances, tree.order[found]


def _spread_bits(value: Int[np.ndarray, " P"]) -> Int[np.ndarray, " P"]:
    """Put two zero bits between the lowest 10 bits."""
    value = (value | (value << 16)) & 0x030000FF
    value = (value | (value << 8)) & 0x0300F00F
    value = (value | (value << 4)) & 0x030C30C3
    return (value | (value << 2)) & 0x09249249


def spatial_order(points: Float[np.ndarray, "P 3"]) -> Int[np.ndarray, " P"]:
    """Order of points along a Morton curve: neighbours in it are neighbours in space."""
    low, high = points.min(axis=0), points.max(axis=0)
    cells = ((points - low) / max(float((high - low).max()), 1e-30) * 1023).astype(np.int64)
    x, y, z = (_spread_bits(cells[:, k]) for k in range(3))
    return np.argsort(x | y << 1 | z << 2, kind="stable")
