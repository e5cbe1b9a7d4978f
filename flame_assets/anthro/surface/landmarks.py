"""The 68 iBUG landmarks: 51 pinned ones, and the contour for each of FLAME's 79 head yaws.

Places follow iBUG's definitions (Sagonas et al., 300 Faces in-the-Wild, ICCVW 2013) as two freely
licensed models read them: the vertices that ICT-FaceKit publishes for its 68 landmarks (MIT), and
the points of Face Mesh V2 (Apache-2.0) nearest to them, as the mean over the 52 neutral frontal
photos of even number of the Face Research Lab London Set (CC BY 4.0), carried to the head through
the camera that fits ICT's mean. Bridge, lids and lips lie about half way between both, the nose
base at ICT's points. Brows begin and end in the middle of the hair and follow its upper edge in
between, as Face Mesh draws both edges. The contour is the outline of the face in a frontal picture,
in the mean directions of both models. Nothing restricted to research took part: no markup of
photos, no network trained on it.
`tests/bench/anthro_landmarks.py` measures the differences.

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
from flame_assets.model.head import CONTOUR_MAX_DEGREES, CONTOUR_ROWS


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

    def on_row(row: Int[ndarray, " n"], k: int, share: float = 0.0) -> Float[ndarray, "2"]:
        after = min(k + 1, len(row) - 1)
        return template.places[row[k]] * (1 - share) + template.places[row[after]] * share

    lid, seam = template.lid, template.seam
    return {
        22: place_of("brow_med"),
        23: place_of("brow_mid"),
        24: place_of("brow_peak"),
        25: place_of("brow_tail"),
        26: place_of("brow_lat"),
        27: np.array([0.0, 2.1]),
        28: np.array([0.0, -10.8]),
        29: np.array([0.0, -21.9]),
        30: between("supratip", "pronasale", 0.84),
        33: place_of("subnasale"),
        34: between("subnasale", "nr_back", 0.75),
        35: between("subnasale", "sbal", 0.93),
        42: on_row(lid, 0),
        43: on_row(lid, 6, 0.5),
        44: on_row(lid, 11, 0.3),
        45: on_row(lid, 16),
        46: on_row(lid, 21),
        47: on_row(lid, 26),
        51: place_of("ls"),
        52: between("cph", "vbU1", 0.1),
        53: between("vbU1", "vbU2", 0.23),
        54: place_of("cheilion"),
        55: between("vbL1", "vbL2", 0.64),
        56: between("li", "vbL1", 0.83),
        57: place_of("li"),
        62: on_row(seam, 0),
        63: on_row(seam, 2, 0.3),
        64: on_row(seam, 8),
        65: on_row(seam, 17, 0.7),
        66: on_row(seam, 20),
    }


_TWINS = {
    **{17 + k: 26 - k for k in range(5)},
    31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46,
    48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65,
}  # fmt: skip
"""Landmarks of the subject's right and their mirror images on the left."""

_CONTOUR_ANGLES = np.radians([-13.0, 1.0, 15.0, 29.0, 43.0, 58.5, 67.0, 78.0, 90.0])
"""Directions of points 16 .. 8 from the middle of the face, downward from horizontal."""
_FACE_CENTRE = np.array([0.0, -20.0])
_CAMERA_Z = 1080.0
"""Where the frontal picture is taken from: a metre before the face [mm]."""
_UNDER_JAW = 8.0
"""How far below the jaw's border the outline may run in the domain: the skin there still follows an
opening jaw, and the neck lies below."""
_STEP = 1.5


def _outline(surface: Surface, template: HalfTemplate) -> Float[ndarray, "9 2"]:
    """Places (u, v) of points 16 .. 8: farthest from the middle in the frontal picture."""
    u, above = np.meshgrid(np.arange(0.0, 118.0, _STEP), np.arange(-_UNDER_JAW, 100.0, _STEP))
    jaw = np.array([place_of(n) for n in ("menton", "jaw_front", "jaw_mid", "gonion")])
    v = np.interp(u, jaw[:, 0], jaw[:, 1]) + above
    places = np.stack([u, v], 2)[v < 30]
    points = pin(template, places, 0).on(surface.vertices, surface.triangles)
    depth = (_CAMERA_Z - 80.0) / (_CAMERA_Z - points[:, 2:])
    offset = points[:, :2] * depth - _FACE_CENTRE
    radius, angle = np.linalg.norm(offset, axis=1), np.arctan2(-offset[:, 1], offset[:, 0])
    radius[points[:, 2] < 8] = 0
    found = []
    for wanted in _CONTOUR_ANGLES:
        near = np.exp(-0.5 * ((angle - wanted) / np.radians(1.0)) ** 2) > 0.3
        found.append(places[np.argmax(np.where(near, radius, 0))])
    found[-1][0] = 0.0
    return np.array(found)


def _contour_lines(outline: Float[ndarray, "8 2"]) -> Float[ndarray, "8 s 2"]:
    """For points 16 .. 9, the line (u, v) from the frontal outline forward over the cheek."""
    drop = -70.0 * np.sin(np.maximum(_CONTOUR_ANGLES[:-1], 0))
    inner = np.stack([0.42 * outline[:, 0], 0.72 * outline[:, 1] + 0.28 * drop], 1)
    share = np.linspace(0, 1, 60)[None, :, None]
    return outline[:, None] * (1 - share) + inner[:, None] * share


def landmarks(surface: Surface, template: HalfTemplate) -> Landmarks:
    """Pin all landmarks on the neutral head."""
    right_faces = surface.half_faces
    left = _left_places(template)
    places = np.zeros((51, 2))
    for number in range(17, 68):
        twin = _TWINS.get(number)
        places[number - 17] = left[number] if twin is None else left[twin] * [-1, 1]
    inner = pin(template, places, right_faces)

    outline = _outline(surface, template)
    lines = _contour_lines(outline[:-1])
    flat = lines.reshape(-1, 2)
    on_lines = pin(template, flat, right_faces).on(surface.vertices, surface.triangles)
    on_lines = on_lines.reshape(*lines.shape[:2], 3)
    directions = np.stack([np.cos(_CONTOUR_ANGLES), -np.sin(_CONTOUR_ANGLES)], 1)[:-1]
    static, chin = lines[:, 0], outline[-1]
    table = np.zeros((CONTOUR_ROWS, 17, 2))
    for row in range(CONTOUR_ROWS):
        yaw = row if row <= CONTOUR_MAX_DEGREES else row - CONTOUR_MAX_DEGREES
        c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
        turned = on_lines[..., 0] * c + on_lines[..., 2] * s
        outward = turned * directions[:, :1] + on_lines[..., 1] * directions[:, 1:]
        slid = lines[np.arange(len(lines)), np.argmax(outward, axis=1)] if yaw else static
        away, near = slid[::-1], static * [-1, 1]  # 9 .. 16 and 0 .. 7
        table[row] = np.concatenate([near, chin[None], away])
        if row > CONTOUR_MAX_DEGREES:
            table[row] = table[row][::-1] * [-1, 1]
    pins = pin(template, table.reshape(-1, 2), right_faces)
    return Landmarks(
        inner.triangles,
        inner.barycentric,
        pins.triangles.reshape(CONTOUR_ROWS, 17),
        pins.barycentric.reshape(CONTOUR_ROWS, 17, 3),
    )
