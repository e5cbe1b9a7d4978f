"""Anthro's proportions against the mean of ICT-FaceKit's scans: 51 landmarks and the surface.

    python tests/bench/anthro_proportions.py [--ict PATH]

Landmarks: both heads' own 51 inner iBUG points, aligned by similarity (the size difference is
printed) or rigidly, mean distance per region in mm of Anthro. They differ by convention as well:
ICT's brow points lie on the upper edge of the brows, 5 mm above iBUG's in photos, and its inner lip
points farther out; so the surfaces are compared too, by closest visible points: distances, and the
angle between both normals by region, which is what pictures show.
Version 1.1: similarity 3.88 mm, rigid 4.90 mm, ICT 7.7 % larger; surface 1.53 mm (median).
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import igl
import numpy as np
from anthro_ict_fit import (
    ICT_LANDMARKS,
    Matches,
    Model,
    Target,
    identity_target,
    load_ict,
    match,
    on_anthro,
    rigid,
)

from flame_assets.anthro import build_anthro

DATA = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_facekit_light.npz"
REGIONS = {
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
    "all 51": slice(17, 68),
}

AREAS = {
    "upper lid, socket": ((13, 50), (-2, 16)),
    "nose": ((0, 22), (-50, -24)),
    "philtrum, lips": ((0, 30), (-88, -49)),
    "brow ridge": ((0, 56), (16, 32)),
    "chin": ((0, 30), (-112, -88)),
    "face": ((0, 95), (-125, 75)),
}
"""Limits of |x| and y [mm] of visible points in Anthro's frame."""


class Angles(NamedTuple):
    """Of the angle between normals [degrees], over points that agree within 60 degrees."""

    mean: float
    median: float


def normal_angles(found: Matches, target: Target) -> dict[str, Angles]:
    """Angles between the normals of both surfaces, by area; insides of nostrils do not agree."""
    cosine = np.einsum("ni,ni->n", found.normals, target.normals)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    x, y = np.abs(target.points[:, 0]), target.points[:, 1]
    angles = {}
    for name, ((x0, x1), (y0, y1)) in AREAS.items():
        here = angle[found.agree & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)]
        angles[name] = Angles(float(here.mean()), float(np.median(here)))
    return angles


def aligned(points: np.ndarray, goal: np.ndarray, scaled: bool) -> tuple[np.ndarray, float]:
    """All 68 points moved so that the inner 51 meet the goal's best; and the scale."""
    turn, _ = rigid(points[17:], goal[17:])
    centre, goal_centre = points[17:].mean(axis=0), goal[17:].mean(axis=0)
    turned = (points - centre) @ turn.T
    scale = 1.0
    if scaled:
        scale = float(np.sum(turned[17:] * (goal[17:] - goal_centre)) / np.sum(turned[17:] ** 2))
    return scale * turned + goal_centre, scale


def proportions(points: np.ndarray) -> dict[str, float]:
    """Ratios that a photo fit depends on; lengths over the outer eye corners' distance."""
    unit = np.linalg.norm(points[45] - points[36])

    def distance(a: int, b: int) -> float:
        return float(np.linalg.norm(points[a] - points[b]))

    lids = sum(
        (distance(a + 1, a + 5) + distance(a + 2, a + 4)) / (2 * distance(a, a + 3))
        for a in (36, 42)
    )
    return {
        "outer eye corners [mm]": float(unit),
        "brow half-width [mm]": float(abs(points[26, 0] - points[17, 0]) / 2),
        "inner eye corners": distance(39, 42) / unit,
        "lid opening (EAR)": lids / 2,
        "mouth width": distance(48, 54) / unit,
        "nose wing width": distance(31, 35) / unit,
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ict", type=Path, default=DATA, help="ict_facekit_light.npz")
    options = parser.parse_args()
    head = build_anthro()
    model = Model(head)
    corners = np.concatenate([head.static_contour_triangles, head.landmark_triangles])
    weights = np.concatenate([head.static_contour_barycentric, head.landmark_barycentric])
    own = np.einsum("nci,nc->ni", model.template[head.triangles[corners]], weights)
    ict = on_anthro(load_ict(options.ict), model)
    theirs = ict.neutral[ICT_LANDMARKS]
    print(f"Anthro {head.version}: mean distance of landmarks to ICT's [mm]")
    print("                     " + " ".join(f"{name:>7}" for name in REGIONS) + "   ICT's size")
    for scaled, name in ((True, "similarity"), (False, "rigid")):
        moved, scale = aligned(theirs, own, scaled)
        error = np.linalg.norm(moved - own, axis=1)
        row = " ".join(f"{error[part].mean():7.2f}" for part in REGIONS.values())
        print(f"own landmarks, {name:10}{row}   {1 / scale:.3f}")
    triangles = np.ascontiguousarray(ict.triangles)
    squared = igl.point_mesh_squared_distance(own, ict.neutral, triangles)[0]
    row = " ".join(f"{np.sqrt(squared[part]).mean():7.2f}" for part in REGIONS.values())
    print(f"off ICT's surface, rigid {row}")
    target = identity_target(ict, ict.neutral)
    found = match(model, model.template, target)
    distance = np.linalg.norm(target.points - found.points, axis=1)[found.agree]
    print(
        f"surface, rigid: {found.agree.mean():.3f} of the visible points agree in their normals; "
        f"median {np.median(distance):.2f}, mean {distance.mean():.2f}, "
        f"p95 {np.percentile(distance, 95):.2f} mm"
    )
    print("angle between normals, mean / median [degrees]")
    for name, angles in normal_angles(found, target).items():
        print(f"{name:24} {angles.mean:4.1f} / {angles.median:.1f}")
    ours, others = proportions(own), proportions(theirs)
    for name, value in ours.items():
        print(f"{name:24} Anthro {value:7.3f}   ICT {others[name]:7.3f}")


if __name__ == "__main__":
    main()
