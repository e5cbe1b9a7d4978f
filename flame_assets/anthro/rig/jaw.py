"""The jaw: its joint, how much each control moves with it, and its opening at full weight."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from flame_assets.anthro.surface.control_set import ControlSet
from flame_assets.arkit import JAW_OPEN

JOINT = np.array([0.0, -16.0, 6.0])
"""Axis of the condyles [mm]: just in front of and below the tragus."""
GLIDE = np.array([0.0, -1.5, 2.5])
"""How far the condyles glide down and forward meanwhile [mm]."""

_WEIGHTS = {
    "stoL vermL li sublabiale pogonion chin_low menton": 1.0,
    "vbL1 vmL1 stoL1 mario2 sublab_l chin_lat chin_latlow jaw_front": 1.0,
    "vmL2": 0.95,
    "jaw_mid": 0.9,
    "vbL2 stoL2 mario subment1": 0.85,
    "jowl ujaw1": 0.8,
    "ujaw2": 0.72,
    "gonion": 0.7,
    "ujaw3": 0.65,
    "subment2": 0.55,
    "cheilion ch_out": 0.42,
    "masseter": 0.4,
    "buccal": 0.38,
    "ujaw4": 0.35,
    "nasolab_low": 0.3,
    "cervicale": 0.18,
    "vbU2": 0.16,
    "stoU2 buccal2": 0.12,
    "parotid": 0.1,
    "neck_fl1": 0.08,
    "vmU2 nasolab cheek_lat": 0.06,
    "larynx neck_side0": 0.05,
}


def jaw_weights(controls: ControlSet) -> Float[ndarray, " c"]:
    """Share of the jaw's motion that each control takes."""
    weights = np.zeros(len(controls.positions))
    for names, weight in _WEIGHTS.items():
        for name in names.split():
            row = controls.index[name]
            weights[[row, controls.mirror[row]]] = weight
    field = np.repeat(weights[:, None], 3, axis=1)
    flat = controls.with_seam(field)  # the seam's points in between follow the named ones
    return flat[:, 1]


def rotation(angle: float) -> Float[ndarray, "3 3"]:
    """Rotation about x by `angle` [rad]; positive opens the jaw."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def opened(
    points: Float[ndarray, "n 3"], weights: Float[ndarray, " n"], angle: float = JAW_OPEN
) -> Float[ndarray, "n 3"]:
    """Linear blend skinning of points [mm] by the jaw joint alone."""
    turned = (points - JOINT) @ rotation(angle).T + JOINT
    return points + weights[:, None] * (turned - points)


def before_opening(
    targets: Float[ndarray, "n 3"], weights: Float[ndarray, " n"], angle: float = JAW_OPEN
) -> Float[ndarray, "n 3"]:
    """Points [mm] that `opened` carries to `targets`."""
    blends = np.eye(3) + weights[:, None, None] * (rotation(angle) - np.eye(3))
    return np.linalg.solve(blends, (targets - JOINT)[:, :, None])[:, :, 0] + JOINT
