"""All control points, both halves: the named ones, the lid margin and the lip seam between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.interpolate import CubicSpline

from flame_assets.anthro.domain import capsule
from flame_assets.anthro.domain.controls import CONTROLS
from flame_assets.anthro.parts import lids, mouth

Field = Float[ndarray, "c 3"]
"""A displacement or position per control [mm]."""


@dataclass(frozen=True, kw_only=True)
class ControlSet:
    """Controls of both halves: the half face first, then the mirrored off-midline ones."""

    positions: Float[ndarray, "c 3"]
    domain: Float[ndarray, "c 3"]
    softness: Float[ndarray, " c"]
    mirror: Int[ndarray, " c"]
    index: Mapping[str, int]
    """Name -> row, of the subject's left half and the midline."""
    seam: Mapping[str, tuple[tuple[str, ...], Float[ndarray, " k"]]]
    """Derived seam point -> the named seam points it follows (right to left) and their weights."""

    def at(self, name: str) -> Float[ndarray, "3"]:
        """Position of a named control [mm]."""
        return self.positions[self.index[name]]

    def lid(self, right: bool = False) -> Int[ndarray, "16"]:
        """Rows of the lid margin, inner canthus -> upper -> outer canthus -> lower."""
        rows = np.array([self.index[f"lid{k}"] for k in range(16)])
        return self.mirror[rows] if right else rows

    def mirrored(self, field: Float[ndarray, "c 3"]) -> Float[ndarray, "c 3"]:
        """The field as the mirror shows it."""
        return field[self.mirror] * np.array([-1.0, 1.0, 1.0])

    def with_seam(self, field: Float[ndarray, "c 3"]) -> Float[ndarray, "c 3"]:
        """Let the derived seam points follow the named ones, left and right."""
        field = field.copy()
        for name, (nodes, weights) in self.seam.items():
            rows = np.array([self.index[node] for node in nodes])
            across = np.concatenate([self.mirror[rows[:0:-1]], rows])
            row = self.index[name]
            field[row] = weights @ field[across]
            field[self.mirror[row]] = weights @ field[across[::-1]]
        return field


@cache
def control_set() -> ControlSet:
    """Assemble and mirror the controls (cached; treat as read-only)."""
    names = [control.name for control in CONTROLS]
    positions = np.array([control.position for control in CONTROLS])
    embedded = capsule.embed_points(positions)
    for row, control in enumerate(CONTROLS):
        if control.place is not None:
            embedded[row] = capsule.embed(np.array([control.place]))[0]
    softness = [control.softness for control in CONTROLS]

    seam = {}
    for lip, sign in (("U", 1.0), ("L", -1.0)):
        nodes = (f"sto{lip}", f"sto{lip}1", f"sto{lip}2", "cheilion")
        half = positions[[names.index(node) for node in nodes]]
        across = np.concatenate([half[:0:-1] * [-1.0, 1.0, 1.0], half])
        u = np.concatenate([-mouth.SEAM_NODES[:0:-1], mouth.SEAM_NODES])
        weights = CubicSpline(u, np.eye(len(u)))(mouth.SEAM_BETWEEN)
        for k, place in enumerate(mouth.SEAM_BETWEEN):
            name = f"seam{lip}{k}"
            seam[name] = (nodes, weights[k])
            names.append(name)
            positions = np.vstack([positions, weights[k] @ across])
            at = np.array([[place, mouth.SEAM_V + sign * mouth.lens_height(place)]])
            embedded = np.vstack([embedded, capsule.embed(at)])
            softness.append(0.0)

    margin = lids.margin()[::2]
    names += [f"lid{k}" for k in range(len(margin))]
    positions = np.vstack([positions, margin])
    embedded = np.vstack([embedded, capsule.embed(capsule.locate(margin))])
    softness += [0.0] * len(margin)

    middle = np.abs(positions[:, 0]) < 1e-6
    count, off = len(positions), np.flatnonzero(~middle)
    mirror = np.concatenate([np.arange(count), off])
    mirror[off] = count + np.arange(len(off))
    flip = np.array([-1.0, 1.0, 1.0])
    return ControlSet(
        positions=np.vstack([positions, positions[off] * flip]),
        domain=np.vstack([embedded, embedded[off] * flip]),
        softness=np.concatenate([softness, np.array(softness)[off]]),
        mirror=mirror,
        index={name: row for row, name in enumerate(names)},
        seam=seam,
    )
