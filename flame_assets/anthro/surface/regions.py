"""Named vertex sets, and plain colours for pictures (skin, brows, lips, lashes, gums, eyes)."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import KDTree

from flame_assets.anthro.domain import capsule
from flame_assets.anthro.parts import eyes
from flame_assets.anthro.surface.head_surface import Surface
from flame_assets.anthro.surface.template import HalfTemplate

_SKIN = np.array([0.85, 0.665, 0.56])
_LIP = np.array([0.74, 0.44, 0.41])
_BROW = np.array([0.33, 0.22, 0.16])
_LASH = np.array([0.36, 0.22, 0.18])
_RIM = np.array([0.80, 0.52, 0.47])
_MOUTH = np.array([0.46, 0.20, 0.20])
_HAIR = np.array([0.30, 0.225, 0.18])
_NOSTRIL = np.array([0.42, 0.22, 0.18])
_BLUSH = np.array([0.83, 0.53, 0.45])

_BROW_LINE = ([9, 11, 24, 36, 46, 57], [15.6, 16.2, 20.1, 21.4, 19.1, 14.2])
_BROW_HALF_WIDTH = ([9, 14, 33, 57], [3.0, 3.7, 3.1, 1.4])
"""Middle and half width of the brows at some u: between the edges that Face Mesh reads on neutral
photos, see `landmarks`."""
# fmt: off
_NOSE = np.array([(-1, 8), (7, 6), (12, -6), (15, -20), (22.5, -33),
                  (23.5, -45), (19, -56), (-1, -56)], float)
_FACE = np.array([(-1, 62), (30, 60), (62, 40), (88, 18), (100, -10), (103, -45), (92, -80),
                  (62, -116),
                  (30, -128), (-1, -132)], float)
_FOREHEAD = np.array([(-1, 62), (30, 60), (62, 40), (58, 26), (30, 29), (10, 25), (-1, 25)], float)
# fmt: on
_HAIRLINE = (
    [0, 22, 38, 50, 60, 70, 80, 92, 102, 110, 118, 126, 150, 158, 168, 178, 190, 252],
    [70, 71, 73, 67, 52, 43, 34, 20, 2, -8, -2, 14, 14, 2, -30, -52, -66, -76],
)
_EYE_REGION = (23.0, 17.0)


def _about_places(surface: Surface) -> tuple[ndarray, ndarray, Float[ndarray, "n 2"]]:
    """Skin vertex ids, their side (x sign) and their places folded to the left half."""
    ids = np.flatnonzero(~np.isnan(surface.places[:, 0]))
    places = surface.places[ids]
    return ids, np.sign(surface.vertices[ids, 0]), np.stack([np.abs(places[:, 0]), places[:, 1]], 1)


def _lip_share(
    places: Float[ndarray, "n 2"], border: Float[ndarray, "p 2"]
) -> Float[ndarray, " n"]:
    """1 inside the vermilion border, 0 outside, with a soft edge 1.6 mm wide."""
    steps = np.linspace(0, 1, 8, endpoint=False)[:, None]
    dense = np.concatenate([a + steps * (b - a) for a, b in pairwise(border[:-1])])
    distance = KDTree(dense).query(places)[0]
    inside = capsule.inside_polygon(places, border)
    return np.clip(0.5 + np.where(inside, distance, -distance) / 1.6, 0, 1)


def regions(surface: Surface, template: HalfTemplate) -> dict[str, Int[ndarray, " _"]]:
    """Vertex ids by name; "left" and "right" are the subject's."""
    ids, side, places = _about_places(surface)
    height = surface.vertices[ids, 1]
    parts = surface.parts
    face = capsule.inside_polygon(places, _FACE)
    lid = capsule.locate(eyes.CENTRE[None] + [0.0, 0.0, 10.0])[0]
    eye = (((places - lid) / _EYE_REGION) ** 2).sum(axis=1) < 1
    below = places[:, 1] < np.interp(
        places[:, 0], [0, 60, 100, 140, 251], [-133, -125, -90, -70, -45]
    )
    named = {
        "skin": ids,
        "face": ids[face],
        "forehead": ids[capsule.inside_polygon(places, _FOREHEAD)],
        "nose": ids[capsule.inside_polygon(places, _NOSE)],
        "lips": ids[capsule.inside_polygon(places, template.border)],
        "left_eye_region": ids[eye & (side > 0)],
        "right_eye_region": ids[eye & (side < 0)],
        "scalp": ids[~face & ~below & (height > -45)],
        "neck": ids[below],
        "boundary": ids[np.abs(places[:, 1] - capsule.V_BOTTOM) < 1e-6],
        "left_ear": parts["ear"],
        "right_ear": parts["right_ear"],
        "left_lid_margin": parts["lid"],
        "right_lid_margin": parts["right_lid"],
        "left_eyeball": parts["eyeball"],
        "right_eyeball": parts["right_eyeball"],
        "mouth_inside": np.union1d(parts["bag"], parts["right_bag"]),
        "upper_teeth": parts["upper_teeth"],
        "lower_teeth": parts["lower_teeth"],
        "tongue": parts["tongue"],
    }
    seam = np.union1d(parts["seam"], parts["right_seam"])
    named["lips"] = np.union1d(named["lips"], seam)
    return {name: np.asarray(rows, np.int32) for name, rows in named.items()}


