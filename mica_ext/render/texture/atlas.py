"""The texels of a head's atlas: which triangle each lies on, and its mirror image on the head."""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32
from scipy.spatial import KDTree

from eval_now.geometry.raster import rasterize
from flame_assets.model.head import HeadModel
from mica_ext.errors import UserError
from mica_ext.render.sampling import look_up
from mica_ext.render.textured import texels

_GAP = 4.0
"""A mirrored triangle is used if its edges in the atlas are at most this many times as long."""


class Atlas(NamedTuple):
    """The N covered texels of a square texture, in the order of its rows."""

    size: int
    index: Int[np.ndarray, " N"]
    """Of each texel in the flattened texture."""
    triangles: Int32[np.ndarray, " N"]
    """Triangle of the mesh."""
    barycentric: Float32[np.ndarray, "N 3"]
    mirror: Float32[np.ndarray, "N 2"]
    """Column and row of the place on the other side of the head."""
    has_mirror: Bool[np.ndarray, " N"]
    twins: Int[np.ndarray, " V"]
    """The vertex nearest to the mirror image of each vertex."""
    nearest: Int[np.ndarray, " P"]
    """For every texel of the flattened texture the nearest covered one, as a row of the others."""

    def select(self, rows: Bool[np.ndarray, " N"]) -> "Atlas":
        """Some of the texels, for `interpolate` and `gather` alone."""
        return self._replace(
            index=self.index[rows],
            triangles=self.triangles[rows],
            barycentric=self.barycentric[rows],
            mirror=self.mirror[rows],
            has_mirror=self.has_mirror[rows],
        )

    def interpolate(
        self, head: HeadModel, values: Float[np.ndarray, "V C"]
    ) -> Float32[np.ndarray, "N C"]:
        """Values per vertex at the covered texels."""
        corners, values = head.triangles[self.triangles], values.astype(np.float32)
        result = np.zeros((len(self.index), values.shape[1]), np.float32)
        for corner in range(3):
            result += self.barycentric[:, corner, None] * values[corners[:, corner]]
        return result

    def gather(self, head: HeadModel, values: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "V C"]:
        """Sums per vertex of values at texels, weighted by barycentric coordinates."""
        corners = head.triangles[self.triangles].ravel()
        columns = [
            np.bincount(corners, (self.barycentric * channel[:, None]).ravel(), head.vertices_count)
            for channel in values.T
        ]
        return np.stack(columns, axis=1)

    def image(self, values: Float[np.ndarray, "N C"]) -> Float32[np.ndarray, "size size C"]:
        """Values at texels as a picture, 0 where nothing is covered."""
        flat = np.zeros((self.size * self.size, values.shape[1]), np.float32)
        flat[self.index] = values
        return flat.reshape(self.size, self.size, -1)

    def filled(self, values: Float[np.ndarray, "N C"]) -> Float32[np.ndarray, "size size C"]:
        """Values at texels as a picture, continued over the gaps between islands."""
        return values[self.nearest].reshape(self.size, self.size, -1).astype(np.float32)

    def mirrored(self, values: Float[np.ndarray, "N C"]) -> Float32[np.ndarray, "N C"]:
        """Values at the mirror images of the texels, 0 where there is none."""
        picture = self.image(values)
        return look_up(picture, self.mirror) * self.has_mirror[:, None]


@lru_cache(maxsize=2)
def make_atlas(head: HeadModel, size: int) -> Atlas:
    """The atlas of a head as a texture of `size` x `size` texels.

    Raises:
        UserError: the head has no texture coordinates, or they cover nothing.
    """
    if head.uv is None or head.uv_triangles is None:
        raise UserError(
            f"the head {head.name} has no texture coordinates, so it cannot be textured; "
            "leave --texture out, or use --head anthro"
        )
    places = texels(head.uv.astype(float), size)
    flat = np.pad(places, [(0, 0), (0, 1)], constant_values=1.0)
    raster = rasterize(flat, head.uv_triangles, size, size, perspective=False)
    covered = raster.triangles >= 0
    if not covered.any():
        raise UserError(
            f"the head {head.name} has texture coordinates that cover no area, so it cannot be "
            "textured; write another format than .glb without --texture, or use --head anthro"
        )
    uncovered = (~covered).astype(np.uint8)
    _, found = cv2.distanceTransformWithLabels(
        uncovered, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = np.asarray(found, np.int64)
    row_of_label = np.zeros(int(labels.max()) + 1, np.int64)
    row_of_label[labels[covered]] = np.arange(int(covered.sum()))
    triangles = raster.triangles[covered]
    barycentric = raster.barycentric[covered].astype(np.float32)
    mirrored = head.template * np.array([-1, 1, 1], np.float32)
    twins = np.asarray(KDTree(head.template).query(mirrored)[1])
    corners, usable = _mirrored_corners(head, places, twins)
    mirror = np.einsum("nk,nkc->nc", barycentric, corners[triangles]).astype(np.float32)
    return Atlas(
        size=size,
        index=np.flatnonzero(covered),
        triangles=triangles,
        barycentric=barycentric,
        mirror=mirror,
        has_mirror=usable[triangles],
        twins=twins,
        nearest=row_of_label[labels.ravel()],
    )


def _mirrored_corners(
    head: HeadModel, places: Float[np.ndarray, "T 2"], twin: Int[np.ndarray, " V"]
) -> tuple[Float[np.ndarray, "F 3 2"], Bool[np.ndarray, " F"]]:
    """Texels of the mirror images of each triangle's corners, and where they can be used.

    Exact on heads whose halves are mirror images; elsewhere by the vertex nearest to the image.
    """
    assert head.uv_triangles is not None
    triangles, uv_triangles = head.triangles, head.uv_triangles
    any_place = np.zeros(head.vertices_count, np.int64)
    any_place[triangles.ravel()] = uv_triangles.ravel()
    corners = any_place[twin[triangles]]

    order = np.argsort(triangles, axis=1)
    by_vertices = {
        tuple(key): row for row, key in enumerate(np.take_along_axis(triangles, order, 1).tolist())
    }
    images = np.sort(twin[triangles], axis=1).tolist()
    across = np.array([by_vertices.get(tuple(key), -1) for key in images])
    exact = across >= 0
    sorted_places = np.take_along_axis(uv_triangles, order, 1)  # by vertex id
    rank = np.argsort(np.argsort(twin[triangles], axis=1), axis=1)
    corners[exact] = np.take_along_axis(sorted_places[across[exact]], rank[exact], 1)

    def longest_edge(points: Float[np.ndarray, "F 3 2"]) -> Float[np.ndarray, " F"]:
        return np.linalg.norm(points - np.roll(points, 1, axis=1), axis=2).max(axis=1)

    own, image = longest_edge(places[uv_triangles]), longest_edge(places[corners])
    return places[corners], image <= _GAP * own
