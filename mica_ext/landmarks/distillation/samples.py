"""One training crop of a labelled face: where the detector might put it, turned, hidden, dimmed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from mica_ext.data.augmentation.augment import as_drawing, local_warp, photometric_augment
from mica_ext.data.augmentation.occlusion import Scene, occlude
from mica_ext.landmarks.distillation.face_store import LabelledFace
from mica_ext.landmarks.distillation.face_surface import FaceSurface, yaw_of
from mica_ext.landmarks.distillation.turning import turn_face
from mica_ext.landmarks.regions import REGIONS
from mica_ext.landmarks.student.network import ROLL_FROM_MOUTH, SIDE_PER_BOX
from pacofr.faces.face_mesh.region import Region, crop_region, region_of_five, region_of_points
from pacofr.faces.face_mesh.topology import LEFT_EYE_CENTRE, MIRROR, RIGHT_EYE_CENTRE

MAX_YAW = np.radians(88.0)
MAX_TURN = np.radians(75.0)
PITCH_SIGMA = np.radians(8.0)


class CropOdds(NamedTuple):
    """How often things happen to a crop."""

    turn: float = 0.28
    no_face: float = 0.06
    drawing: float = 0.02
    warp: float = 0.35
    occlusion: float = 0.45
    wild: float = 0.25
    """Crops far off the face's place, beyond what detectors do."""
    detector: float = 0.35
    """Crops around the detector's own points, others are around noisy or implied ones."""
    light: float = 1.0
    """Changes of resolution, light and colour."""


POINT_ODDS = CropOdds()
SETTLED_ODDS = CropOdds(turn=0.2, no_face=0.04, occlusion=0.2, wild=0.08, detector=0.6, light=0.6)
"""Nearer to what a detector finds in good photos."""
CONFIDENCE_ODDS = CropOdds(no_face=0.12, drawing=0.14, occlusion=0.6)
"""More of what the confidences have to tell."""


class Sample(NamedTuple):
    """What the network sees and should say."""

    crop: UInt8[np.ndarray, "S S 3"]
    points: Float32[np.ndarray, "478 2"]
    """In [-1, 1] of the crop's sides."""
    visibility: Float32[np.ndarray, "7"]
    """Share of each region's points that can be seen."""
    face: float
    """1 for a photo of an upright face of the right size, else 0: points count for nothing then."""


def sample_crop(
    face: LabelledFace,
    surface: FaceSurface,
    rng: np.random.Generator,
    size: int,
    *,
    may_turn: bool,
    other_photo: Callable[[], UInt8[np.ndarray, "H W 3"]],
    odds: CropOdds = POINT_ODDS,
) -> Sample:
    """A crop of `size` pixels with random placement, turn, occluders, light and degradation.

    Args:
        face: from a `FaceStore`.
        surface: the points' triangles.
        rng: the only source of chance.
        size: side of the crop [px].
        may_turn: whether the face may be turned in depth (photos; rendered heads are turned).
        other_photo: draws a picture for the occluders' textures.
        odds: how often what happens.
    """
    if may_turn and rng.random() < odds.turn:
        face = turn_face(face, surface, *_random_turn(face, rng))
    seen = face.visible & surface.facing(face.points)
    region = _random_region(face, rng, odds)
    is_face = rng.random() >= odds.no_face
    if not is_face:
        region = _beside_the_face(region, rng)
    crop = crop_region(face.picture, region, size)
    matrix = region.to_crop(size)
    points = face.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    if is_face and rng.random() < odds.warp:
        crop, points = local_warp(crop, points, rng)
    if rng.random() < 0.5:
        crop = np.ascontiguousarray(crop[:, ::-1])
        points = points[MIRROR] * [-1, 1] + [size - 1, 0]
        seen = seen[MIRROR]
    hidden = np.zeros((size, size), bool)
    if rng.random() < odds.occlusion:
        for _ in range(int(rng.integers(1, 3))):
            crop, covered = occlude(Scene(crop, points, rng, other_photo))
            hidden |= covered
    if is_face and rng.random() < odds.drawing:
        crop, is_face = as_drawing(crop, rng), False
    if rng.random() < odds.light:
        crop = photometric_augment(crop, rng)
    return Sample(crop, normalised(points, size), _visibility(points, seen, hidden), float(is_face))


