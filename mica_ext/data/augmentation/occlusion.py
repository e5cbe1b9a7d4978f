"""Random things in front of a face, and which pixels they hide."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from pacofr.faces.face_mesh.topology import (
    FACE_OVAL,
    LEFT_EYE,
    LEFT_EYE_OUTER,
    POINTS,
    RIGHT_EYE,
    RIGHT_EYE_OUTER,
)

Picture = UInt8[np.ndarray, "S S 3"]
Mask = UInt8[np.ndarray, "S S"]
DENSE_GLASS = 0.8
"""Opacity of glasses above which the eyes count as hidden."""
JAW = FACE_OVAL[list(FACE_OVAL).index(454) : list(FACE_OVAL).index(234) + 1]
"""Contour from the left ear over the chin to the right one."""
HELD_TO = [0, 17, 50, 280, 152, 205, 425, 33, 263, 1]
"""Points at which hands and microphones are put."""
MASK_TOPS = [6, 197, 195, 5, 4]
"""Points of the nose up to which masks reach."""
MASK_COLOURS = np.array([[235, 235, 240], [150, 190, 220], [25, 25, 28]])
SUBPIXEL = 3


class Scene(NamedTuple):
    """A face to be covered."""

    picture: Picture
    points: Float[np.ndarray, "478 2"]
    """[px]"""
    rng: np.random.Generator
    other_photo: Callable[[], UInt8[np.ndarray, "H W 3"]]
    """A random picture of something else."""

    @property
    def size(self) -> int:
        """Side of the picture [px]."""
        return self.picture.shape[0]

    @property
    def eye_distance(self) -> float:
        """Of the outer corners [px], at least 8."""
        across = self.points[LEFT_EYE_OUTER] - self.points[RIGHT_EYE_OUTER]
        return max(float(np.linalg.norm(across)), 8.0)

    def empty_mask(self) -> Mask:
        """Nothing covered."""
        return np.zeros((self.size, self.size), np.uint8)


class Occluder(NamedTuple):
    """What covers the face."""

    mask: Mask
    paint: Picture
    opacity: float = 1.0
    hides: bool = True
    """Whether what lies behind counts as hidden."""


def occlude(scene: Scene) -> tuple[Picture, Bool[np.ndarray, "S S"]]:
    """The picture behind a random occluder, and the pixels hidden by it."""
    kinds, chances = zip(*OCCLUDERS, strict=True)
    kind = kinds[scene.rng.choice(len(kinds), p=chances)]
    mask, paint, opacity, hides = kind(scene)
    soft = cv2.GaussianBlur(mask, (0, 0), 1.0) if scene.rng.random() < 0.3 else mask
    alpha = (soft.astype(np.float32) * (opacity / 255))[..., None]
    picture = (scene.picture * (1 - alpha) + paint * alpha + 0.5).astype(np.uint8)
    return picture, (mask > 127) & hides


def block(scene: Scene) -> Occluder:
    """A rectangle or an ellipse anywhere, more often on the face."""
    rng, size = scene.rng, scene.size
    height, width = rng.uniform(0.1, 0.5, 2) * size
    centre = rng.uniform(0, size, 2)
    if rng.random() < 0.5:
        centre = scene.points[rng.integers(POINTS)] + rng.normal(0, 0.1, 2) * size
    mask, angle = scene.empty_mask(), float(rng.uniform(0, 180))
    box = ((float(centre[0]), float(centre[1])), (float(width), float(height)), angle)
    if rng.random() < 0.5:
        cv2.ellipse(mask, box, 255, -1)
    else:
        _fill(mask, cv2.boxPoints(box))
    return Occluder(mask, _texture(scene))


def sunglasses(scene: Scene) -> Occluder:
    """Two lenses and a bridge; thin ones do not hide the eyes."""
    rng, mask = scene.rng, scene.empty_mask()
    for rim in _rims(scene, (0.75, 1.05)):
        _fill(mask, rim)
    _bridge(mask, scene, 0.04)
    dark = rng.integers(0, 60, 3) if rng.random() < 0.8 else rng.integers(0, 256, 3)
    opacity = float(rng.uniform(0.55, 1.0))
    return Occluder(mask, _plain(scene, dark), opacity, opacity > DENSE_GLASS)


def spectacles(scene: Scene) -> Occluder:
    """Frames around the eyes, which hide nothing."""
    rng, mask = scene.rng, scene.empty_mask()
    thickness = max(1, int(scene.eye_distance * rng.uniform(0.01, 0.05)))
    for rim in _rims(scene, (0.75, 1.0)):
        cv2.polylines(mask, [_fixed(rim)], True, 255, thickness, cv2.LINE_AA, SUBPIXEL)
    _bridge(mask, scene, 0.03)
    return Occluder(mask, _plain(scene, rng.integers(0, 256, 3) * rng.uniform(0.1, 1)), hides=False)


def face_mask(scene: Scene) -> Occluder:
    """A mask over mouth and nose."""
    rng, mask = scene.rng, scene.empty_mask()
    nose = scene.points[1]
    jaw = nose + (scene.points[JAW] - nose) * rng.uniform(0.97, 1.05)
    _fill(mask, np.concatenate([scene.points[[rng.choice(MASK_TOPS)]], jaw]))
    if rng.random() < 0.6:
        colour = MASK_COLOURS[rng.integers(len(MASK_COLOURS))] + rng.integers(-15, 16, 3)
        return Occluder(mask, _plain(scene, colour))
    return Occluder(mask, _texture(scene))


def hand(scene: Scene) -> Occluder:
    """One to four fingers, or a microphone, held to the face."""
    rng, eyes, mask = scene.rng, scene.eye_distance, scene.empty_mask()
    start = scene.points[rng.choice(HELD_TO)]
    angle = rng.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    thickness = eyes * rng.uniform(0.12, 0.22)
    for finger in range(int(rng.integers(1, 5))):
        base = start + 1.05 * finger * thickness * across + rng.normal(0, 0.1) * eyes * along
        tip = base + along * eyes * rng.uniform(0.5, 1.6)
        ends = _fixed(np.stack([base, tip]))
        cv2.polylines(mask, [ends], False, 255, max(2, int(thickness)), cv2.LINE_AA, SUBPIXEL)
    colour = rng.integers(0, 256, 3).astype(float)
    if rng.random() < 0.7:
        cheek = scene.points[[50, 280][rng.integers(2)]]
        column, row = np.clip(cheek, 0, scene.size - 1).astype(int)
        colour = scene.picture[row, column] * rng.uniform(0.7, 1.1)
    light = rng.uniform(0.75, 1.15, (5, 5)).astype(np.float32)
    light = cv2.resize(light, mask.shape, interpolation=cv2.INTER_CUBIC)
    shaded = np.clip(_plain(scene, colour) * light[..., None], 0, 255).astype(np.uint8)
    return Occluder(mask, shaded)


def hair(scene: Scene) -> Occluder:
    """Strands from the forehead over brow, eye or cheek."""
    rng, eyes, mask = scene.rng, scene.eye_distance, scene.empty_mask()
    side = rng.choice([-1, 1])
    root = scene.points[10] + np.array([side * rng.uniform(-0.3, 0.6), -0.2]) * eyes
    for _ in range(int(rng.integers(6, 30))):
        start = root + rng.normal(0, 0.08, 2) * eyes
        end = start + np.array([side * rng.uniform(0, 0.5), rng.uniform(0.3, 1.3)]) * eyes
        middle = (start + end) / 2 + rng.normal(0, 0.1, 2) * eyes
        strand, thickness = _fixed(np.stack([start, middle, end])), max(1, int(0.03 * eyes))
        cv2.polylines(mask, [strand], False, 255, thickness, cv2.LINE_AA, SUBPIXEL)
    dark = rng.integers(0, 90, 3) if rng.random() < 0.7 else rng.integers(60, 200, 3)
    return Occluder(mask, _plain(scene, dark))


def photo_edge(scene: Scene) -> Occluder:
    """The photo ends within the crop: black beyond, or its last row or column repeated."""
    rng, size = scene.rng, scene.size
    turns, cut = int(rng.integers(4)), int(rng.uniform(0.08, 0.4) * size)
    mask, paint = np.rot90(scene.empty_mask(), turns).copy(), np.rot90(scene.picture, turns).copy()
    mask[:cut] = 255
    paint[:cut] = paint[cut] if rng.random() < 0.6 else 0
    return Occluder(
        np.ascontiguousarray(np.rot90(mask, -turns)), np.ascontiguousarray(np.rot90(paint, -turns))
    )


OCCLUDERS: tuple[tuple[Callable[[Scene], Occluder], float], ...] = (
    (block, 0.28),
    (sunglasses, 0.17),
    (face_mask, 0.14),
    (hand, 0.12),
    (hair, 0.1),
    (photo_edge, 0.1),
    (spectacles, 0.09),
)
"""Kinds and how often each is drawn."""


def _rims(scene: Scene, widths: tuple[float, float]) -> list[Float[np.ndarray, "24 2"]]:
    rng, eyes = scene.rng, scene.eye_distance
    along = (scene.points[LEFT_EYE_OUTER] - scene.points[RIGHT_EYE_OUTER]) / eyes
    down = np.array([-along[1], along[0]])
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    power, width, height = rng.uniform(0.5, 1.0), rng.uniform(*widths), rng.uniform(0.12, 0.24)
    cos, sin = (np.sign(v) * np.abs(v) ** power for v in (np.cos(angles), np.sin(angles)))
    rims = []
    for lids in (RIGHT_EYE, LEFT_EYE):
        eye = scene.points[lids]
        half = max(float(np.linalg.norm(eye[0] - eye[8])) * width, 0.05 * eyes)
        centre = eye.mean(0) + 0.03 * eyes * down
        rims.append(centre + half * np.outer(cos, along) + height * eyes * np.outer(sin, down))
    return rims


def _bridge(mask: Mask, scene: Scene, thickness: float) -> None:
    ends = _fixed(scene.points[[133, 362]])
    width = max(1, int(scene.eye_distance * thickness))
    cv2.polylines(mask, [ends], False, 255, width, cv2.LINE_AA, SUBPIXEL)


def _texture(scene: Scene) -> Picture:
    """One colour, a smooth gradient, or a part of another photo."""
    rng, size = scene.rng, scene.size
    kind = rng.integers(3)
    if kind == 0:
        return _plain(scene, rng.integers(0, 256, 3))
    if kind == 1:
        few = rng.integers(0, 256, (3, 3, 3)).astype(np.uint8)
        return np.asarray(cv2.resize(few, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)
    photo = scene.other_photo()
    side = int(rng.integers(min(photo.shape[:2]) // 3, min(photo.shape[:2]) + 1))
    top, left = (int(rng.integers(0, extent - side + 1)) for extent in photo.shape[:2])
    part = photo[top : top + side, left : left + side]
    return np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _plain(scene: Scene, colour: np.ndarray) -> Picture:
    paint = np.empty_like(scene.picture)
    paint[:] = np.clip(colour, 0, 255)
    return paint


def _fill(mask: Mask, outline: np.ndarray) -> None:
    cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, SUBPIXEL)


def _fixed(points: np.ndarray) -> np.ndarray:
    """OpenCV's fixed-point coordinates; far ones are brought near, as it knows no others."""
    return np.rint(np.clip(points, -4096, 4096) * 2**SUBPIXEL).astype(np.int32)
