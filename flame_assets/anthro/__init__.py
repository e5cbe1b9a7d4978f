"""Anthro: a procedural, licence-free parametric head with FLAME's rig.

A thin-plate field over named control points on a capsule-shaped domain carries one designed
template mesh; neutral shape, identity and expressions are all linear in the controls. Built by code
from published anthropometric measures in about two seconds, the same bytes every time.
"""

from flame_assets.anthro.arkit import ArkitPose, arkit
from flame_assets.anthro.build import build_anthro
from flame_assets.anthro.expressions import EXPRESSIONS

__all__ = ["EXPRESSIONS", "ArkitPose", "arkit", "build_anthro"]
