"""Points of the domain pinned to the mesh as (triangle, barycentric weights)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import KDTree

from flame_assets.anthro.domain import capsule
from flame_assets.anthro.domain.controls import CONTROLS
from flame_assets.anthro.surface.template import HalfTemplate

_PLACES = {
    control.name: np.array(control.place)
    if control.place is not None
    else capsule.locate(np.array([control.position]))[0]
    for control in CONTROLS
}

_CANDIDATES = 40


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


def pin(template: HalfTemplate, places: Float[ndarray, "n 2"], face_offset: int) -> Pins:
    """Pin (u, v) places; negative u means the right half, whose faces follow at `face_offset`."""
    mirrored = places[:, 0] < 0
    wanted = capsule.flatten(np.stack([np.abs(places[:, 0]), places[:, 1]], 1))
    corners = capsule.flatten(template.places)[template.triangles]
    near = np.asarray(KDTree(corners.mean(axis=1)).query(wanted, k=_CANDIDATES)[1])
    a, b, c = (corners[near, k] for k in range(3))
    point = wanted[:, None]
    shares = np.stack([_cross(b - point, c - point), _cross(c - point, a - point)], 2)
    shares /= _cross(b - a, c - a)[:, :, None]
    shares = np.concatenate([shares, 1 - shares.sum(axis=2, keepdims=True)], 2)
    rows = np.arange(len(wanted))
    best = np.argmax(shares.min(axis=2), axis=1)
    barycentric = np.clip(shares[rows, best], 0, 1)
    barycentric /= barycentric.sum(axis=1, keepdims=True)
    barycentric[mirrored] = barycentric[mirrored][:, ::-1]
    return Pins(near[rows, best] + face_offset * mirrored, barycentric)


def _cross(a: ndarray, b: ndarray) -> ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
