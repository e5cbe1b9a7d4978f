"""The atlas of the head: the front in the middle, the seam at the back, islands below.

The skin of the left half is unfolded from its place in the domain and mirrored, so that the two
halves of the face are mirror images in the atlas, too.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from flame_assets.anthro.atlas import islands
from flame_assets.anthro.atlas.unfold import unfold
from flame_assets.anthro.domain.strips import open_strip
from flame_assets.anthro.parts import ears, teeth
from flame_assets.anthro.surface.head_surface import Surface
from flame_assets.anthro.surface.template import HalfTemplate

_ROUNDS = 14
_STRIP, _MARGIN = 0.165, 0.008
"""Share of the height kept for the islands, and of the edge kept free."""
_FACE_PLACE, _FACE_REACH = np.array([0.0, -35.0]), np.array([78.0, 92.0])
"""Middle and half axes of the face in the domain [mm], which gets the full density."""
_BACK_DENSITY, _EAR_DENSITY = 0.5, 0.8
_EAR_SHRINK = np.array([0.34, 0.36])
"""The ear's plate shrunk into its hole, across and along, to begin with."""
_EYE_POWER = 0.8
_PLACES = {
    "eyeball": (0.01, 0.15),
    "right_eyeball": (0.17, 0.15),
    "tongue": (0.33, 0.12),
    "bag": (0.46, 0.15),
    "upper_teeth": (0.62, 0.36),
    "lower_teeth": (0.62, 0.36),
}
"""Left edge and width of each island."""


class Texture(NamedTuple):
    """Coordinates in [0, 1] (v up) and the triangles over them."""

    uv: Float[ndarray, "t 2"]
    triangles: Int[ndarray, "f 3"]


def texture(surface: Surface, template: HalfTemplate) -> Texture:
    """The atlas; vertices at seams and island borders appear several times."""
    skin = _half_skin(surface, template)
    scale = min((0.5 - _MARGIN) / skin[:, 0].max(), (1 - _STRIP - 2 * _MARGIN) / np.ptp(skin[:, 1]))
    half = np.stack(
        [scale * skin[:, 0], _STRIP + _MARGIN + scale * (skin[:, 1] - skin[:, 1].min())], 1
    )
    atlas = _Atlas(surface.triangles.copy())
    count, twins = _twins(surface)
    left = atlas.add(half + [0.5, 0.0])
    right = atlas.add(half * [-1, 1] + [0.5, 0.0])
    faces, bag = surface.half_faces, _bag_triangles(surface)
    inverse = np.arange(len(surface.vertices))
    inverse[twins] = np.arange(count)
    on_axis = skin[:, 0] == 0.0
    right = np.where(on_axis, left, right)
    atlas.triangles[:faces] = left[surface.triangles[:faces]]
    atlas.triangles[faces : 2 * faces] = right[inverse[surface.triangles[faces : 2 * faces]]]
    _add_bag(atlas, surface, template, bag, inverse)
    _add_bodies(atlas, surface)
    return atlas.packed()


class _Atlas:
    """Texture coordinates while they are gathered."""

    def __init__(self, triangles: Int[ndarray, "f 3"]) -> None:
        self.triangles = triangles
        self.blocks: list[ndarray] = []
        self.count = 0

    def add(self, uv: Float[ndarray, "t 2"]) -> Int[ndarray, " t"]:
        """Append coordinates; returns their ids."""
        self.blocks.append(uv)
        self.count += len(uv)
        return np.arange(self.count - len(uv), self.count)

    def packed(self) -> Texture:
        """All coordinates that triangles use."""
        used, triangles = np.unique(self.triangles, return_inverse=True)
        uv = np.concatenate(self.blocks)[used]
        return Texture(np.clip(uv, 0, 1), triangles.reshape(self.triangles.shape))


def _twins(surface: Surface) -> tuple[int, Int[ndarray, " n"]]:
    """Number of vertices of the left half, and the mirror image of each."""
    count = int(surface.triangles[: surface.half_faces].max()) + 1
    off = np.flatnonzero(surface.vertices[:count, 0] != 0.0)
    twins = np.arange(count)
    twins[off] = count + np.arange(len(off))
    return count, twins


def _bag_triangles(surface: Surface) -> Bool[ndarray, " h"]:
    """Which triangles of the left half belong to the oral cavity."""
    inside = np.isin(surface.triangles[: surface.half_faces], surface.parts["bag"])
    return np.asarray(inside.any(axis=1))


