"""The whole head put together: skin, lids, mouth bag, ears, eyes, teeth, tongue, both halves.

Every vertex carries its rows of the identity basis and of the expression basis over the controls,
so that neutral, identity, expressions and jaw weights stay linear in the controls.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from flame_assets.anthro.domain import capsule
from flame_assets.anthro.domain.strips import closed_strip, fan, open_strip
from flame_assets.anthro.parts import ears, eyes, lids, mouth, teeth
from flame_assets.anthro.surface.control_set import ControlSet
from flame_assets.anthro.surface.relief import relief
from flame_assets.anthro.surface.template import HalfTemplate
from flame_assets.anthro.surface.thin_plate import field_basis


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The neutral head and what its vertices follow."""

    vertices: Float[ndarray, "v 3"]
    """mm."""
    smooth: Float[ndarray, "v 3"]
    """The same without the fine relief [mm]."""
    triangles: Int[ndarray, "f 3"]
    identity_basis: Float[ndarray, "v c"]
    expression_basis: Float[ndarray, "v c"]
    ear_modes: Float[ndarray, "v 3 3"]
    """Left and right ears alike: displacement per mm of length, width, protrusion."""
    jaw: Float[ndarray, " v"]
    """How much of the lower jaw's motion each vertex takes, 0 to 1."""
    places: Float[ndarray, "v 2"]
    """Place in the domain of skin vertices (mirrored ones with negative u), NaN elsewhere."""
    contact: Float[ndarray, " v"]
    """Least distance to the eye of its side [mm] for lid vertices, 0 elsewhere."""
    eye_angle: Float[ndarray, " v"]
    """Angle from the optical axis [rad] for eyeball vertices, NaN elsewhere."""
    tint: Float[ndarray, "v 3"]
    """Colour of teeth and tongue, NaN elsewhere."""
    half_faces: int
    """Triangles of the left half; its mirror images follow in the same order, then the bodies."""
    parts: Mapping[str, Int[ndarray, " n"]]
    """Vertex ids by part; left ones carry the plain name, mirrored ones `right_` before it."""


class _Half:
    """Vertices of the left half with their rows, in order of arrival."""

    def __init__(self, controls: int) -> None:
        self.controls = controls
        self.vertices: list[ndarray] = []
        self.identity: list[ndarray] = []
        self.expression: list[ndarray] = []
        self.jaw: list[ndarray] = []
        self.contact: list[ndarray] = []
        self.triangles: list[ndarray] = []
        self.count = 0

    def add(
        self,
        vertices: ndarray,
        identity: ndarray,
        expression: ndarray | None = None,
        jaw: ndarray | float = 0.0,
        contact: ndarray | float = 0.0,
    ) -> ndarray:
        """Append vertices with their rows; returns their ids."""
        n = len(vertices)
        self.vertices.append(vertices)
        self.identity.append(np.broadcast_to(identity, (n, self.controls)))
        chosen = identity if expression is None else expression
        self.expression.append(np.broadcast_to(chosen, (n, self.controls)))
        self.jaw.append(np.broadcast_to(np.asarray(jaw, float), n))
        self.contact.append(np.broadcast_to(np.asarray(contact, float), n))
        self.count += n
        return np.arange(self.count - n, self.count)


def _skin(
    half: _Half, controls: ControlSet, template: HalfTemplate, jaw: Float[ndarray, " c"]
) -> Float[ndarray, "n 3"]:
    """Add the skin of the half head; returns the displacement by the fine relief [mm]."""
    basis = field_basis(controls, capsule.embed(template.places))
    points = basis @ controls.positions
    over = lids.over_globe(points)
    over[template.lid] = False
    points = lids.laid_over_globe(points)
    points[template.lid] = lids.margin()
    seam = template.seam
    points[seam] = 0.5 * (points[seam] + points[seam[::-1]])
    midline = np.zeros(len(points), bool)
    midline[np.abs(template.places[:, 0]) < 1e-9] = True
    midline |= np.abs(points[:, 0]) < 1e-5
    points[midline, 0] = 0.0
    identity = basis.copy()
    identity[seam] = 0.5 * (basis[seam] + basis[seam[::-1]])
    contact = np.where(over, lids.MARGIN, 0.0)
    contact[template.lid] = lids.MARGIN
    weight = np.clip(basis @ jaw, 0, 1)
    offset = relief(controls, template.places)
    offset[np.r_[template.lid, seam]] = 0.0
    offset[midline, 0] = 0.0
    half.add(points + offset, identity, basis, jaw=weight, contact=contact)
    half.triangles.append(template.triangles)
    return offset


