"""Anthro: a procedural, freely licensed parametric head with FLAME's rig.

A thin-plate field over named control points on a capsule-shaped domain carries one designed
template mesh; neutral shape, identity and expressions are all linear in the controls. Built by code
in about two seconds from published anthropometric measures and from the mean and spread of scanned
people (ICT-FaceKit, MIT): the same bytes every time on one machine, and the same to 1e-10 m on any
other.
"""

from flame_assets.arkit import EXPRESSIONS, ArkitPose, arkit
from flame_assets.model.head import HeadModel

__all__ = ["EXPRESSIONS", "ArkitPose", "arkit", "build_anthro"]


def build_anthro() -> HeadModel:
    """Build the head; `flame_assets.store.load_head("anthro")` keeps it for the next time."""
    from flame_assets.anthro import build  # SciPy's geometry, not needed where a head is loaded

    return build.build()
