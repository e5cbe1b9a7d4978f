"""The 68 facial landmarks of iBUG 300-W: their order, mirror table, `.pts` files and measures.

Sagonas et al. 2013, "300 Faces in-the-Wild Challenge". Landmarks count from 0 here, from 1 in the
paper's figure. "Right" and "left" are the person's own, as in the markup: the right eye lies on the
left of an unmirrored photo. Points are (x, y) in pixels, y down.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int64, Shaped

from pacofr.errors import UserError
from pacofr.utils.bounded import read_bounded
from pacofr.utils.budgets import PTS_BYTES
from pacofr.utils.files import write_atomic

COUNT = 68
JAW = slice(0, 17)
INNER = slice(17, 68)
"""All but the jaw: 51 landmarks."""
RIGHT_EYEBROW = slice(17, 22)
LEFT_EYEBROW = slice(22, 27)
NOSE_BRIDGE = slice(27, 31)
NOSTRILS = slice(31, 36)
RIGHT_EYE = slice(36, 42)
LEFT_EYE = slice(42, 48)
OUTER_LIPS = slice(48, 60)
INNER_LIPS = slice(60, 68)
NOSE_TIP = 30
OUTER_EYE_CORNERS = (36, 45)
MOUTH_CORNERS = (48, 54)
INNER_LIP_CENTRES = (62, 66)
"""Middle of the inner lips, upper and lower."""

MIRROR: Int64[np.ndarray, "68"] = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)],
    np.int64,
)
"""Index of each landmark's counterpart on the other side of the face; its own on the midline."""


def mirrored(points: Shaped[np.ndarray, "*n 68 2"], width: int) -> Shaped[np.ndarray, "*n 68 2"]:
    """Landmarks of the image after it was flipped left to right; `width` is its width [px]."""
    return points[..., MIRROR, :] * [-1, 1] + [width - 1, 0]


def five_points(landmarks: Shaped[np.ndarray, "68 2"]) -> Float64[np.ndarray, "5 2"]:
    """Eye centres, nose tip and mouth corners, in the order of `pacofr.faces.align`."""
    points = np.asarray(landmarks, np.float64)
    eyes = points[RIGHT_EYE].mean(axis=0), points[LEFT_EYE].mean(axis=0)
    return np.stack([*eyes, points[NOSE_TIP], *points[list(MOUTH_CORNERS)]])


def read_pts(path: Path) -> Float64[np.ndarray, "68 2"]:
    """Read the landmarks of a `.pts` file, in the coordinates that stand there.

    Raises:
        UserError: the file is missing, larger than `PTS_BYTES`, or does not hold 68 finite points.
    """
    try:
        body = read_bounded(path, PTS_BYTES).decode().split("{", 1)[1].split("}", 1)[0]
        numbers = np.array(body.split(), np.float64)
    except OSError as error:
        raise UserError(f"{path}: expected a .pts file ({error.strerror})") from error
    except (IndexError, ValueError) as error:
        raise UserError(
            f"{path}: expected an iBUG .pts file, numbers between braces; it holds others"
        ) from error
    if numbers.shape != (2 * COUNT,) or not np.isfinite(numbers).all():
        raise UserError(
            f"{path}: expected 68 points of finite numbers, found {len(numbers) / 2:g} points"
        )
    return numbers.reshape(COUNT, 2)


def write_pts(path: Path, points: Shaped[np.ndarray, "K 2"]) -> None:
    """Write landmarks, 68 or of another scheme, as a `.pts` file, to a thousandth of a pixel."""
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points)
    write_atomic(path, f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n".encode())


def inter_ocular(points: Shaped[np.ndarray, "N 68 D"]) -> Float[np.ndarray, " N"]:
    """Distance of the outer eye corners, in pixels or metres: the unit of the 300-W error."""
    return _distance(points, OUTER_EYE_CORNERS)


def nme(
    points: Shaped[np.ndarray, "N 68 2"],
    truth: Shaped[np.ndarray, "N 68 2"],
    landmarks: slice = slice(COUNT),
) -> Float[np.ndarray, " N"]:
    """Normalised mean error: mean distance over `landmarks`, % of the true inter-ocular one."""
    distances = np.linalg.norm(points - truth, axis=-1)[:, landmarks]
    return 100 * distances.mean(axis=1) / inter_ocular(truth)


def mouth_opening(points: Shaped[np.ndarray, "N 68 2"]) -> Float[np.ndarray, " N"]:
    """Distance between the middles of the inner lips, in inter-ocular distances."""
    return _distance(points, INNER_LIP_CENTRES) / inter_ocular(points)


def mouth_width(points: Shaped[np.ndarray, "N 68 2"]) -> Float[np.ndarray, " N"]:
    """Distance of the mouth corners, in inter-ocular distances."""
    return _distance(points, MOUTH_CORNERS) / inter_ocular(points)


def eye_aspect_ratio(points: Shaped[np.ndarray, "N 68 2"]) -> Float[np.ndarray, "N 2"]:
    """Lid distance over width of the right and left eye (Soukupova and Cech 2016); shut: < 0.15."""
    ratios = []
    for eye in (RIGHT_EYE, LEFT_EYE):
        outer, a, b, inner, c, d = range(eye.start, eye.stop)
        lids = _distance(points, (a, d)) + _distance(points, (b, c))
        ratios.append(lids / (2 * _distance(points, (outer, inner))))
    return np.stack(ratios, axis=-1)


def brow_raise(points: Shaped[np.ndarray, "N 68 2"]) -> Float[np.ndarray, " N"]:
    """Height of the eyebrows above the eyes, both sides' mean, in inter-ocular distances.

    Across the line of the outer eye corners, so that a tilted head does not count.
    """
    across = points[:, OUTER_EYE_CORNERS[1]] - points[:, OUTER_EYE_CORNERS[0]]
    down = across[:, ::-1] * [-1, 1] / np.linalg.norm(across, axis=-1, keepdims=True)
    heights = [
        ((points[:, eye].mean(1) - points[:, brow].mean(1)) * down).sum(-1)
        for brow, eye in ((RIGHT_EYEBROW, RIGHT_EYE), (LEFT_EYEBROW, LEFT_EYE))
    ]
    return np.mean(heights, axis=0) / inter_ocular(points)


def _distance(points: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=-1)
