"""Faces with painted bars, discs, glasses and masks, and line drawings; none as in training.

Functions take an RGB image and the 478 points of its face [px], and return a new image.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from pacofr.faces.face_mesh.topology import FACE_OVAL, LEFT_EYE_OUTER, OUTER_LIPS, RIGHT_EYE_OUTER

Image = UInt8[np.ndarray, "H W 3"]
Points = Float[np.ndarray, "478 2"]
LIDS = {"right_eye": [33, 133, 159, 145], "left_eye": [263, 362, 386, 374]}
NOSE_TIP, NOSE_BRIDGE = 4, 197
MOUTH_MIDDLE = [13, 14]
CHIN = slice(8, 29)
"""Of `FACE_OVAL`: from one cheek over the chin to the other."""
BLACK = (0, 0, 0)


class Painted(NamedTuple):
    """A face of which something was covered."""

    name: str
    hidden: tuple[str, ...]
    """Regions of `mica_ext.landmarks.regions` that are covered as a whole."""
    image: Image


def occlusions(image: Image, points: Points, rng: np.random.Generator) -> Iterator[Painted]:
    """Every kind of occlusion, once."""
    eyes = tuple(LIDS)
    grey = tuple(int(value) for value in rng.integers(40, 220, 3))
    corners = [*LIDS["right_eye"], *LIDS["left_eye"]]
    yield Painted("black bar, eyes", eyes, _bar(image, points[corners], points, (1.25, 1.6)))
    mouth = points[OUTER_LIPS]
    yield Painted("black bar, mouth", ("mouth",), _bar(image, mouth, points, (1.3, 1.5)))
    middle = points[MOUTH_MIDDLE].mean(0)
    yield Painted("disc, mouth", ("mouth",), _disc(image, middle, 0.42, points, grey))
    for name, lids in LIDS.items():
        disc = _disc(image, points[lids].mean(0), 0.28, points, grey)
        yield Painted(f"disc, {name.replace('_', ' ')}", (name,), disc)
    yield Painted("sunglasses", eyes, _sunglasses(image, points))
    mask = image.copy()
    outline = np.concatenate([points[FACE_OVAL][CHIN], points[[NOSE_BRIDGE]]])
    cv2.fillPoly(mask, [np.rint(outline).astype(int)], (200, 215, 225))
    yield Painted("mask", ("mouth", "nose"), mask)


def line_drawing(image: Image) -> Image:
    """Black contours on white."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 2)
    lines = 255 - cv2.Canny(grey, 20, 60)
    return np.repeat(lines[..., None], 3, axis=2)


def _eye_distance(points: Points) -> float:
    return float(np.linalg.norm(points[LEFT_EYE_OUTER] - points[RIGHT_EYE_OUTER]))


def _disc(
    image: Image,
    centre: Float[np.ndarray, "2"],
    radius: float,
    points: Points,
    colour: tuple[int, ...],
) -> Image:
    """`radius` is in eye distances."""
    image = image.copy()
    x, y = np.rint(centre).astype(int)
    cv2.circle(image, (int(x), int(y)), round(radius * _eye_distance(points)), colour, -1)
    return image


def _bar(
    image: Image,
    part: Float[np.ndarray, "n 2"],
    points: Points,
    growth: tuple[float, float],
) -> Image:
    """A black bar along the eyes' line; so much longer and higher than `part`."""
    across = points[LEFT_EYE_OUTER] - points[RIGHT_EYE_OUTER]
    unit = _eye_distance(points)
    along, down = across / unit, np.array([-across[1], across[0]]) / unit
    size = np.ptp(part @ along) * growth[0], np.ptp(part @ down) * growth[1] + 0.12 * unit
    x, y = (float(value) for value in part.mean(0))
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    corners = cv2.boxPoints(((x, y), (float(size[0]), float(size[1])), angle))
    image = image.copy()
    cv2.fillPoly(image, [np.rint(corners).astype(int)], BLACK)
    return image


def _sunglasses(image: Image, points: Points) -> Image:
    unit, black = _eye_distance(points), (12, 12, 14)
    for lids in LIDS.values():
        image = _disc(image, points[lids].mean(0) + [0, 0.05 * unit], 0.26, points, black)
    inner = (np.rint(points[lids[1]]).astype(int) for lids in LIDS.values())
    start, end = ((int(x), int(y)) for x, y in inner)
    cv2.line(image, start, end, black, max(1, round(0.06 * unit)))
    return image
