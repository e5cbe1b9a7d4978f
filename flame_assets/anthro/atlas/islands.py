"""Parts of the atlas beside the skin: balls, dental arches, the oral cavity.

All in a unit square or disc; triangles seen from outside stay counter-clockwise.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


class Island(NamedTuple):
    """Texture coordinates of their own and triangles over them, in the order given."""

    uv: Float[ndarray, "t 2"]
    triangles: Int[ndarray, "f 3"]


def ball(unit: Float[ndarray, "n 3"], triangles: Int[ndarray, "f 3"], power: float) -> Island:
    """A ball seen from +z, all of it: polar angle to radius, the hidden pole around the rim.

    `power` below 1 gives more room to the front.
    """
    polar = np.arccos(np.clip(unit[:, 2], -1, 1))
    pole = int(np.argmax(polar))
    rim = np.sort(polar)[-2]
    across = np.hypot(unit[:, 0], unit[:, 1])
    direction = unit[:, :2] / np.maximum(across, 1e-12)[:, None]
    radius = 0.47 * (np.minimum(polar, rim) / rim) ** power
    uv = 0.5 + direction * radius[:, None]
    triangles = triangles.copy()
    rows, columns = np.nonzero(triangles == pole)
    others = [np.delete(triangles[row], column) for row, column in zip(rows, columns, strict=True)]
    between = np.array([direction[pair].sum(axis=0) for pair in others])
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    triangles[rows, columns] = len(uv) + np.arange(len(rows))
    return Island(np.concatenate([uv, 0.5 + 0.5 * between]), triangles)


def tube(grid: Int[ndarray, "r c"], triangles: Int[ndarray, "f 3"], count: int) -> Island:
    """A closed tube of r rings of c points, with a cap at each end; `count` points in all.

    Rings lie one beside the other; the tube is cut between its last and its first column. Points
    outside the grid are the caps' centres, the first of the first ring.
    """
    rings, columns = grid.shape
    cap = 0.5 / rings
    uv = np.zeros((count + rings, 2))
    u = np.linspace(cap, 1 - cap, rings)
    uv[grid, 0] = u[:, None]
    uv[grid, 1] = np.arange(columns) / columns
    uv[count:] = np.stack([u, np.ones(rings)], 1)  # the first column again
    centres = np.setdiff1d(np.arange(count), grid)
    uv[centres] = np.stack([[0.0, 1.0], [0.5, 0.5]], 1)
    first = np.full(count, -1)
    first[grid[:, 0]] = count + np.arange(rings)
    in_last, in_first = (np.isin(triangles, grid[:, column]) for column in (-1, 0))
    last = np.asarray(in_last.any(axis=1) & in_first.any(axis=1))
    triangles = triangles.copy()
    wrapped = last[:, None] & (first[triangles] >= 0)
    triangles[wrapped] = first[triangles[wrapped]]
    if signed_areas(uv[triangles]).sum() < 0:
        uv[:, 1] = 1 - uv[:, 1]
    return Island(uv, triangles)


def bag(rows: int, columns: int) -> Float[ndarray, "r c 2"]:
    """Places of `rows` half rings behind the lips' seam: a half disc, the seam on its rim.

    Columns run from the upper midline over the corner (on the right) to the lower midline.
    """
    angle = np.pi / 2 - np.linspace(0, np.pi, columns)
    radius = 0.5 * (1 - np.arange(rows) / (rows + 0.5))
    direction = np.stack([np.cos(angle), np.sin(angle)], 1)
    direction[[0, -1], 0] = 0.0
    return 0.5 + radius[:, None, None] * direction


def signed_areas(corners: Float[ndarray, "f 3 2"]) -> Float[ndarray, " f"]:
    """Areas of triangles in the plane, positive where they run counter-clockwise."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return 0.5 * (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
