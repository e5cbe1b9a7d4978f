"""Fine relief: displacement from the surface of the named controls to that of the fine controls.

Lid folds, nostrils and lip borders are closer together than the controls that identity and
expressions move. The displacement is therefore added to the neutral surface, and identity and
expression modes are added to the sum.
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

_REACH = 3.0
"""The relief is zero at named controls farther than this from every fine one [mm of the domain]."""
_FLIP = np.array([-1.0, 1.0, 1.0])


def relief(controls: ControlSet, places: Float[ndarray, "n 2"]) -> Float[ndarray, "n 3"]:
    """Displacement [mm] at points (u, v) of the left half's domain, a thin-plate spline.

    It is zero on lid margin and lip seam, and at named controls beyond `_REACH` of the fine ones.
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
    away = np.asarray(KDTree(centres).query(controls.domain)[0]) > _REACH
    centres = np.concatenate([centres, controls.domain[away]])
    moves = np.concatenate([moves, np.zeros((away.sum(), 3))])
    return spline_basis(centres, np.zeros(len(centres)), capsule.embed(places)) @ moves