def colours(surface: Surface, template: HalfTemplate) -> Float[ndarray, "v 3"]:
    """Plain RGB in [0, 1] per vertex."""
    ids, _, places = _about_places(surface)
    u, v = places[:, 0], places[:, 1]
    colour = np.broadcast_to(_SKIN, surface.vertices.shape).copy()

    def blend(rows: ndarray, share: ndarray, target: ndarray) -> None:
        share = np.clip(share, 0, 1)[:, None]
        colour[rows] = colour[rows] * (1 - share) + target * share

    cheek = np.exp(-(((u - 42) / 17) ** 2 + ((v + 32) / 15) ** 2))
    nose = np.exp(-((u / 12) ** 2 + ((v + 38) / 9) ** 2))
    blend(ids, 0.30 * np.maximum(cheek, nose), _BLUSH)
    away = np.abs(v - np.interp(u, *_BROW_LINE)) / np.interp(u, *_BROW_HALF_WIDTH)
    brow = np.clip((1.8 - away) / 1.4, 0, 1) * np.clip((u - 7.5) / 4, 0, 1)
    brow *= np.clip((54 - u) / 14, 0, 1)
    blend(ids, 0.75 * brow, _BROW)
    hair = np.clip((v - np.interp(u, *_HAIRLINE) + 1.5 * np.sin(u / 5.0)) / 12.0, 0, 1)
    blend(ids, 0.80 * hair * hair * (3 - 2 * hair), _HAIR)
    pit = np.hypot(u - 9.2, (v + 48.7) * 0.75)
    blend(ids, 0.9 * np.clip((4.2 - pit) / 2.4, 0, 1), _NOSTRIL)
    blend(ids, 0.9 * _lip_share(places, template.border), _LIP)
    seam = np.union1d(surface.parts["seam"], surface.parts["right_seam"])
    blend(seam, np.full(len(seam), 0.9), _LIP * 0.8)
    for prefix in ("", "right_"):
        lid, rims = surface.parts[prefix + "lid"], surface.parts[prefix + "rims"]
        upper = np.sin(np.linspace(0, 2 * np.pi, len(lid), endpoint=False))
        blend(lid, np.where(upper > 0.2, 0.9, 0.35), _LASH)
        colour[rims] = _RIM
        colour[surface.parts[prefix + "bag"]] = _MOUTH
    eye = ~np.isnan(surface.eye_angle)
    colour[eye] = eyes.colours(surface.eye_angle[eye])
    tinted = ~np.isnan(surface.tint[:, 0])
    colour[tinted] = surface.tint[tinted]
    return colour