def _rims(half: _Half, controls: ControlSet, template: HalfTemplate) -> ndarray:
    """Rows behind the lid margin; returns their ids."""
    lid, points = template.lid, half.vertices[0]
    rims = lids.rims(points[template.lid])
    rows = half.identity[0][lid]
    first = half.add(rims.first, rows, contact=rims.first_radius)
    globe = np.zeros(len(controls.positions))
    globe[controls.lid()] = 1 / 16  # as the eyeball
    corner = rims.corner[:, None]
    held = (1 - corner) * rows + corner * globe
    second = half.add(rims.second, held, rows, contact=rims.second_radius)
    half.triangles += [closed_strip(first, lid), closed_strip(second, first)]
    return np.concatenate([first, second])


def _bag(half: _Half, template: HalfTemplate) -> ndarray:
    """The oral cavity; returns the ids of its vertices."""
    seam = template.seam
    lips, expression = half.vertices[0][seam], half.expression[0][seam]
    previous, ids = seam, []
    for ring in mouth.bag(lips):
        points = ring.points.copy()
        points[[0, -1], 0] = 0.0
        jaw = half.jaw[0][seam] if ring.jaw is None else ring.jaw
        row = half.add(points, _as_skin(half, points), ring.follow[:, None] * expression, jaw)
        half.triangles.append(open_strip(row, previous))
        previous = row
        ids.append(row)
    mean = half.identity[0][seam].mean(axis=0)
    throat = half.add(mouth.THROAT[None], mean, 0 * mean, 0.5)
    half.triangles.append(fan(previous, int(throat[0])))
    return np.concatenate([*ids, throat])


def _as_skin(half: _Half, points: Float[ndarray, "n 3"]) -> Float[ndarray, "n c"]:
    """Identity rows of the skin around each point: what lies behind a lip or chin stays behind it.

    Points on the midline follow the midline's skin, so that no symmetric person moves them aside.
    """
    skin, rows = half.vertices[0], half.identity[0]
    distance = np.linalg.norm(points[:, None] - skin, axis=2)
    distance[np.ix_(points[:, 0] == 0.0, skin[:, 0] != 0.0)] = np.inf
    weight = 1 / (distance + 1.5) ** 4
    return weight / weight.sum(axis=1, keepdims=True) @ rows


def _ear(half: _Half, template: HalfTemplate) -> tuple[ndarray, ndarray]:
    """The ear; returns its ids and its three modes."""
    hole = template.ear
    ring = half.vertices[0][hole]
    made = ears.ear(ring)
    distance = np.linalg.norm(made.vertices[:, None] - ring, axis=2)
    weight = 1 / (distance + 1.5) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    rows = weight @ half.identity[0][hole]
    ids = half.add(made.vertices, rows)
    half.triangles.append(np.concatenate([hole, ids])[made.triangles])
    return ids, made.modes


