"""FLAME's rig on this head: five joints regressed from vertices, smooth skinning weights."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import nnls

from flame_assets.anthro.parts import eyes
from flame_assets.anthro.rig import jaw
from flame_assets.anthro.surface.head_surface import Surface

ROOT = np.array([0.0, -172.0, -18.0])
NECK = np.array([0.0, -118.0, -15.0])
"""Joints [mm]: base of the neck and upper neck."""


def _smoothstep(x: Float[ndarray, " n"], low: float, high: float) -> Float[ndarray, " n"]:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _regress(points: Float[ndarray, "n 3"], joint: Float[ndarray, "3"]) -> Float[ndarray, " n"]:
    """Non-negative weights of sum 1 that average `points` to `joint`, spread over many points."""
    n = len(points)
    system = np.vstack([points.T / 10, np.ones(n), 1e-3 * np.eye(n)])
    wanted = np.r_[joint / 10, 1.0, np.zeros(n)]
    system[:4] *= 100
    wanted[:4] *= 100
    weights = nnls(system, wanted)[0]
    return weights / weights.sum()


def joint_regressor(surface: Surface) -> Float[ndarray, "5 v"]:
    """Rows of weights over the neutral vertices: global, neck, jaw, left eye, right eye."""
    regressor = np.zeros((5, len(surface.vertices)))
    ring = np.flatnonzero(~np.isnan(surface.places[:, 0]))
    y, z = surface.vertices[ring, 1], surface.vertices[ring, 2]
    x = np.abs(surface.vertices[ring, 0])
    nape = ring[np.abs(y - NECK[1]) < 12]
    base = ring[np.abs(y - ROOT[1]) < 12]
    # around the ears: no expression moves the skin there
    sides = ring[(x > 60) & (np.abs(y - jaw.JOINT[1]) < 38) & (np.abs(z - jaw.JOINT[2]) < 40)]
    for row, near, joint in ((0, base, ROOT), (1, nape, NECK), (2, sides, jaw.JOINT)):
        regressor[row, near] = _regress(surface.vertices[near], joint)
    for row, name, sign in ((3, "eyeball", 1.0), (4, "right_eyeball", -1.0)):
        ids = surface.parts[name]
        points = surface.vertices[ids]
        regressor[row, ids] = _regress(points, eyes.CENTRE * [sign, 1.0, 1.0])
    return regressor


def skinning_weights(surface: Surface) -> Float[ndarray, "v 5"]:
    """Weights of global, neck, jaw, left eye, right eye; each row sums to 1."""
    y, z = surface.vertices[:, 1], surface.vertices[:, 2]
    front = _smoothstep(z, -20.0, 30.0)
    neck = (1 - front) * _smoothstep(y, -175.0, -105.0) + front * _smoothstep(y, -185.0, -135.0)
    weights = np.zeros((len(y), 5))
    weights[:, 0] = 1 - neck
    weights[:, 1] = neck * (1 - surface.jaw)
    weights[:, 2] = neck * surface.jaw
    for joint, name in ((3, "eyeball"), (4, "right_eyeball")):
        weights[surface.parts[name]] = np.eye(5)[joint]
    return weights