def _half_skin(surface: Surface, template: HalfTemplate) -> Float[ndarray, "n 2"]:
    """Places of the left half's vertices, unfolded; those of the oral cavity mean nothing."""
    count, _ = _twins(surface)
    start = _start(surface, template)[:count]
    triangles = surface.triangles[: surface.half_faces][~_bag_triangles(surface)]
    used, compact = np.unique(triangles, return_inverse=True)
    compact = compact.reshape(-1, 3)
    distance = np.linalg.norm((start[used] - _FACE_PLACE) / _FACE_REACH, axis=1)
    density = 1 - (1 - _BACK_DENSITY) * np.clip((distance - 1) / 0.6, 0, 1)
    density[np.isin(used, surface.parts["ear"])] = _EAR_DENSITY
    places = np.zeros((count, 2))
    places[used] = unfold(
        start[used],
        surface.vertices[used],
        compact,
        density=density[compact].mean(axis=1),
        on_axis=start[used, 0] == 0.0,
        guards=np.searchsorted(used, _holes(surface, template, start)),
        rounds=_ROUNDS,
    )
    return places


def _holes(
    surface: Surface, template: HalfTemplate, start: Float[ndarray, "n 2"]
) -> Int[ndarray, "g 3"]:
    """Triangles over the openings of lids and lips, which unfolding must not close."""
    rim = surface.parts["rims"][len(template.lid) :]
    middle = len(rim) // 2
    lips = template.seam[: len(template.seam) // 2 + 1], template.seam[len(template.seam) // 2 :]
    pairs = [(rim[: middle + 1], np.r_[rim[0], rim[: middle - 1 : -1]]), (lips[0], lips[1][::-1])]
    strips = np.concatenate([open_strip(upper, lower) for upper, lower in pairs])
    distinct = (strips != np.roll(strips, 1, axis=1)).all(axis=1)
    strips = strips[distinct]
    turned = islands.signed_areas(start[strips]) < 0
    return np.where(turned[:, None], strips[:, ::-1], strips)


def _start(surface: Surface, template: HalfTemplate) -> Float[ndarray, "v 2"]:
    """Places in the domain of the left half's skin, with lid rims and ears in its holes."""
    places, parts = surface.places.copy(), surface.parts
    lid, hole = template.places[template.lid], template.places[template.ear]
    middle = lid.mean(axis=0)
    places[parts["rims"]] = np.concatenate([middle + s * (lid - middle) for s in (0.93, 0.86)])
    ear = surface.vertices[parts["ear"]]
    ear, centre = ear - ear.mean(axis=0), hole.mean(axis=0)
    plate = np.stack([ear @ ears.BACK, ear @ ears.UP], 1) * _EAR_SHRINK + centre
    rings = [centre + share * (hole - centre) for share in (0.86, 0.72)]
    plate[: 2 * len(hole)] = np.concatenate(rings)
    places[parts["ear"]] = plate
    return np.nan_to_num(places)


def _add_bag(
    atlas: _Atlas,
    surface: Surface,
    template: HalfTemplate,
    bag: ndarray,
    inverse: Int[ndarray, " v"],
) -> None:
    """The oral cavity as a disc of its own, the lips' seam on its rim."""
    ids, seam = surface.parts["bag"], template.seam
    rows = (len(ids) - 1) // len(seam) + 1
    places = islands.bag(rows, len(seam)).reshape(-1, 2)
    left, width = _PLACES["bag"]
    corner = np.array([left, _MARGIN])
    position = np.full(int(inverse.max()) + 1, -1)
    position[np.concatenate([seam, ids])] = np.arange(len(seam) + len(ids))
    half = np.concatenate([places, [[0.5, 0.5]]])
    for sign, part in ((1, slice(0, surface.half_faces)), (-1, slice(surface.half_faces, None))):
        mirrored = (half - 0.5) * [sign, 1] + 0.5
        block = atlas.add(corner + mirrored * width)
        rows_of = np.flatnonzero(bag) + (part.start or 0)
        atlas.triangles[rows_of] = block[position[inverse[surface.triangles[rows_of]]]]


def _add_bodies(atlas: _Atlas, surface: Surface) -> None:
    """Eyeballs, tongue and dental arches."""
    bodies = surface.triangles[2 * surface.half_faces :]
    for name in ("eyeball", "right_eyeball", "tongue", "upper_teeth", "lower_teeth"):
        ids = surface.parts[name]
        rows = np.flatnonzero(np.isin(bodies, ids).all(axis=1))
        local = bodies[rows] - ids[0]
        points = surface.vertices[ids]
        left, width = _PLACES[name]
        corner, size = np.array([left, _MARGIN]), np.array([width, width])
        if "teeth" in name:
            rings = (len(ids) - 2) // teeth.PROFILE_POINTS
            grid = np.arange(rings * teeth.PROFILE_POINTS).reshape(rings, teeth.PROFILE_POINTS)
            island = islands.tube(grid, local, len(ids))
            size = np.array([width, 0.07])
            corner[1] += 0.08 * (name == "upper_teeth")
        else:
            low, high = points.min(axis=0), points.max(axis=0)
            unit = (points - (low + high) / 2) / ((high - low) / 2)
            unit /= np.linalg.norm(unit, axis=1, keepdims=True)
            island = islands.ball(unit, local, _EYE_POWER if "eye" in name else 1.0)
        block = atlas.add(corner + island.uv * size)
        atlas.triangles[2 * surface.half_faces + rows] = block[island.triangles]