def normalised(points: Float[np.ndarray, "478 2"], size: int) -> Float32[np.ndarray, "478 2"]:
    """Crop pixels, from the centre of the first one, to [-1, 1] of the crop's sides."""
    return ((points + 0.5) * (2 / size) - 1).astype(np.float32)


def _visibility(
    points: Float[np.ndarray, "478 2"],
    seen: Bool[np.ndarray, "478"],
    hidden: Bool[np.ndarray, "S S"],
) -> Float32[np.ndarray, "7"]:
    size = len(hidden)
    columns, rows = np.clip(np.rint(points), 0, size - 1).astype(int).T
    inside = ((points >= 0) & (points < size)).all(1)
    seen = seen & inside & ~hidden[rows, columns]
    return np.array([seen[region].mean() for region in REGIONS.values()], np.float32)


def _random_turn(face: LabelledFace, rng: np.random.Generator) -> tuple[float, float]:
    """Yaw and pitch by which to turn, mostly farther to the side that the face shows already."""
    yaw = float(yaw_of(face.points))
    side = float(rng.choice([-1.0, 1.0]))
    if abs(yaw) > np.radians(8) and rng.random() < 0.8:
        side = float(np.sign(yaw))
    goal = side * rng.uniform(np.radians(8), MAX_YAW)
    # a rotation by +a about the downward axis lowers `yaw_of` by a
    return float(np.clip(yaw - goal, -MAX_TURN, MAX_TURN)), float(rng.normal(0, PITCH_SIGMA))


def _random_region(face: LabelledFace, rng: np.random.Generator, odds: CropOdds) -> Region:
    """Where a detector, or the points of an earlier look, would put the crop."""
    points = face.points[:, :2]
    kind = rng.random()
    if kind < odds.detector and np.isfinite(face.five).all():
        noise = 0.012 * np.linalg.norm(face.five[1] - face.five[0])
        region = _around_five(face.five + rng.normal(0, noise, (5, 2)))
    elif kind < 0.85:
        eyes = [points[lids].mean(0) for lids in (RIGHT_EYE_CENTRE, LEFT_EYE_CENTRE)]
        five = np.stack([*eyes, points[4], points[61], points[291]])
        down = five[3:].mean(0) - five[:2].mean(0)
        unit = max(np.linalg.norm(five[1] - five[0]), np.linalg.norm(down))
        region = _around_five(five + rng.normal(0, 0.03, (5, 2)) * unit)
    else:
        region = region_of_points(points, SIDE_PER_BOX, roll_from_mouth=ROLL_FROM_MOUTH)
    wild = rng.random() < odds.wild
    shift = rng.normal(0, 0.045 if wild else 0.012, 2) * region.side
    growth = np.exp(rng.normal(0.01, 0.12 if wild else 0.04))
    turn = rng.uniform(-0.6, 0.6) if wild else rng.normal(0, 0.05)
    return Region(region.centre + shift, float(region.side * growth), float(region.roll + turn))


def _around_five(five: Float[np.ndarray, "5 2"]) -> Region:
    return region_of_five(five, SIDE_PER_BOX, roll_from_mouth=ROLL_FROM_MOUTH)


def _beside_the_face(region: Region, rng: np.random.Generator) -> Region:
    """On its side or head, beside the face, or far too near or too far."""
    kind = rng.integers(4)
    if kind < 2:
        return region._replace(roll=region.roll + np.pi / 2 * int(rng.integers(1, 4)))
    if kind == 2:
        shift = rng.choice([-1, 1], 2) * rng.uniform(0.65, 1.2, 2) * region.side
        return Region(region.centre + shift, region.side * rng.uniform(0.4, 1.2), region.roll)
    scale = rng.uniform(0.15, 0.3) if rng.random() < 0.5 else rng.uniform(2.6, 4)
    return region._replace(side=float(region.side * scale))
