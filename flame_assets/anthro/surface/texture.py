"""Texture coordinates: the domain unrolled, rims, mouth and ears in its holes, bodies below it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from flame_assets.anthro.domain import capsule
from flame_assets.anthro.parts import ears, mouth
from flame_assets.anthro.surface.head_surface import Surface
from flame_assets.anthro.surface.template import HalfTemplate

_BODIES = ("eyeball", "right_eyeball", "upper_teeth", "lower_teeth", "tongue")
_STRIP = 0.16
"""Share of the texture's height kept for eyeballs, teeth and tongue."""

_EAR_SHRINK = np.array([0.34, 0.36])
"""The ear's plate shrunk into its hole, across and along."""


class Texture(NamedTuple):
    """Coordinates in [0, 1] (v up) and the triangles over them."""

    uv: Float[ndarray, "t 2"]
    triangles: Int[ndarray, "f 3"]


def _shrunk_rows(
    loop: Float[ndarray, "n 2"], centre: Float[ndarray, "n 2"], rows: int, last: float
) -> Float[ndarray, "m 2"]:
    """`rows` copies of a loop shrinking towards `centre`."""
    return np.concatenate(
        [centre + share * (loop - centre) for share in np.linspace(1, last, rows + 1)[1:]]
    )


def _skin_places(surface: Surface, template: HalfTemplate) -> Float[ndarray, "v 2"]:
    """(u, v) of all vertices that hang together with the skin, right half with negative u."""
    places = surface.places.copy()
    parts = surface.parts
    lid, seam, hole = (template.places[k] for k in (template.lid, template.seam, template.ear))
    middle = np.array([[0.0, mouth.SEAM_V]])
    bag_rows = (len(parts["bag"]) - 1) // len(seam)

    ear = surface.vertices[parts["ear"]]
    ear = ear - ear.mean(axis=0)
    ear_centre = hole.mean(axis=0, keepdims=True)
    plate = np.stack([ear @ ears.BACK, ear @ ears.UP], 1) * _EAR_SHRINK + ear_centre
    back = 2 * len(hole)
    plate[:back] = _shrunk_rows(hole, np.repeat(ear_centre, len(hole), axis=0), 2, 0.72)
    made = {
        "rims": _shrunk_rows(lid, np.repeat(lid.mean(axis=0, keepdims=True), len(lid), 0), 2, 0.86),
        "bag": np.concatenate(
            [_shrunk_rows(seam, np.repeat(middle, len(seam), axis=0), bag_rows, 0.1), middle]
        ),
        "ear": plate,
    }
    for name, place in made.items():
        places[parts[f"right_{name}"]] = place * [-1, 1]
        places[parts[name]] = place
    return places


def texture(surface: Surface, template: HalfTemplate) -> Texture:
    """The atlas; the back midline is cut, so its vertices appear twice."""
    places = _skin_places(surface, template)
    span = capsule.V_TOP - capsule.V_BOTTOM
    uv = np.zeros((len(places), 2))
    uv[:, 0] = 0.5 + 0.49 * places[:, 0] / capsule.U_BACK
    uv[:, 1] = _STRIP + (0.99 - _STRIP) * (places[:, 1] - capsule.V_BOTTOM) / span
    for k, name in enumerate(_BODIES):
        ids = surface.parts[name]
        points = surface.vertices[ids]
        flat = points[:, [0, 1]] if "eyeball" in name else points[:, [0, 2]]
        low, high = flat.min(axis=0), flat.max(axis=0)
        cell = (flat - low) / (high - low).max()
        uv[ids] = np.array([0.01 + 0.2 * k, 0.01]) + cell * np.array([0.14, 0.14])
    back = np.flatnonzero(
        (surface.vertices[:, 0] == 0) & (np.abs(places[:, 0] - capsule.U_BACK) < 1e-6)
    )
    twin = np.arange(len(places))
    twin[back] = len(places) + np.arange(len(back))
    triangles = surface.triangles.copy()
    right = slice(surface.half_faces, 2 * surface.half_faces)
    triangles[right] = twin[triangles[right]]
    cut = uv[back] * [-1, 1] + [1, 0]
    return Texture(np.clip(np.concatenate([uv, cut]), 0, 1), triangles)
