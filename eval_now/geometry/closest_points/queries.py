"""Closest points on a triangle mesh, and the normal equations of a scan-to-mesh alignment.

Exact distances from a bounding-volume hierarchy. A query starts from a candidate triangle (the
closest one at the previous evaluation, or that of the neighbouring point), whose distance bounds
the search. The kernel accumulates J'J and J'd in the same pass over the points.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int

from eval_now.geometry.closest_points.bvh import TriangleTree
from eval_now.geometry.numba_jit import cached_njit, kernel_input

_STACK_SIZE = 64  # deeper than any tree of fewer than 2**63 triangles


@cached_njit(inline="always", error_model="numpy")
@no_type_check
def _box_distance(boxes, node, x, y, z):  # noqa: ANN001, ANN202
    """Squared distance from a point to a node's box, 0 inside."""
    dx = max(max(boxes[node, 0] - x, x - boxes[node, 3]), 0.0)
    dy = max(max(boxes[node, 1] - y, y - boxes[node, 4]), 0.0)
    dz = max(max(boxes[node, 2] - z, z - boxes[node, 5]), 0.0)
    return dx * dx + dy * dy + dz * dz


@cached_njit(inline="always", error_model="numpy")
@no_type_check
def _closest_on_triangle(corners, i, x, y, z):  # noqa: ANN001, ANN202
    """Closest point a + v ab + w ac of triangle i, as (v, w, squared distance).

    Voronoi regions of Ericson, Real-Time Collision Detection, section 5.1.5.
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


@cached_njit(error_model="numpy")
@no_type_check
def _closest_triangle(boxes, corners, x, y, z, start, stack, bounds):  # noqa: ANN001, ANN202
    """Closest triangle (tree order) to a point, as (index, v, w, squared distance)."""
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
        while node < first_leaf:  # descend to the nearer child, push the other
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


@cached_njit(nogil=True, error_model="numpy")
@no_type_check
def _distances_and_normal_equations(  # noqa: ANN202
    boxes, corners, points, scale, rotation, derivatives, translation,  # noqa: ANN001
    closest, distances,  # noqa: ANN001
):  # fmt: skip
    """J'J and -J'd of the distances from points to the mesh under a similarity transform.

    Writes the distances and the closest triangles (tree order); `closest` holds the warm start.
    """
    stack, bounds = np.empty(_STACK_SIZE, np.int64), np.empty(_STACK_SIZE)
    normal = np.zeros((7, 7))
    gradient = np.zeros(7)
    row = np.empty(7)
    inverse = rotation.T.copy() / scale
    previous = 0
    for i in range(len(points)):
        px = points[i, 0] - translation[0]
        py = points[i, 1] - translation[1]
        pz = points[i, 2] - translation[2]
        x = inverse[0, 0] * px + inverse[0, 1] * py + inverse[0, 2] * pz
        y = inverse[1, 0] * px + inverse[1, 1] * py + inverse[1, 2] * pz
        z = inverse[2, 0] * px + inverse[2, 1] * py + inverse[2, 2] * pz
        start = closest[i] if closest[i] >= 0 else previous
        best, v, w, squared = _closest_triangle(boxes, corners, x, y, z, start, stack, bounds)
        closest[i] = previous = best
        distance = np.sqrt(squared) * scale
        distances[i] = distance
        if distance <= 0.0:
            continue  # on the surface the direction is undefined and the residual 0
        qx = corners[best, 0] + v * corners[best, 3] + w * corners[best, 6]
        qy = corners[best, 1] + v * corners[best, 4] + w * corners[best, 7]
        qz = corners[best, 2] + v * corners[best, 5] + w * corners[best, 8]
        for k in range(3):
            rotated = rotation[k, 0] * qx + rotation[k, 1] * qy + rotation[k, 2] * qz
            row[4 + k] = -(points[i, k] - scale * rotated - translation[k]) / distance
        row[0] = (
            row[4] * (rotation[0, 0] * qx + rotation[0, 1] * qy + rotation[0, 2] * qz)
            + row[5] * (rotation[1, 0] * qx + rotation[1, 1] * qy + rotation[1, 2] * qz)
            + row[6] * (rotation[2, 0] * qx + rotation[2, 1] * qy + rotation[2, 2] * qz)
        )
        for j in range(3):
            total = 0.0
            for k in range(3):
                slope = derivatives[j, k, 0] * qx
                slope = slope + derivatives[j, k, 1] * qy + derivatives[j, k, 2] * qz
                total += row[4 + k] * slope
            row[1 + j] = scale * total
        for j in range(7):
            gradient[j] -= row[j] * distance
            for k in range(j, 7):
                normal[j, k] += row[j] * row[k]
    for j in range(7):
        for k in range(j):
            normal[j, k] = normal[k, j]
    return normal, gradient


class NormalEquations(NamedTuple):
    """Distances d [P] and the Gauss-Newton terms of their sum of squares.

    hessian: the Gauss-Newton approximation J'J. gradient: -J'd, half the negative gradient of the
    sum of d^2. J is the Jacobian of d in the variables (scale, rotation vector, translation).
    """

    distances: Float[np.ndarray, " P"]
    hessian: Float[np.ndarray, "7 7"]
    gradient: Float[np.ndarray, " 7"]


def normal_equations(
    tree: TriangleTree,
    points: Float[np.ndarray, "P 3"],
    closest_triangle: Int[np.ndarray, " P"],
    scale: float,
    rotation: Float[np.ndarray, "3 3"],
    rotation_derivatives: Float[np.ndarray, "3 3 3"],
    translation: Float[np.ndarray, " 3"],
) -> NormalEquations:
    """Distances of points to the mesh moved by y -> scale * rotation @ y + translation.

    Args:
        tree: the mesh.
        points: query points.
        closest_triangle: warm start (tree order, -1 for none); overwritten with the result.
        scale: of the mesh's transform.
        rotation: of the mesh's transform.
        rotation_derivatives: of `rotation` along its rotation vector.
        translation: of the mesh's transform.
    """
    distances = np.empty(len(points))
    hessian, gradient = _distances_and_normal_equations(
        kernel_input(tree.boxes),
        kernel_input(tree.corners),
        kernel_input(points),
        float(scale),
        kernel_input(rotation),
        kernel_input(rotation_derivatives),
        kernel_input(translation),
        closest_triangle,
        distances,
    )
    return NormalEquations(distances, hessian, gradient)


class ClosestTriangles(NamedTuple):
    """Distance of each point to the mesh and the input index of its closest triangle."""

    distances: Float[np.ndarray, " P"]
    triangles: Int[np.ndarray, " P"]


def closest_triangles(tree: TriangleTree, points: Float[np.ndarray, "P 3"]) -> ClosestTriangles:
    """Exact distances of points to a mesh."""
    closest = np.full(len(points), -1)
    result = normal_equations(
        tree,
        np.ascontiguousarray(points, np.float64),
        closest,
        1.0,
        np.eye(3),
        np.zeros((3, 3, 3)),
        np.zeros(3),
    )
    return ClosestTriangles(result.distances, tree.order[closest])
