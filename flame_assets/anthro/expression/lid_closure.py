"""Lids that meet in a blink for every identity and whatever other expression moves them."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from flame_assets.anthro.expression.modes import LIDS_MEET
from flame_assets.anthro.surface.control_set import ControlSet
from flame_assets.anthro.surface.head_surface import Surface

_LEAST = 0.02
"""Skin that follows the lid margin by less than this stays where it is."""


def lid_closure(
    controls: ControlSet,
    surface: Surface,
    motion: Float[ndarray, "v 3 k"],
    blink: int,
    *,
    right: bool,
) -> tuple[Int[ndarray, " n"], Float[ndarray, "n 3 k"]]:
    """Vertices and their corrections at a full blink of one eye, as `LidClosure` wants them.

    Where the two points of the margin that meet in a blink move differently, both take the motion
    of the place where they meet; the skin around follows through the thin-plate field.

    Args:
        controls: all control points.
        surface: the neutral head.
        motion: displacement of every vertex per coefficient, identity first.
        blink: column of this eye's blink, which needs no correction itself.
        right: the subject's right eye.
    """
    prefix = "right_" if right else ""
    lid, rims = surface.parts[prefix + "lid"], surface.parts[prefix + "rims"]
    half = len(lid) // 2
    partner = np.r_[0, np.arange(len(lid) - 1, 0, -1)]
    upper = np.zeros(len(lid), bool)
    upper[1:half] = True
    share = np.where(upper, LIDS_MEET, 1 - LIDS_MEET)[:, None, None]
    own, other = motion[lid], motion[lid[partner]]
    together = share * own + (1 - share) * other
    together[[0, half]] = own[[0, half]]
    together[:, :, blink] = own[:, :, blink]

    rows = controls.lid(right)
    follows = surface.expression_basis[:, rows]
    ids = np.flatnonzero(np.abs(follows).max(axis=1) > _LEAST)
    ids = np.union1d(ids, np.r_[lid, rims])
    change = (together - own)[::2]
    basis = np.einsum("nc,cik->nik", follows[ids], change, optimize=True)
    for row in (lid, rims[: len(lid)], rims[len(lid) :]):
        at = np.searchsorted(ids, row)
        exact = together - motion[row]
        exact[[0, half]] = basis[at[[0, half]]]
        exact[:, :, blink] = 0
        basis[at] = exact
    return ids, basis
