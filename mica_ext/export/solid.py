"""A head closed for printing: watertight shells of skin and eyes, neck and mouth capped."""

import numpy as np
from jaxtyping import Float, Int32

from flame_assets.model.head import HeadModel
from mica_ext.errors import UserError
from mica_ext.export.surface import Surface

_DROPPED = ("teeth", "tongue", "mouth_inside")
"""Regions whose name contains one of these are left out: they hang free inside the mouth."""


def solid_surface(head: HeadModel, vertices: Float[np.ndarray, "V 3"]) -> Surface:
    """A watertight surface [m] of a head, without texture coordinates.

    Openings (neck, lips, lids) are closed by fans about their centroids; those around an eyeball
    about the eyeball's centre, so that skin and eyeball overlap and print as one body.

    Raises:
        UserError: the head cannot be closed this way.
    """
    dropped = np.zeros(head.vertices_count, bool)
    for name, ids in head.regions.items():
        if any(part in name for part in _DROPPED):
            dropped[ids] = True
    for name in ("lips", "skin"):
        dropped[head.regions.get(name, [])] = False
    triangles = head.triangles[~dropped[head.triangles].any(axis=1)]
    points, corners, colours = vertices, triangles, head.colours
    eyes = [
        (vertices[ids].min(axis=0) + vertices[ids].max(axis=0)) / 2
        for name, ids in head.regions.items()
        if "eyeball" in name
    ]
    for loop in boundary_loops(triangles):
        centre = points[loop].mean(axis=0)
        radius = np.linalg.norm(points[loop] - centre, axis=1).max()
        near = [eye for eye in eyes if np.linalg.norm(eye - centre) < radius]
        apex = near[0] if near else centre
        fan = np.stack([np.roll(loop, -1), loop, np.full(len(loop), len(points))], axis=1)
        points = np.concatenate([points, apex[None].astype(points.dtype)])
        corners = np.concatenate([corners, fan.astype(np.int32)])
        if colours is not None:
            colours = np.concatenate([colours, colours[loop].mean(axis=0, keepdims=True)])
    used, corners = np.unique(corners, return_inverse=True)
    corners = corners.reshape(-1, 3).astype(np.int32)
    if not is_closed(corners):
        raise UserError(
            f"the head {head.name} cannot be closed: its triangles are not one surface; "
            "leave --solid out, or use --head anthro"
        )
    return Surface(points[used], corners, None if colours is None else colours[used])


def boundary_loops(triangles: Int32[np.ndarray, "F 3"]) -> list[Int32[np.ndarray, " n"]]:
    """Closed rows of vertices along the edges that only one triangle has, in its direction."""
    edges = _directed_edges(triangles)
    size = int(triangles.max()) + 1
    keys = edges[:, 0].astype(np.int64) * size + edges[:, 1]
    opposite = edges[:, 1].astype(np.int64) * size + edges[:, 0]
    after: dict[int, list[int]] = {}
    for start, end in edges[~np.isin(opposite, keys)].tolist():
        after.setdefault(start, []).append(end)
    loops = []
    while after:
        first = next(iter(after))
        loop = [first]
        while True:
            following = after[loop[-1]]
            end = following.pop()
            if not following:
                del after[loop[-1]]
            if end == first:
                break
            if end not in after:  # an open row: no surface with a border
                break
            loop.append(end)
        loops.append(np.array(loop, np.int32))
    return loops


def is_closed(triangles: Int32[np.ndarray, "F 3"]) -> bool:
    """Whether each edge is shared by two triangles of the same orientation."""
    edges = _directed_edges(triangles)
    size = int(triangles.max()) + 1
    keys = np.sort(edges[:, 0].astype(np.int64) * size + edges[:, 1])
    opposite = np.sort(edges[:, 1].astype(np.int64) * size + edges[:, 0])
    return bool((np.diff(keys) > 0).all() and np.array_equal(keys, opposite))


def _directed_edges(triangles: Int32[np.ndarray, "F 3"]) -> Int32[np.ndarray, "E 2"]:
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
