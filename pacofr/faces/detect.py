"""Find the faces of one photo and choose among them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from pacofr.errors import UserError
from pacofr.faces.align import arcface_matrix
from pacofr.faces.mtcnn.network import Detections, load_mtcnn

LONG_SIDES = (640, 1024)
"""Photos are shrunk to the first for detection, and to the second when nothing was found."""
SMALLEST_FACE_PX = (24.0, 20.0)
"""Smallest box looked for at these sizes."""
LEAST_SCORE = 0.9
"""MTCNN detections below this are noise."""
SURE_SCORE = 0.985
"""Below this the photo may be a turned one (95% of upright faces lie above, 10% of turned)."""
TURN_GAIN = 0.03
"""A turned view wins over an upright one by this much more trust."""
LARGEST_TILT = 0.7
"""Tilt [rad] beyond which five points speak for a turned photo."""
ARCFACE_SIZE = 112
DETECTOR = "MTCNN (weights of the mtcnn 1.0.0 wheel, MIT)"

Which = Literal["largest", "center", "all"] | int


class Face(NamedTuple):
    """A detected face in the photo's pixels."""

    box: Float32[np.ndarray, "4"]
    """x0, y0, x1, y1; may reach beyond the photo."""
    score: float
    """Detector's confidence, 0 to 1."""
    points: Float32[np.ndarray, "5 2"]
    """(x, y): left eye, right eye, nose tip, left and right mouth corner as the viewer sees an
    upright face; for a face upside down, the same after turning it upright."""

    @property
    def trust(self) -> float:
        """Score, less a half when the five points do not lie in the box as an upright face's."""
        matrix = arcface_matrix(self.points)
        tilt = abs(np.arctan2(matrix[1, 0], matrix[0, 0]))
        template_size = np.hypot(*matrix[0, :2]) * self.size
        natural = tilt < LARGEST_TILT and template_size < ARCFACE_SIZE
        return self.score if natural else self.score - 0.5

    @property
    def size(self) -> float:
        """Square root of the box's area [px]."""
        width, height = self.box[2:] - self.box[:2]
        return float(np.sqrt(max(width, 0.0) * max(height, 0.0)))


def detect(
    image: UInt8[np.ndarray, "H W 3"], *, least_score: float = LEAST_SCORE, turn: bool = True
) -> list[Face]:
    """Faces of an RGB photo, largest first.

    Without `turn` only upright faces are found. With it a photo that shows none for certain is
    also looked at turned by 90, 270 and 180 degrees, and the best of the four views counts;
    boxes and points are given in the photo as it came.
    """
    for long_side, smallest in zip(LONG_SIDES, SMALLEST_FACE_PX, strict=True):
        small, scale = _shrunk(image, long_side)
        faces = _faces(load_mtcnn()(small[None], smallest), least_score, scale)
        if faces or scale == 1.0:
            break
    if not turn or _trust(faces) >= SURE_SCORE:
        return faces
    small, scale = _shrunk(image, LONG_SIDES[0])
    best, best_trust = faces, _trust(faces)
    for quarters in (1, 3, 2):
        view = load_mtcnn()(np.rot90(small, quarters)[None], SMALLEST_FACE_PX[0])
        found = _faces(view, least_score, 1.0)
        if _trust(found) > best_trust + (TURN_GAIN if best is faces else 0.0):
            best = [_scaled(_turned_back(face, quarters, small.shape), scale) for face in found]
            best_trust = _trust(found)
    return best


def detect_many(
    images: Sequence[np.ndarray], *, smallest: float, least_score: float = LEAST_SCORE
) -> list[list[Face]]:
    """Upright faces of many RGB photos, largest first; photos of one size share their batches.

    `smallest` is the smallest box looked for, in the photos' pixels: larger is faster.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        groups.setdefault(image.shape, []).append(number)
    faces: list[list[Face]] = [[] for _ in images]
    for numbers in groups.values():
        small, scales = zip(*(_shrunk(images[i], LONG_SIDES[1]) for i in numbers), strict=True)
        least = max(smallest / scales[0], SMALLEST_FACE_PX[1])
        found = load_mtcnn()(np.stack(small), least)
        for row, number in enumerate(numbers):
            own = Detections(*(field[found.image == row] for field in found))
            faces[number] = _faces(own, least_score, scales[row])
    return faces


def choose_face(
    faces: list[Face], image_shape: tuple[int, ...], which: Which = "largest"
) -> list[Face]:
    """The faces asked for, out of `detect`'s list (largest first).

    "center" takes the box nearest to the photo's centre (as MICA does), a number N the N-th
    largest counted from 0, "all" every face.
    """
    if not faces:
        raise UserError(
            "no face found: expected a photo with a face at least 20 pixels wide (after "
            "shrinking to 1024); crop nearer to the face or use a sharper photo"
        )
    if which == "all":
        return faces
    if which == "largest":
        return faces[:1]
    if which == "center":
        centre = np.array([image_shape[1], image_shape[0]]) / 2
        return [min(faces, key=lambda f: np.hypot(*((f.box[:2] + f.box[2:]) / 2 - centre)))]
    if not 0 <= which < len(faces):
        last = len(faces) - 1
        raise UserError(f"face {which} asked for, but {len(faces)} found: give 0 to {last}")
    return [faces[which]]


def _trust(faces: list[Face]) -> float:
    return max((face.trust for face in faces), default=0.0)


def _shrunk(
    image: UInt8[np.ndarray, "H W 3"], long_side: int
) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """The photo at no more than `long_side`, and the factor back to its own pixels."""
    height, width = image.shape[:2]
    scale = max(height, width) / long_side
    if scale <= 1:
        return image, 1.0
    size = (max(round(width / scale), 1), max(round(height / scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _faces(found: Detections, least_score: float, scale: float) -> list[Face]:
    faces = [
        _scaled(Face(box, float(score), points), scale)
        for box, score, points in zip(found.boxes, found.scores, found.points, strict=True)
        if score >= least_score
    ]
    return sorted(faces, key=lambda face: -face.size)


def _scaled(face: Face, scale: float) -> Face:
    if scale == 1.0:
        return face
    box, points = face.box * scale, (face.points + 0.5) * scale - 0.5
    return Face(box.astype(np.float32), face.score, points.astype(np.float32))


def _turned_back(face: Face, quarters: int, shape: tuple[int, ...]) -> Face:
    """A face found in `np.rot90(photo, quarters)` in the pixels of the photo of this shape."""
    height, width = shape[:2]
    corners = face.box.reshape(2, 2)
    points = face.points + 0.5
    for _ in range(quarters):  # undo one counter-clockwise quarter turn at a time
        quarters -= 1
        side = width if quarters % 2 == 0 else height
        corners = np.stack([side - corners[:, 1], corners[:, 0]], 1)
        points = np.stack([side - points[:, 1], points[:, 0]], 1)
    box = np.concatenate([corners.min(0), corners.max(0)])
    return Face(box.astype(np.float32), face.score, (points - 0.5).astype(np.float32))