def build_surface(
    controls: ControlSet, template: HalfTemplate, jaw_weights: Float[ndarray, " c"]
) -> Surface:
    """Assemble the neutral head; `jaw_weights` say how much each control moves with the jaw."""
    half = _Half(len(controls.positions))
    offset = _skin(half, controls, template, jaw_weights)
    parts = {"rims": _rims(half, controls, template), "bag": _bag(half, template)}
    parts["ear"], ear_modes = _ear(half, template)
    parts |= {"lid": template.lid, "seam": template.seam, "skin": np.arange(len(template.places))}
    parts["lip_border"] = template.lip_rings[2]

    left = np.concatenate(half.vertices)
    middle = left[:, 0] == 0.0
    off = np.flatnonzero(~middle)
    count = len(left)
    twin = np.arange(count)
    twin[off] = count + np.arange(len(off))

    def both(rows: list[ndarray] | ndarray) -> ndarray:
        whole = np.concatenate(rows) if isinstance(rows, list) else rows
        return np.concatenate([whole, whole[off]])

    def both_bases(rows: list[ndarray]) -> ndarray:
        whole = np.concatenate(rows)
        return np.concatenate([whole, whole[off][:, controls.mirror]])

    vertices = np.concatenate([left, left[off] * [-1.0, 1.0, 1.0]])
    left[: len(offset)] -= offset
    smooth = np.concatenate([left, left[off] * [-1.0, 1.0, 1.0]])
    triangles = np.concatenate(half.triangles)
    half_faces = len(triangles)
    triangles = np.concatenate([triangles, twin[triangles][:, ::-1]])
    ear_half = np.zeros((count, 3, 3))
    ear_half[parts["ear"]] = ear_modes
    ear_both = both(ear_half)
    ear_both[count:] *= np.array([-1.0, 1.0, 1.0])[:, None]
    places = np.full((count, 2), np.nan)
    places[: len(template.places)] = template.places
    places = both(places)
    places[count:, 0] *= -1
    parts |= {f"right_{name}": twin[ids] for name, ids in parts.items()}

    identity, expression = both_bases(half.identity), both_bases(half.expression)
    jaw, contact = both(half.jaw), both(half.contact)
    columns = len(controls.positions)
    blocks = []
    ball = eyes.eyeball()
    for name, sign in (("eyeball", 1.0), ("right_eyeball", -1.0)):
        row = np.zeros(columns)
        row[controls.lid(right=sign < 0)] = 1 / 16
        faces = ball.triangles if sign > 0 else ball.triangles[:, ::-1]
        blocks.append((name, ball.vertices * [sign, 1, 1], faces, row, 0.0, ball.polar, None))
    lip_rows = identity[np.concatenate([parts["seam"], parts["right_seam"]])].mean(axis=0)
    names = ("upper_teeth", "lower_teeth", "tongue")
    for name, body in zip(names, teeth.mouth_bodies(), strict=True):
        angle = np.full(len(body.vertices), np.nan)
        blocks.append(
            (name, body.vertices, body.triangles, lip_rows, body.jaw, angle, body.colours)
        )

    total = len(vertices)
    eye_angle, tint = np.full(total, np.nan), np.full((total, 3), np.nan)
    for name, points, faces, row, weight, angle, colour in blocks:
        n = len(points)
        parts[name] = np.arange(total, total + n)
        triangles = np.concatenate([triangles, faces + total])
        vertices = np.concatenate([vertices, points])
        smooth = np.concatenate([smooth, points])
        identity = np.concatenate([identity, np.broadcast_to(row, (n, columns))])
        expression = np.concatenate([expression, np.zeros((n, columns))])
        jaw = np.concatenate([jaw, np.full(n, weight)])
        contact = np.concatenate([contact, np.zeros(n)])
        ear_both = np.concatenate([ear_both, np.zeros((n, 3, 3))])
        places = np.concatenate([places, np.full((n, 2), np.nan)])
        eye_angle = np.concatenate([eye_angle, angle])
        tint = np.concatenate([tint, np.full((n, 3), np.nan) if colour is None else colour])
        total += n
    return Surface(
        vertices=vertices,
        smooth=smooth,
        triangles=triangles,
        identity_basis=identity,
        expression_basis=expression,
        ear_modes=ear_both,
        jaw=jaw,
        places=places,
        contact=contact,
        eye_angle=eye_angle,
        tint=tint,
        half_faces=half_faces,
        parts=parts,
    )
