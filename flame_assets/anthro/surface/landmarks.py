"""The 68 iBUG landmarks: 51 pinned ones, and the contour for each of FLAME's 79 head yaws.

Inner points follow the iBUG markup of photos: brows along the middle of the hair, lids and lips on
their visible edges, 30 on the tip, 33 where the columella meets the lip. In the frontal picture of
the neutral head they fall where they fall on neutral people (London set, Helen) to about 1 mm,
while scanned models differ by convention: ICT-FaceKit's brow points lie 5 mm higher.

Row a of the table is a head turned a degrees to the subject's left, row 39 + a one turned a degrees
to the right (the convention of `flame_assets.model.landmarks.contour_row`). On the side turned away
each contour point slides forward along its own line to the visible outline.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from flame_assets.anthro.surface.head_surface import Surface
from flame_assets.anthro.surface.pins import pin, place_of
from flame_assets.anthro.surface.template import HalfTemplate

_ROWS = 79
_MAX_YAW = 39


class Landmarks(NamedTuple):
    """Triangles and barycentric weights as `HeadModel` wants them."""

    inner_triangles: Int[ndarray, " 51"]
    inner_barycentric: Float[ndarray, "51 3"]
    contour_triangles: Int[ndarray, "79 17"]
    contour_barycentric: Float[ndarray, "79 17 3"]


def _left_places(template: HalfTemplate) -> dict[int, Float[ndarray, "2"]]:
    """iBUG number -> (u, v), for the midline and the subject's left."""

    def between(first: str, second: str, share: float) -> Float[ndarray, "2"]:
        return place_of(first) * (1 - share) + place_of(second) * share

    def vertex(row: Int[ndarray, " n"], k: int) -> Float[ndarray, "2"]:
        return template.places[row[k]]

    lid, seam = template.lid, template.seam
    return {
        22: place_of("brow_med"),
        23: place_of("brow_mid"),
        24: place_of("brow_peak"),
        25: place_of("brow_tail"),
        26: place_of("brow_lat"),
        27: np.array([0.0, 2.0]),
        28: np.array([0.0, -10.3]),
        29: np.array([0.0, -22.2]),
        30: between("supratip", "pronasale", 0.88),
        33: place_of("subnasale"),
        34: between("subnasale", "nr_back", 0.8),
        35: between("sbal", "alare", 0.15),
        42: vertex(lid, 0),
        43: vertex(lid, 6),
        44: vertex(lid, 11),
        45: vertex(lid, 16),
        46: vertex(lid, 21),
        47: vertex(lid, 26),
        51: between("ls", "vermU", 0.35),
        52: between("cph", "vmU1", 0.1),
        53: between("vbU1", "vbU2", 0.35),
        54: place_of("cheilion"),
        55: between("vbL1", "vbL2", 0.7),
        56: between("li", "vbL1", 0.67),
        57: place_of("li"),
        62: vertex(seam, 0),
        63: vertex(seam, 2),
        64: vertex(seam, 8),
        65: vertex(seam, 18),
        66: vertex(seam, 20),
    }


_TWINS = {
    **{17 + k: 26 - k for k in range(5)},
    31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46,
    48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65,
}  # fmt: skip
"""Landmarks of the subject's right and their mirror images on the left."""

_CONTOUR_ANGLES = np.radians([-11, 4, 19, 34, 47, 58, 69, 80])
"""Directions of points 16 .. 9 from the middle of the face, downward from horizontal."""
_FACE_CENTRE = np.array([0.0, -20.0])


def _contour_lines(surface: Surface, template: HalfTemplate) -> Float[ndarray, "8 s 2"]:
    """For points 16 .. 9, the line (u, v) from the frontal outline forward over the cheek."""
    points = surface.vertices[: len(template.places)]
    places = template.places
    jaw = np.array([place_of(n) for n in ("menton", "jaw_front", "jaw_mid", "gonion")])
    border = np.interp(places[:, 0], jaw[:, 0], jaw[:, 1])
    face = (places[:, 1] >= border - 1.0) & (points[:, 2] > 8) & (places[:, 0] < 118)
    lines = []
    for angle in _CONTOUR_ANGLES:
        direction = np.array([np.cos(angle), -np.sin(angle)])
        offset = points[:, :2] - _FACE_CENTRE
        along = offset @ direction
        across = np.abs(offset @ np.array([-direction[1], direction[0]]))
        near = face & (across < 7) & (along > 0)
        best = np.flatnonzero(near)[np.argmax((along - 0.3 * across)[near])]
        start = places[best]
        inner = np.array([0.42 * start[0], 0.72 * start[1] + 0.28 * -70.0 * np.sin(max(angle, 0))])
        share = np.linspace(0, 1, 60)[:, None]
        lines.append(start * (1 - share) + inner * share)
    return np.stack(lines)


def landmarks(surface: Surface, template: HalfTemplate) -> Landmarks:
    """Pin all landmarks on the neutral head."""
    right_faces = surface.half_faces
    left = _left_places(template)
    places = np.zeros((51, 2))
    for number in range(17, 68):
        twin = _TWINS.get(number)
        places[number - 17] = left[number] if twin is None else left[twin] * [-1, 1]
    inner = pin(template, places, right_faces)

    lines = _contour_lines(surface, template)
    flat = lines.reshape(-1, 2)
    on_lines = pin(template, flat, right_faces).on(surface.vertices, surface.triangles)
    on_lines = on_lines.reshape(*lines.shape[:2], 3)
    directions = np.stack([np.cos(_CONTOUR_ANGLES), -np.sin(_CONTOUR_ANGLES)], 1)
    static = lines[:, 0]
    chin = place_of("menton") * 0.75 + place_of("chin_low") * 0.25
    table = np.zeros((_ROWS, 17, 2))
    for row in range(_ROWS):
        yaw = row if row <= _MAX_YAW else row - _MAX_YAW
        c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
        turned = on_lines[..., 0] * c + on_lines[..., 2] * s
        outward = turned * directions[:, :1] + on_lines[..., 1] * directions[:, 1:]
        slid = lines[np.arange(len(lines)), np.argmax(outward, axis=1)] if yaw else static
        away, near = slid[::-1], static * [-1, 1]  # 9 .. 16 and 0 .. 7
        table[row] = np.concatenate([near, chin[None], away])
        if row > _MAX_YAW:
            table[row] = table[row][::-1] * [-1, 1]
    pins = pin(template, table.reshape(-1, 2), right_faces)
    return Landmarks(
        inner.triangles,
        inner.barycentric,
        pins.triangles.reshape(_ROWS, 17),
        pins.barycentric.reshape(_ROWS, 17, 3),
    )
