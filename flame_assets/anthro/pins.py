"""Points of the domain pinned to the mesh as (triangle, barycentric weights)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from flame_assets.anthro import domain
from flame_assets.anthro.controls import CONTROLS
from flame_assets.anthro.template import HalfTemplate

_PLACES = {
    control.name: np.array(control.place)
    if control.place is not None
    else domain.locate(np.array([control.position]))[0]
    for control in CONTROLS
}


class Pins(NamedTuple):
    """Points on triangles of the whole head."""

    triangles: Int[ndarray, " n"]
    barycentric: Float[ndarray, "n 3"]

    def on(
        self, vertices: Float[ndarray, "v 3"], faces: Int[ndarray, "f 3"]
    ) -> Float[ndarray, "n 3"]:
        """Where the points lie on `vertices`."""
        return np.einsum("nci,nc->ni", vertices[faces[self.triangles]], self.barycentric)


def place_of(name: str) -> Float[ndarray, "2"]:
    """(u, v) of a named control below the cap."""
    return _PLACES[name]


def pin(
    template: HalfTemplate, places: Float[ndarray, "n 2"], face_offset: int
) -> Pins:
    """Pin (u, v) places; negative u means the right half, whose faces follow at `face_offset`."""
    mirrored = places[:, 0] < 0
    wanted = domain.flatten(np.stack([np.abs(places[:, 0]), places[:, 1]], 1))
    plane = domain.flatten(template.places)
    corners = plane[template.triangles]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = _cross(b - a, c - a)
    triangles, weights = [], []
    for point in wanted:
        w = np.stack([_cross(b - point, c - point), _cross(c - point, a - point)], 1)
        w = w / area[:, None]
        w = np.c_[w, 1 - w.sum(axis=1)]
        best = int(np.argmax(w.min(axis=1)))
        row = np.clip(w[best], 0, 1)
        triangles.append(best)
        weights.append(row / row.sum())
    faces, barycentric = np.array(triangles), np.array(weights)
    barycentric[mirrored] = barycentric[mirrored][:, ::-1]
    return Pins(faces + face_offset * mirrored, barycentric)


def _cross(a: ndarray, b: ndarray) -> ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
