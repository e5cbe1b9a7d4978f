"""Fine relief: what carries the surface of the named controls through the fine ones.

Lid folds, nostrils, lip borders and the like are closer together than the controls that identity
and expressions move, so they are a displacement of the neutral surface alone: people and
expressions carry it along.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial import KDTree

from flame_assets.anthro.domain import capsule
from flame_assets.anthro.domain.fine_controls import FINE_CONTROLS
from flame_assets.anthro.parts import lids, mouth
from flame_assets.anthro.surface.control_set import ControlSet
from flame_assets.anthro.surface.thin_plate import field_basis, spline_basis

_ROOM = 3.0
"""Controls farther than this from every fine one [mm of the domain] hold the relief at zero."""
_FLIP = np.array([-1.0, 1.0, 1.0])


def relief(controls: ControlSet, places: Float[ndarray, "n 2"]) -> Float[ndarray, "n 3"]:
    """Displacement [mm] at places of the left half, from the smooth surface to the fine one.

    Zero on lid margin and lip seam and at the named controls away from the fine ones.
    """
    fine = np.array([control.place for control in FINE_CONTROLS])
    wanted = np.array([control.position for control in FINE_CONTROLS])
    centres = capsule.embed(fine)
    moves = wanted - lids.laid_over_globe(field_basis(controls, centres) @ controls.positions)
    moves[fine[:, 0] == 0.0, 0] = 0.0
    edges = np.concatenate([capsule.locate(lids.margin()), mouth.seam()])
    centres = np.concatenate([centres, capsule.embed(edges)])
    moves = np.concatenate([moves, np.zeros((len(edges), 3))])
    off = centres[:, 0] > 1e-6
    centres = np.concatenate([centres, centres[off] * _FLIP])
    moves = np.concatenate([moves, moves[off] * _FLIP])
    away = np.asarray(KDTree(centres).query(controls.domain)[0]) > _ROOM
    centres = np.concatenate([centres, controls.domain[away]])
    moves = np.concatenate([moves, np.zeros((away.sum(), 3))])
    return spline_basis(centres, np.zeros(len(centres)), capsule.embed(places)) @ moves
