"""Low-stretch unfolding of a triangle mesh from a valid start: symmetric Dirichlet energy.

Per triangle sigma1^2 + sigma1^-2 + sigma2^2 + sigma2^-2 of the map's singular values (Smith and
Schaefer 2015), minimised by reweighted least squares with a line search that never turns a triangle
over (Rabinovich et al., "Scalable locally injective mappings", 2017).
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import sparse
from scipy.sparse.linalg import spsolve

_DAMPING = 1e-5
"""Of the normal equations, as a share of their mean diagonal."""

_GUARD_DENSITY = 0.35
"""Wanted size of the triangles over holes, as a share of their size at the start."""


def unfold(
    start: Float[ndarray, "n 2"],
    points: Float[ndarray, "n 3"],
    triangles: Int[ndarray, "m 3"],
    *,
    density: Float[ndarray, " m"],
    on_axis: Bool[ndarray, " n"],
    guards: Int[ndarray, "g 3"],
    rounds: int,
) -> Float[ndarray, "n 2"]:
    """Places in the plane with as little stretch as the start's topology allows.

    Args:
        start: places in which every triangle has a positive area.
        points: of the surface [mm].
        triangles: of the surface.
        density: wanted length in the plane of a millimetre of each triangle.
        on_axis: points whose first coordinate stays as it is.
        guards: triangles over holes that must stay open.
        rounds: of the minimisation.
    """
    frames, areas = _local_triangles(points[triangles], density)
    flat = np.pad(start[guards], [(0, 0), (0, 0), (0, 1)])
    guard_frames, guard_areas = _local_triangles(flat, np.full(len(guards), _GUARD_DENSITY))
    triangles = np.concatenate([triangles, guards])
    frames, areas = np.concatenate([frames, guard_frames]), np.concatenate([areas, guard_areas])
    gradients = [_gradient(frames, triangles, axis, len(points)) for axis in (0, 1)]
    places = start.copy()
    free = np.flatnonzero(np.r_[~on_axis, np.ones(len(points), bool)])
    for _ in range(rounds):
        target = _reweighted_solution(places, gradients, areas, free)
        places = _step(places, target - places, gradients, areas)
    return places


def jacobians(
    places: Float[ndarray, "n 2"], gradients: list[sparse.csr_matrix]
) -> Float[ndarray, "m 2 2"]:
    """Derivative of the place along the axes of each triangle's frame."""
    return np.stack([gradient @ places for gradient in gradients], axis=2)


def _local_triangles(
    corners: Float[ndarray, "m 3 3"], density: Float[ndarray, " m"]
) -> tuple[Float[ndarray, "m 3 2"], Float[ndarray, " m"]]:
    """Each triangle flat in its own plane and scaled by its density, and its area there."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(first, axis=1)
    along = np.einsum("mi,mi->m", first, second) / length
    across = np.linalg.norm(np.cross(first, second), axis=1) / length
    zero = np.zeros(len(corners))
    flat = np.stack([[zero, length, along], [zero, zero, across]], 2).transpose(1, 0, 2)
    flat = flat * density[:, None, None]
    return flat, 0.5 * length * across * density**2


def _gradient(
    frames: Float[ndarray, "m 3 2"], triangles: Int[ndarray, "m 3"], axis: int, count: int
) -> sparse.csr_matrix:
    """Matrix [m, count] that differentiates a piecewise linear function along `axis`."""
    opposite = np.roll(frames, -2, axis=1) - np.roll(frames, -1, axis=1)  # edge facing a corner
    double = frames[:, 1, 0] * frames[:, 2, 1]
    values = (-opposite[:, :, 1] if axis == 0 else opposite[:, :, 0]) / double[:, None]
    rows = np.repeat(np.arange(len(triangles)), 3)
    return sparse.csr_matrix(
        (values.ravel(), (rows, triangles.ravel())), shape=(len(triangles), count)
    )


def _reweighted_solution(
    places: Float[ndarray, "n 2"],
    gradients: list[sparse.csr_matrix],
    areas: Float[ndarray, " m"],
    free: Int[ndarray, " k"],
) -> Float[ndarray, "n 2"]:
    """Minimiser of the quadratic proxy: sum of area |W (J - R)|^2, R the nearest rotation of J."""
    left, sigma, right = np.linalg.svd(jacobians(places, gradients))
    rotations = left @ right
    slope = sigma - sigma**-3
    near = np.abs(sigma - 1) < 1e-4
    squared = np.where(near, 4.0, slope / np.where(near, 1.0, sigma - 1))
    weights = np.einsum("mik,mk,mjk->mij", left, np.sqrt(squared), left)
    goals = weights @ rotations
    root = np.sqrt(areas)
    blocks, values = [], []
    for row in (0, 1):
        for column in (0, 1):
            scaled = [sparse.diags(root * weights[:, row, k]) @ gradients[column] for k in (0, 1)]
            blocks.append(sparse.hstack(scaled))
            values.append(root * goals[:, row, column])
    matrix = sparse.vstack(blocks).tocsc()[:, free]
    current = places.T.ravel()
    fixed = current.copy()
    fixed[free] = 0.0
    residual = np.concatenate(values) - sparse.vstack(blocks) @ fixed
    normal = (matrix.T @ matrix).tocsc()
    damping = _DAMPING * normal.diagonal().mean()
    right_side = matrix.T @ residual + damping * current[free]
    solved = current.copy()
    solved[free] = spsolve(normal + damping * sparse.identity(len(free), format="csc"), right_side)
    return solved.reshape(2, -1).T


def _step(
    places: Float[ndarray, "n 2"],
    move: Float[ndarray, "n 2"],
    gradients: list[sparse.csr_matrix],
    areas: Float[ndarray, " m"],
) -> Float[ndarray, "n 2"]:
    """`places` moved along `move` as far as no triangle turns over and the energy falls."""
    length = min(1.0, 0.8 * _first_collapse(places, move, gradients))
    energy = _energy(places, gradients, areas)
    while length > 1e-6:
        moved = places + length * move
        if _energy(moved, gradients, areas) < energy:
            return moved
        length *= 0.5
    return places


def _first_collapse(
    places: Float[ndarray, "n 2"], move: Float[ndarray, "n 2"], gradients: list[sparse.csr_matrix]
) -> float:
    """The least positive step at which a triangle's area is zero; infinite if there is none."""
    now, rate = jacobians(places, gradients), jacobians(move, gradients)
    constant, quadratic = np.linalg.det(now), np.linalg.det(rate)
    linear = now[:, 0, 0] * rate[:, 1, 1] + rate[:, 0, 0] * now[:, 1, 1]
    linear -= now[:, 0, 1] * rate[:, 1, 0] + rate[:, 0, 1] * now[:, 1, 0]
    discriminant = linear**2 - 4 * quadratic * constant
    real = discriminant >= 0
    q = -0.5 * (linear + np.where(linear >= 0, 1, -1) * np.sqrt(np.where(real, discriminant, 0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.stack([q / quadratic, constant / q])
    usable = real & np.isfinite(roots) & (roots > 0)
    return float(np.min(np.where(usable, roots, np.inf)))


def _energy(
    places: Float[ndarray, "n 2"], gradients: list[sparse.csr_matrix], areas: Float[ndarray, " m"]
) -> float:
    jacobian = jacobians(places, gradients)
    determinant = np.linalg.det(jacobian)
    if determinant.min() <= 0:
        return np.inf
    squares = (jacobian**2).sum(axis=(1, 2))
    return float(areas @ (squares * (1 + determinant**-2)))
